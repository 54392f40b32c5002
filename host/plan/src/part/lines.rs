//! The lines of a part, and how those of one instruction are joined. Every place in what was joined leads back to its place
//! in the text.

use std::ops::Range;

use crate::dockerfile::{MAX_LINE, is_invisible};

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
    pub(super) fn from(&self, start: usize) -> Self {
        let rest = &self.text[start..];
        let start = start + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let text = self.text[start..].trim_end_matches([' ', '\t']).to_owned();
        let first = (0, self.source(start));
        let later = self.pieces.iter().filter(|(at, _)| *at > start && *at < start + text.len());
        let pieces = std::iter::once(first).chain(later.map(|(at, source)| (at - start, *source)));
        Self { pieces: pieces.collect(), text }
    }

    /// Returns where its words are, which spaces separate.
    pub(crate) fn plain_words(&self) -> Vec<Range<usize>> {
        split(&self.text, |c| matches!(c, ' ' | '\t'), None)
    }

    /// Returns where its words are, where quotes and backslashes keep white space in one.
    pub(crate) fn words(&self) -> Vec<Range<usize>> {
        split(&self.text, char::is_whitespace, Some(Quotes::Shell))
    }

    /// Returns whether engines find other words than a shell does: for them a backslash counts in single quotes, too.
    pub(crate) fn has_other_words(&self) -> bool {
        self.words() != split(&self.text, char::is_whitespace, Some(Quotes::Engine))
    }
}

/// How quotes are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Shell,
    Engine,
}

/// Splits a text where it is `between` words, but for what is in quotes or behind a backslash, where these count.
fn split(text: &str, between: fn(char) -> bool, quotes: Option<Quotes>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut escaped) = (None, None, false);
    for (at, c) in text.char_indices() {
        if quote.is_none() && !escaped && between(c) {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        start.get_or_insert(at);
        let Some(rule) = quotes else { continue };
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(open), c) if c == open => quote = None,
            (Some('\''), _) if rule == Quotes::Shell => {}
            (_, '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// A line of the text.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    /// Where it begins.
    pub(super) at: usize,
    /// Counted from 1.
    pub(super) number: usize,
}

/// The lines of a text, in order.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, number: 0 }
    }

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
    pub(super) fn is_passed_over(&self) -> bool {
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

/// Joins the lines of an instruction.
pub(super) fn join(lines: &mut Lines<'_>, first: Line<'_>, indent: usize) -> Result<Joined, Fault> {
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
            return Ok(joined);
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
