//! Reads a part by the rules that engines read Dockerfiles by, and refuses what engines of different ages read differently.
//!
//! Lines are joined at backslashes, comments and empty lines within an instruction are passed over, options come first, and
//! a heredoc's lines follow the instruction. Every place in what was joined leads back to its place in the text.

use std::ops::Range;

use super::heredoc::{self, Heredoc};
use super::lines::{Fault, Joined, Line, Lines, join};
use crate::dockerfile::is_invisible;
use crate::suggest;

/// What Dockerfiles consist of.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Its keyword in capitals.
    pub(crate) keyword: String,
    /// Where the keyword stands.
    pub(crate) at: Range<usize>,
    /// The line on which it starts, counted from 1.
    pub(crate) line: usize,
    /// Its own lines as one; a heredoc's lines follow.
    pub(crate) source: String,
    /// Its options.
    pub(crate) options: Vec<Flag>,
    /// What comes behind the options.
    pub(crate) arguments: Joined,
    /// The arguments, where they are a JSON list.
    pub(crate) list: Option<Vec<String>>,
    /// Its heredocs.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// An option of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// Its name, without the two hyphens.
    pub(crate) name: String,
    /// Its value, if it has one.
    pub(crate) value: Option<String>,
    /// Where the value stands in the text; its end, where it has none.
    pub(crate) span: Range<usize>,
    /// Where all of it stands.
    pub(crate) whole: Range<usize>,
}

/// Reads a part's instructions.
pub(crate) fn read(text: &str) -> Result<Vec<Instruction>, Fault> {
    characters(text)?;
    let mut lines = Lines::new(text);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if !line.is_passed_over() {
            found.push(instruction(&mut lines, line)?);
        }
    }
    Ok(found)
}

/// Refuses characters that engines, shells or people take for something else than they are.
fn characters(text: &str) -> Result<(), Fault> {
    const HELP: &str =
        "Remove it. Where a command needs such a character, have it made there: printf '\\033'.";
    for (at, c) in text.char_indices() {
        let what = match c {
            '\n' | '\t' => continue,
            '\r' => "has a carriage return within a line".to_owned(),
            '\0' => "has a NUL character".to_owned(),
            '\u{2028}' | '\u{2029}' => {
                format!("has the line break U+{:04X}, which engines do not read as one", u32::from(c))
            }
            c if c.is_control() => format!("has the control character U+{:04X}", u32::from(c)),
            _ => continue,
        };
        return Err(Fault::new(at..at + c.len_utf8(), what, "here", HELP));
    }
    Ok(())
}

/// Reads the instruction that begins on `first`.
fn instruction(lines: &mut Lines<'_>, first: Line<'_>) -> Result<Instruction, Fault> {
    let indent = first.text.len() - first.text.trim_start_matches([' ', '\t']).len();
    let start = first.at + indent;
    let joined = join(lines, first, indent)?;
    let (keyword, at) = keyword(&joined, start)?;
    let (options, rest) = options(&joined, keyword.len())?;
    let arguments = joined.from(rest);
    if let Some(c) = arguments.text.chars().next().filter(|c| is_invisible(*c)) {
        let at = arguments.span(0..c.len_utf8());
        let what = format!(
            "has the invisible character U+{:04X} where an instruction's arguments begin",
            u32::from(c)
        );
        return Err(Fault::new(at, what, "here", "Remove it, or write a plain space."));
    }
    let list = list(&arguments)?;
    let mut found = Instruction {
        keyword,
        at,
        line: first.number,
        source: joined.text.trim().to_owned(),
        options,
        arguments,
        list,
        heredocs: vec![],
    };
    if found.list.is_none() && matches!(&*found.keyword, "RUN" | "COPY" | "ADD") {
        found.heredocs = heredoc::read(lines, &found.arguments)?;
    }
    Ok(found)
}

/// Returns the keyword that a text begins with, and its place, which begins at `start`.
fn keyword(joined: &Joined, start: usize) -> Result<(String, Range<usize>), Fault> {
    let word = joined.text.split([' ', '\t']).next().unwrap_or_default();
    let at = start..start + word.len();
    let capitals = word.to_ascii_uppercase();
    if !KEYWORDS.contains(&&*capitals) {
        let what = format!("has the unknown instruction `{}`", visible(word));
        let help = match suggest::nearest(&capitals, KEYWORDS) {
            Some(near) => format!("Did you mean {near}?"),
            None => "An instruction goes on in the next line only where its line ends in a backslash, and a heredoc's lines \
                     follow a word of their own such as <<EOF."
                .to_owned(),
        };
        return Err(Fault::new(joined.span(0..word.len()), what, "here", help));
    }
    if !joined.on_one_line(&(0..word.len())) {
        let what = format!("has the word {capitals} on two lines");
        let help = "Write an instruction's first word on one line.";
        return Err(Fault::new(joined.span(0..word.len()), what, "here", help));
    }
    Ok((capitals, at))
}

/// Returns the start of a word, with characters beyond ASCII as their numbers.
fn visible(word: &str) -> String {
    let shown = |c: char| if c.is_ascii() { c.to_string() } else { format!("[U+{:04X}]", u32::from(c)) };
    word.chars().take(40).map(shown).collect()
}

/// Reads the options that follow the first `start` bytes; returns where the arguments begin.
fn options(joined: &Joined, start: usize) -> Result<(Vec<Flag>, usize), Fault> {
    let mut options = Vec::new();
    let mut at = start;
    loop {
        let rest = &joined.text[at..];
        at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let rest = &joined.text[at..];
        if !rest.starts_with("--") {
            return Ok((options, at));
        }
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (word, range) = (&rest[..length], at..at + length);
        at += length;
        if word == "--" {
            return Ok((options, at));
        }
        let odd = |c: char| !c.is_ascii() || matches!(c, '\'' | '"' | '\\');
        if word.contains(odd) || !joined.on_one_line(&range) {
            let what = format!(
                "has an option with quotes, backslashes, a line break or letters beyond ASCII: `{word}`"
            );
            let help = "Write it plainly and on one line: engines read such options in different ways.";
            return Err(Fault::new(joined.span(range), what, "this option", help));
        }
        let span = joined.span(range);
        let (name, value) =
            word[2..].split_once('=').map_or((&word[2..], None), |(name, value)| (name, Some(value)));
        let from = span.end - value.map_or(0, str::len);
        options.push(Flag {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            span: from..span.end,
            whole: span,
        });
    }
}

/// Reads arguments that are a JSON list of strings.
fn list(arguments: &Joined) -> Result<Option<Vec<String>>, Fault> {
    let text = &arguments.text;
    if !text.starts_with('[') {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Vec<String>>();
    match values.next() {
        Some(Ok(list)) if values.byte_offset() == text.len() && !list.is_empty() => Ok(Some(list)),
        // A shell's test may look alike: [ -e /x ]. What begins like a list and is none, engines do not agree on.
        Some(Err(_)) if !(text.contains("\\u") && text[1..].trim_start().starts_with('"')) => Ok(None),
        _ => {
            let what = "has a list in brackets with something behind it, without words, or with an escape that is not valid";
            let help = "Write a list of strings, [\"program\", \"argument\"], or a command without brackets.";
            Err(Fault::new(arguments.span(0..1), what, "this list", help))
        }
    }
}
