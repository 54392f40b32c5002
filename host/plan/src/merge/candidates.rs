//! Finds the instructions of a part that may be merged with one beside them.

use std::collections::HashSet;
use std::ops::Range;

use crate::assemble::input::StageInput;
use crate::packages::PackageUses;
use crate::part::DEFAULT_SHELL;
use crate::part::instructions::{self, Flag, Instruction};

/// Options of a `RUN` that are the same for several commands as for one, where they are the same text.
const RUN_OPTIONS: [&str; 2] = ["mount", "network"];
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
    /// Where its own part of a merged instruction stands: the command, or the sources.
    pub(super) body: Range<usize>,
    /// The same as the engine sees it: on one line, without comments.
    pub(super) text: String,
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
pub(super) fn candidates(stage: &StageInput) -> Option<Vec<Option<Candidate>>> {
    let text = &stage.part.text;
    let instructions = instructions::read(text).ok()?;
    let mut shell = DEFAULT_SHELL.map(str::to_owned).to_vec();
    let files: HashSet<&str> = stage.files.iter().map(|file| file.path.as_str()).collect();
    let mut found = Vec::new();
    for instruction in &instructions {
        found.push(match &*instruction.keyword {
            "RUN" => run(instruction, &shell),
            "COPY" => options(&instruction.options, &COPY_OPTIONS)
                .and_then(|options| copy(&files, instruction, options)),
            "SHELL" => {
                shell = instruction.list.clone()?;
                None
            }
            _ => None,
        });
    }
    Some(found)
}

fn run(run: &Instruction, shell: &[String]) -> Option<Candidate> {
    if run.list.is_some() || !takes_lists(shell) || !run.options.iter().all(keeps_nothing) {
        return None;
    }
    let options = options(&run.options, &RUN_OPTIONS)?;
    let joined = &run.arguments.text;
    let words = || joined.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let reaches = words().any(|word| REACHING.contains(&word))
        || CONTAINERS_OWN.iter().any(|path| joined.contains(path))
        || in_background(joined);
    // What has heredocs, or looks as if it had, is written as a list.
    (!joined.contains("<<") && !reaches).then(|| Candidate {
        alike: Alike::Run { options, shell: shell.to_vec() },
        line: run.line,
        packages: PackageUses::of(joined),
        body: run.arguments.span(0..joined.len()),
        text: joined.clone(),
        names: vec![],
    })
}

fn copy(files: &HashSet<&str>, copy: &Instruction, options: Vec<String>) -> Option<Candidate> {
    if copy.list.is_some() {
        return None;
    }
    let words = copy.arguments.plain_words();
    let (folder, sources) = words.split_last()?;
    let folder = &copy.arguments.text[folder.clone()];
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for source in sources {
        let path = &copy.arguments.text[source.clone()];
        let file = path.trim_start_matches("./").trim_start_matches('/');
        // Of a folder its content is copied, which may have any names.
        if !literal(path) || !files.contains(file) {
            return None;
        }
        let name = file.rsplit('/').next()?.to_owned();
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        paths.push(path.to_owned());
    }
    let body = sources.first()?.start..sources.last()?.end;
    (literal(folder) && folder.ends_with('/')).then(|| Candidate {
        alike: Alike::Copy { options, folder: folder.to_owned() },
        line: copy.line,
        body: copy.arguments.span(body),
        text: paths.join(" "),
        packages: PackageUses::default(),
        names,
    })
}

/// Returns an instruction's options as text, if all of them are known.
fn options(flags: &[Flag], known: &[&str]) -> Option<Vec<String>> {
    let each = flags.iter().map(|flag| {
        let value = flag.value.as_ref().map_or_else(String::new, |value| format!("={value}"));
        known.contains(&&*flag.name).then(|| format!("{}{value}", flag.name))
    });
    each.collect()
}

/// Returns whether what is written through an option, if it is a mount, is kept or cannot be.
fn keeps_nothing(flag: &Flag) -> bool {
    if flag.name != "mount" {
        return true;
    }
    let Some(value) = &flag.value else { return false };
    let fields = || value.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
    let kind = fields().find(|(key, _)| *key == "type").map_or("bind", |(_, kind)| kind);
    let writable =
        kind == "bind" && fields().any(|(key, _)| matches!(key, "rw" | "readwrite" | "ro" | "readonly"));
    MOUNTS.contains(&kind) && !writable
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
