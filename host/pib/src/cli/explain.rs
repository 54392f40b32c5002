//! `pib explain`

use clap::Args;

use super::completer;
use super::output::print_as;
use crate::ops::Error;
use crate::ops::explain::{self, Explanation};

/// Explain the code of an error: what it means, and what to do
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Codes, as the last line of a message names them [default: list all codes]
    #[arg(value_name = "CODE", add = completer::code())]
    codes: Vec<String>,
}

pub(super) fn run(json: bool, args: &Explain) -> Result<(), Error> {
    if args.codes.is_empty() {
        return print_as(json, &explain::all(), |all| list(all));
    }
    let found = args.codes.iter().map(|code| explain::explain(code));
    let found: Vec<Explanation> = found.collect::<Result<_, _>>()?;
    print_as(json, &found, |found| found.iter().map(whole).collect::<Vec<_>>().join("\n\n"))
}

fn list(all: &[Explanation]) -> String {
    let first =
        |text: &str| text.split_once(". ").map_or_else(|| text.to_owned(), |(first, _)| format!("{first}."));
    let lines = all.iter().map(|entry| format!("{}\n    {}", entry.code, first(&entry.meaning)));
    lines.collect::<Vec<_>>().join("\n")
}

fn whole(entry: &Explanation) -> String {
    let example: String = entry.example.lines().map(|line| format!("    {line}\n")).collect();
    let Explanation { code, meaning, advice, .. } = entry;
    format!(
        "{code}\n\n{}\n\nFor example:\n\n{example}\nWhat to do: {}",
        without_links(meaning),
        without_links(advice)
    )
}

/// Returns a text of the book without the addresses of its links.
fn without_links(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, title, after)) = link(rest) {
        shown.push_str(before);
        shown.push_str(title);
        rest = after;
    }
    shown + rest
}

/// Returns what is before the first link, its title, and what is after it.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let middle = text.find("](")?;
    let start = text[..middle].rfind('[')?;
    let (_, after) = text[middle..].split_once(')')?;
    Some((&text[..start], &text[start + 1..middle], after))
}
