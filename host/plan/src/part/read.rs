//! Reads a part by the rules that engines read Dockerfiles by, and refuses what engines of different ages read differently.
//!
//! Lines are joined at backslashes, comments and empty lines within an instruction are passed over, options come first, and
//! a heredoc's lines follow the instruction. Every place in what was joined leads back to its place in the text.

use std::ops::Range;

use super::heredoc::{self, Heredoc};
use crate::suggest;

/// The longest line that engines read.
pub(super) const MAX_LINE: usize = 65_000;
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
    /// Where its own lines end, before the line break; a heredoc's lines follow.
    pub(crate) end: usize,
    /// Where all of it ends.
    pub(crate) whole_end: usize,
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
}

/// Lines that were joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The text.
    pub(crate) text: String,
    /// Where each line begins: here, and in the text that was read.
    pieces: Vec<(usize, usize)>,
}

/// What is wrong with a part, as the end of a sentence that begins with the part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) span: Range<usize>,
    pub(crate) what: String,
    pub(crate) label: &'static str,
    pub(crate) help: String,
}

impl Fault {
    pub(crate) fn new(
        span: Range<usize>,
        what: impl Into<String>,
        label: &'static str,
        help: impl Into<String>,
    ) -> Self {
        Self { span, what: what.into(), label, help: help.into() }
    }
}

impl Joined {
    fn push(&mut self, text: &str, at: usize) {
        self.pieces.push((self.text.len(), at));
        self.text.push_str(text);
    }

    /// Returns where a byte stands in the text that was read.
    fn source(&self, at: usize) -> usize {
        let piece = self.pieces.iter().rev().find(|(start, _)| *start <= at);
        piece.map_or(0, |(start, source)| source + (at - start))
    }

    /// Returns where a part of it, which is not empty, stands in the text that was read.
    pub(crate) fn span(&self, range: Range<usize>) -> Range<usize> {
        let start = self.source(range.start);
        start..if range.is_empty() { start } else { self.source(range.end - 1) + 1 }
    }

    /// Returns whether a part of it stands on one line.
    pub(crate) fn on_one_line(&self, range: &Range<usize>) -> bool {
        self.span(range.clone()).len() == range.len()
    }

    /// Returns the part of it from `start` on, without white space around.
    fn from(&self, start: usize) -> Self {
        let rest = &self.text[start..];
        let start = start + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let text = self.text[start..].trim_end_matches([' ', '\t']).to_owned();
        let first = (0, self.source(start));
        let later = self.pieces.iter().filter(|(at, _)| *at > start && *at < start + text.len());
        let pieces = std::iter::once(first).chain(later.map(|(at, source)| (at - start, *source)));
        Self { pieces: pieces.collect(), text }
    }

    /// Returns where its words are, which white space separates.
    pub(crate) fn plain_words(&self) -> Vec<Range<usize>> {
        split(&self.text, false)
    }

    /// Returns where its words are, where quotes and backslashes keep white space in one.
    pub(crate) fn words(&self) -> Vec<Range<usize>> {
        split(&self.text, true)
    }
}

/// Splits a text at white space, but for what is in quotes or behind a backslash, where `quotes` count.
fn split(text: &str, quotes: bool) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut escaped) = (None, None, false);
    for (at, c) in text.char_indices() {
        if quote.is_none() && !escaped && c.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        start.get_or_insert(at);
        if !quotes {
            continue;
        }
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(open), c) if c == open => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// Reads a part's instructions.
pub(crate) fn read(text: &str) -> Result<Vec<Instruction>, Fault> {
    characters(text)?;
    let mut lines = Lines { text, at: 0, number: 0 };
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

/// A line of the text.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    /// Where it begins.
    pub(super) at: usize,
    /// Counted from 1.
    number: usize,
}

/// The lines of a text, in order.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').unwrap_or(rest.len());
        let at = self.at;
        self.at = (at + length + 1).min(self.text.len());
        self.number += 1;
        Some(Line { text: &rest[..length], at, number: self.number })
    }
}

