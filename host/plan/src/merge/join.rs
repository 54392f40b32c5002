//! Writes the text of a part whose instructions are merged.

use super::candidates::{Alike, Candidate};

/// What stands before and behind the number of the line on which the command starts that failed.
pub(super) const MARK: (&str, &str) = ("pib: line ", " of the part failed");

/// Returns the text of a part with each of the groups as one instruction, which starts where its first one did. Every
/// line stays where it is.
pub(super) fn text(text: &str, groups: &[Vec<&Candidate>]) -> String {
    let mut merged = String::with_capacity(text.len() * 2);
    let mut written = 0;
    for group in groups {
        for (index, candidate) in group.iter().enumerate() {
            let before = &text[written..candidate.body.start];
            match index {
                0 => merged.push_str(before),
                _ => continued(&mut merged, before),
            }
            let body = &text[candidate.body.clone()];
            match &candidate.alike {
                Alike::Run { shell, .. } => command(&mut merged, shell, body, candidate.line),
                Alike::Copy { .. } => merged.push_str(body),
            }
            written = candidate.body.end;
        }
    }
    merged.push_str(&text[written..]);
    merged
}

/// Writes what stands between two instructions that are one now: as many lines as there were, and the comments.
fn continued(merged: &mut String, between: &str) {
    merged.push_str(" \\\n");
    let lines: Vec<&str> = between.split('\n').collect();
    let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
    for line in inner {
        let line = line.trim();
        // Empty lines within an instruction are warned of.
        merged.push_str(if line.starts_with('#') { line } else { "#" });
        merged.push('\n');
    }
}

/// Writes a command that runs in a shell of its own, and ends all where it fails.
fn command(merged: &mut String, shell: &[String], body: &str, line: usize) {
    for word in shell {
        merged.push_str(word);
        merged.push(' ');
    }
    merged.push('\'');
    for (index, line) in body.split('\n').enumerate() {
        if index > 0 {
            merged.push('\n');
        }
        merged.push_str(&line.replace('\'', r"'\''"));
    }
    let (start, end) = MARK;
    merged.push_str(&format!("' || {{ code=$?; echo '{start}{line}{end}' >&2; exit $code; }};"));
}
