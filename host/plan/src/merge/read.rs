//! Finds the instructions of a part that may be merged with one beside them.

use std::collections::HashSet;
use std::ops::Range;

use parse_dockerfile::{Command, CopyInstruction, Flag, Instruction, RunInstruction, Source};

use crate::assemble::StageInput;
use crate::packages::Habits;
use crate::part::{PREFIX, own};

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
pub(super) struct Piece {
    /// What must be the same.
    pub(super) alike: Alike,
    /// The line on which the instruction starts, counted from 1.
    pub(super) line: usize,
    /// Where its own part of a merged instruction stands: the command, or the sources.
    pub(super) body: Range<usize>,
    /// The same as the engine sees it: on one line, without comments.
    pub(super) text: String,
    /// What it does with downloaded packages.
    pub(super) packages: Habits,
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
pub(super) fn pieces(stage: &StageInput, shell: Option<&[String]>) -> Option<Vec<Option<Piece>>> {
    let text = &stage.part.text;
    // Line breaks of another kind would not stay where they are.
    if text.contains('\r') {
        return None;
    }
    let whole = format!("{PREFIX}{text}\n");
    let dockerfile = parse_dockerfile::parse(&whole).ok()?;
    let mut shell = shell.map(<[String]>::to_vec);
    let files: HashSet<&str> = stage.files.iter().map(|file| file.path.as_str()).collect();
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut pieces = Vec::new();
    for instruction in dockerfile.instructions.iter().skip(1) {
        pieces.push(match instruction {
            Instruction::Run(run) => run_piece(&mut lines, run, shell.as_deref()),
            Instruction::Copy(copy) => {
                let options = options(&copy.options, &COPY_OPTIONS);
                options.and_then(|options| copy_piece(&mut lines, &files, copy, options))
            }
            Instruction::Shell(chosen) => {
                shell = Some(chosen.arguments.iter().map(|word| word.value.to_string()).collect());
                None
            }
            _ => None,
        });
    }
    Some(pieces)
}

fn run_piece(lines: &mut Lines<'_>, run: &RunInstruction<'_>, shell: Option<&[String]>) -> Option<Piece> {
    let text = lines.text;
    let Command::Shell(command) = &run.arguments else { return None };
    let shell = shell.filter(|shell| takes_lists(shell))?;
    let options = options(&run.options, &RUN_OPTIONS)?;
    if !run.here_docs.is_empty() || !run.options.iter().all(keeps_nothing) {
        return None;
    }
    let body = own(&command.span, text);
    let joined = joined(text.get(body.clone())?)?;
    let words = || joined.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let reaches = words().any(|word| REACHING.contains(&word))
        || CONTAINERS_OWN.iter().any(|path| joined.contains(path))
        || in_background(&joined);
    // Engines look for heredocs themselves, and what is in quotes they would not find.
    (!joined.contains("<<") && !reaches).then(|| Piece {
        alike: Alike::Run { options, shell: shell.to_vec() },
        line: lines.of(own(&run.run.span, text).start),
        packages: Habits::of(&joined),
        body,
        text: joined,
        names: vec![],
    })
}

fn copy_piece(
    lines: &mut Lines<'_>,
    files: &HashSet<&str>,
    copy: &CopyInstruction<'_>,
    options: Vec<String>,
) -> Option<Piece> {
    let (text, folder) = (lines.text, &copy.dest);
    let (mut names, mut paths, mut body) = (Vec::new(), Vec::new(), None::<Range<usize>>);
    for source in &copy.src {
        let Source::Path(path) = source else { return None };
        let file = path.value.trim_start_matches("./").trim_start_matches('/');
        // Of a folder its content is copied, which may have any names.
        if !literal(&path.value) || !files.contains(file) {
            return None;
        }
        let name = file.rsplit('/').next()?.to_owned();
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        paths.push(path.value.to_string());
        let span = own(&path.span, text);
        body = Some(body.map_or(span.clone(), |body| body.start..span.end));
    }
    let body = body?;
    let plain =
        literal(&folder.value) && folder.value.ends_with('/') && joined(&text[body.clone()]).is_some();
    plain.then(|| Piece {
        alike: Alike::Copy { options, folder: folder.value.to_string() },
        line: lines.of(own(&copy.copy.span, text).start),
        body,
        text: paths.join(" "),
        packages: Habits::default(),
        names,
    })
}

/// Returns an instruction's options as text, if all of them are known.
fn options(flags: &[Flag<'_>], known: &[&str]) -> Option<Vec<String>> {
    let each = flags.iter().map(|flag| {
        let value = flag.value.as_ref().map_or_else(String::new, |value| format!("={}", value.value));
        known.contains(&&*flag.name.value).then(|| format!("{}{value}", flag.name.value))
    });
    each.collect()
}

/// Returns whether what is written through an option, if it is a mount, is kept or cannot be.
fn keeps_nothing(flag: &Flag<'_>) -> bool {
    if flag.name.value != "mount" {
        return true;
    }
    let Some(value) = &flag.value else { return false };
    let fields = || value.value.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
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

/// Returns the lines of an instruction as engines join them, or `None` where they may not agree on that.
fn joined(raw: &str) -> Option<String> {
    let mut whole = String::new();
    let mut continues = true;
    for line in raw.split('\n') {
        let shown = line.trim();
        if !whole.is_empty() && (shown.is_empty() || shown.starts_with('#')) {
            continue;
        }
        if !continues {
            return None;
        }
        let line = line.trim_end_matches([' ', '\t']);
        continues = line.ends_with('\\');
        // Engines of different ages read two of them in different ways.
        if line.ends_with("\\\\") {
            return None;
        }
        whole.push_str(line.strip_suffix('\\').unwrap_or(line));
    }
    (!continues && !whole.trim().is_empty()).then_some(whole)
}

/// Counts lines on the way through a text, so that a long one is not read again for each of its instructions.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// Returns the line of a place, which comes after those that were asked for before.
    fn of(&mut self, at: usize) -> usize {
        self.line += self.text.get(self.at..at).unwrap_or_default().matches('\n').count();
        self.at = at.max(self.at);
        self.line
    }
}
