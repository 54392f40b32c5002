//! Finds the instructions of a part that may be merged with one beside them.

use std::collections::HashSet;

use crate::assemble::input::StageInput;
use crate::dockerfile::shell_quoted;
use crate::packages::PackageUses;
use crate::part::{Command, Copy, DEFAULT_SHELL, Form, Mount, Part, Run, RunOption, Source, Step};

/// Options of a `COPY` that say nothing of its sources.
const COPY_OPTIONS: [&str; 3] = ["chown", "chmod", "link"];
/// Kinds of mounts through which one command leaves nothing to another that it would not leave in a `RUN` of its own.
const MOUNTS: [&str; 4] = ["bind", "cache", "secret", "ssh"];
/// What ends or outlives other processes, where they are in one container.
const REACHING: [&str; 10] = [
    "kill",
    "killall",
    "pkill",
    "nohup",
    "setsid",
    "daemon",
    "coproc",
    "service",
    "invoke-rc.d",
    "start-stop-daemon",
];
/// What each container has anew.
const CONTAINERS_OWN: [&str; 4] = ["/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// The shells that take a list of commands as this module writes it.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "ksh"];

/// An instruction that may be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What must be the same.
    pub(super) alike: Alike,
    /// The line on which the instruction starts, counted from 1.
    pub(super) line: usize,
    /// Its index among the part's instructions.
    pub(super) index: usize,
    /// Its own part of a merged instruction: the command, or the sources.
    pub(super) text: String,
    /// How many bytes of a merged instruction that is.
    pub(super) size: usize,
    /// What it does with downloaded packages.
    pub(super) packages: PackageUses,
    /// The names of the files that it copies.
    pub(super) names: Vec<String>,
}

/// What two instructions must have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alike {
    Run {
        options: Vec<String>,
        /// The shell that runs the command.
        shell: Vec<String>,
    },
    Copy {
        options: Vec<String>,
        folder: String,
    },
}

/// Returns the instructions of a stage's part, in order; those that cannot be merged as `None`.
pub(super) fn candidates(stage: &StageInput) -> Vec<Option<Candidate>> {
    let part = &stage.part;
    let mut shell = DEFAULT_SHELL.map(str::to_owned).to_vec();
    let files: HashSet<&str> = stage.files.iter().map(|file| file.path.as_str()).collect();
    let mut found = Vec::new();
    for (index, step) in part.steps.iter().enumerate() {
        found.push(match &step.form {
            Form::Run(form) => run(part, step, index, form, &shell),
            Form::Copy(form) if step.keyword == "COPY" => copy(&files, step, index, form),
            Form::List(list) if step.keyword == "SHELL" => {
                shell.clone_from(list);
                None
            }
            _ => None,
        });
    }
    found
}

fn run(part: &Part, step: &Step, index: usize, run: &Run, shell: &[String]) -> Option<Candidate> {
    let Command::Shell(command) = &run.command else { return None };
    if !takes_lists(shell) {
        return None;
    }
    let options = run.options.iter().map(|option| match option {
        RunOption::Plain(name, value) => (name == "network").then(|| format!("{name}={value:?}")),
        RunOption::Mount(mount) => keeps_nothing(mount).then(|| mount_identity(part, mount)),
    });
    let options = options.collect::<Option<Vec<_>>>()?;
    let words = || command.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let reaches = words().any(|word| REACHING.contains(&word))
        || CONTAINERS_OWN.iter().any(|path| command.contains(path))
        || in_background(command);
    (!reaches).then(|| Candidate {
        alike: Alike::Run { options, shell: shell.to_vec() },
        line: step.line,
        index,
        packages: PackageUses::of(command),
        text: command.clone(),
        size: shell_quoted(command).len() + shell.iter().map(|word| word.len() + 1).sum::<usize>(),
        names: vec![],
    })
}

/// Returns what tells a mount from another one.
fn mount_identity(part: &Part, mount: &Mount) -> String {
    let secret = mount.secret.map(|secret| &part.secrets[secret].id);
    let from = mount.from.map(|from| &part.froms[from].name);
    format!("mount {} {:?} {secret:?} {from:?}", mount.kind, mount.fields)
}

fn copy(files: &HashSet<&str>, step: &Step, index: usize, copy: &Copy) -> Option<Candidate> {
    let folder = copy.target.text().filter(|folder| literal(folder) && folder.ends_with('/'))?;
    if copy.from.is_some() || !copy.options.iter().all(|(name, _)| COPY_OPTIONS.contains(&name.as_str())) {
        return None;
    }
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for source in &copy.sources {
        let Source::Template(word) = source else { return None };
        let path = word.text().filter(|path| literal(path))?;
        let file = path.trim_start_matches("./").trim_start_matches('/');
        // Of a folder its content is copied, which may have any names.
        if !files.contains(file) {
            return None;
        }
        let name = file.rsplit('/').next()?.to_owned();
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        paths.push(path.to_owned());
    }
    let options = copy.options.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let text = paths.join(" ");
    Some(Candidate {
        alike: Alike::Copy { options, folder: folder.to_owned() },
        line: step.line,
        index,
        size: text.len(),
        text,
        packages: PackageUses::default(),
        names,
    })
}

/// Returns whether what is written through a mount is kept or cannot be.
fn keeps_nothing(mount: &Mount) -> bool {
    let writable = mount.kind == "bind" && mount.fields.iter().any(|(name, _)| matches!(*name, "rw" | "ro"));
    MOUNTS.contains(&mount.kind) && !writable
}

/// Returns whether a shell runs a list of commands that follows it.
fn takes_lists(shell: &[String]) -> bool {
    let [program, options @ ..] = shell else { return false };
    let name = program.rsplit('/').next().unwrap_or_default();
    let last = options.last().is_some_and(|last| last.starts_with('-') && last.ends_with('c'));
    SHELLS.contains(&name) && last && shell.iter().all(|word| literal(word))
}

/// Returns whether a word is the same to an engine, a shell and a file system.
fn literal(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-+@%=,:/~".contains(c))
}

/// Returns whether a command may leave a process behind: one `&` does, two do not, nor do those of redirections.
fn in_background(command: &str) -> bool {
    let bytes = command.as_bytes();
    let at = |index: Option<usize>| index.and_then(|index| bytes.get(index)).copied().unwrap_or(b' ');
    bytes.iter().enumerate().any(|(index, &byte)| {
        let (before, after) = (at(index.checked_sub(1)), at(Some(index + 1)));
        byte == b'&' && !matches!(before, b'&' | b'>' | b'<') && !matches!(after, b'&' | b'>')
    })
}
