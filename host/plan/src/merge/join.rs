//! Writes several instructions of a part as one, which gives what they gave apart.

use super::candidates::{Alike, Candidate};
use crate::dockerfile::shell_quoted;
use crate::part::{Command, Form, Part, Step};

/// What stands before and behind the number of the line on which the command starts that failed.
pub(super) const MARK: (&str, &str) = ("pib: line ", " of the part failed");

/// Returns a part with each of the groups as one instruction, which stands where its first one did.
pub(super) fn part(part: &Part, groups: &[Vec<&Candidate>]) -> Part {
    let mut joined = part.clone();
    for group in groups {
        let Some(first) = group.first() else { continue };
        joined.steps[first.index].form = form(&part.steps, group, &part.steps[first.index].form);
    }
    let mut later = groups.iter().flat_map(|group| &group[1..]).map(|candidate| candidate.index).peekable();
    let mut index = 0;
    joined.steps.retain(|_| {
        let gone = later.next_if_eq(&index).is_some();
        index += 1;
        !gone
    });
    joined
}

/// Returns what the instruction says that stands for a group.
fn form(steps: &[Step], group: &[&Candidate], first: &Form) -> Form {
    match first {
        Form::Run(run) => {
            let mut run = run.clone();
            let commands: Vec<String> = group.iter().map(|candidate| command(candidate)).collect();
            run.command = Command::Shell(commands.join(" "));
            Form::Run(run)
        }
        Form::Copy(copy) => {
            let mut copy = copy.clone();
            let sources = |candidate: &&Candidate| match &steps[candidate.index].form {
                Form::Copy(copy) => copy.sources.clone(),
                _ => vec![],
            };
            copy.sources = group.iter().flat_map(sources).collect();
            Form::Copy(copy)
        }
        other => other.clone(),
    }
}

/// Returns a command that runs in a shell of its own, and ends all where it fails.
fn command(candidate: &Candidate) -> String {
    let shell = match &candidate.alike {
        Alike::Run { shell, .. } => shell.join(" "),
        Alike::Copy { .. } => String::new(),
    };
    let (start, end) = MARK;
    let (text, line) = (shell_quoted(&candidate.text), candidate.line);
    format!("{shell} {text} || {{ code=$?; echo '{start}{line}{end}' >&2; exit $code; }};")
}