impl Line<'_> {
    /// Returns whether it is empty or a comment.
    fn is_passed_over(&self) -> bool {
        let text = self.text.trim_matches([' ', '\t']);
        text.is_empty() || text.starts_with('#')
    }

    fn check(&self) -> Result<(), Fault> {
        if self.text.len() > MAX_LINE {
            let what = "has a line of more than 65,000 bytes, which engines do not read";
            return Err(Fault::new(self.at..self.at, what, "this line", "Move data to a file and COPY it."));
        }
        let text = self.text.trim_matches([' ', '\t']);
        let start = self.at + (self.text.len() - self.text.trim_start_matches([' ', '\t']).len());
        let ends = [(start, text.chars().next()), (start + text.len(), text.chars().next_back())];
        for (index, (at, c)) in ends.into_iter().enumerate() {
            let Some(c) = c.filter(|c| is_invisible(*c)) else { continue };
            let at = if index == 0 { at } else { at - c.len_utf8() };
            let what = format!(
                "has the invisible character U+{:04X} at the end of a line or its beginning",
                u32::from(c)
            );
            return Err(Fault::new(
                at..at + c.len_utf8(),
                what,
                "here",
                "Remove it, or write a plain space.",
            ));
        }
        Ok(())
    }

    /// Returns the line without the backslash that continues it, and whether there is one.
    fn continued(&self) -> Result<(&str, bool), Fault> {
        let text = self.text.trim_end_matches([' ', '\t']);
        let Some(before) = text.strip_suffix('\\') else { return Ok((self.text, false)) };
        if before.ends_with('\\') {
            let end = self.at + text.len();
            let what = "has a line that ends in two backslashes, which some engines take for the end of the instruction and others do not";
            let help = "Put quotes around backslashes that belong to the command, or leave one of them out.";
            return Err(Fault::new(end - 2..end, what, "these", help));
        }
        Ok((before, true))
    }
}

/// Returns whether a character is not seen where it stands, and is no plain space.
fn is_invisible(c: char) -> bool {
    (c.is_whitespace() && !c.is_ascii()) || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Reads the instruction that begins on `first`.
fn instruction(lines: &mut Lines<'_>, first: Line<'_>) -> Result<Instruction, Fault> {
    let indent = first.text.len() - first.text.trim_start_matches([' ', '\t']).len();
    let start = first.at + indent;
    let (joined, end) = join(lines, first, indent)?;
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
        end,
        whole_end: end,
        options,
        arguments,
        list,
        heredocs: vec![],
    };
    if found.list.is_none() && matches!(&*found.keyword, "RUN" | "COPY" | "ADD") {
        (found.heredocs, found.whole_end) = heredoc::read(lines, &found.arguments, end)?;
    }
    Ok(found)
}

/// Joins the lines of an instruction; returns where the last one ends, too.
fn join(lines: &mut Lines<'_>, first: Line<'_>, indent: usize) -> Result<(Joined, usize), Fault> {
    let mut joined = Joined::default();
    let (mut line, mut skip) = (first, indent);
    loop {
        line.check()?;
        let (text, continues) = line.continued()?;
        if joined.pieces.is_empty() && text.trim().is_empty() {
            let help = "Remove the backslash.";
            return Err(Fault::new(
                line.at..line.at + line.text.len(),
                "has a line with nothing but a backslash",
                "here",
                help,
            ));
        }
        joined.push(&text[skip..], line.at + skip);
        if !continues {
            return Ok((joined, line.at + line.text.len()));
        }
        let backslash = line.at + text.len();
        (line, skip) = loop {
            match lines.next() {
                Some(next) if next.is_passed_over() => next.check()?,
                Some(next) => break (next, 0),
                None => {
                    let what = "ends in a backslash, so that its last instruction has no end";
                    let help = "Remove the backslash, or add the line that is missing: what comes next is another stage's.";
                    return Err(Fault::new(backslash..backslash + 1, what, "this backslash", help));
                }
            }
        };
    }
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
        options.push(Flag { name: name.to_owned(), value: value.map(str::to_owned), span: from..span.end });
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
