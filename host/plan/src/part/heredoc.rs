//! Heredocs: found by the rules of the engines that know them, and written as what every engine knows.
//!
//! A `RUN` with a heredoc becomes a list, `["/bin/sh", "-c", "..."]`, as engines make it themselves. A `COPY` or `ADD` of a
//! heredoc takes a file of the context.

use std::fmt::Write as _;
use std::ops::Range;

use super::lines::{Fault, Joined, Lines};
use crate::dockerfile::shell_quoted;

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// What ends it.
    pub(crate) name: String,
    /// Whether its content is taken as it is, without variables.
    pub(crate) quoted: bool,
    /// Whether tabs are taken off its lines (`<<-`).
    pub(crate) chomp: bool,
    /// Where its word stands in the arguments.
    pub(crate) word: Range<usize>,
    /// Its lines, each with its line break.
    pub(crate) body: String,
}

impl Heredoc {
    /// Returns its content, as a file gets it.
    pub(crate) fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Reads the heredocs that arguments name, from the lines that follow.
pub(super) fn read(lines: &mut Lines<'_>, arguments: &Joined) -> Result<Vec<Heredoc>, Fault> {
    let mut found = Vec::new();
    if !arguments.text.contains("<<") {
        return Ok(found);
    }
    for range in shell_words(&arguments.text) {
        let Some((mark, chomp)) = mark(&arguments.text[range.clone()]) else { continue };
        let Some((name, quoted)) = plain(mark) else {
            let what = "has a heredoc whose end is not marked by one plain word";
            let help =
                "Write a word of letters and digits with white space around it, such as <<EOF or <<'EOF'.";
            return Err(Fault::new(arguments.span(range), what, "this word", help));
        };
        let mut body = String::new();
        loop {
            let Some(line) = lines.next() else {
                let what = format!("has a heredoc without the line `{name}` that ends it");
                let help = format!(
                    "Add a line that is only {name}; or put quotes around the << that begins no heredoc."
                );
                return Err(Fault::new(arguments.span(range), what, "begins here", help));
            };
            let text = if chomp { line.text.trim_start_matches('\t') } else { line.text };
            if text == name {
                break;
            }
            body.push_str(line.text);
            body.push('\n');
        }
        found.push(Heredoc { name, quoted, chomp, word: range, body });
    }
    Ok(found)
}

/// Returns where the words of a command are, as engines look for heredocs in it; none where its quotes have no end.
fn shell_words(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let (mut at, mut start, mut braces) = (0, None, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let length = match byte {
            b'\'' => text[at + 1..].find('\'').map(|end| end + 2),
            b'"' => double_quoted(&bytes[at..]),
            b'\\' => Some(1 + text[at + 1..].chars().next().map_or(0, char::len_utf8)),
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                braces += 1;
                Some(2)
            }
            b'}' => {
                braces = braces.saturating_sub(1);
                Some(1)
            }
            _ => text[at..].chars().next().map(char::len_utf8),
        };
        let Some(length) = length else { return Vec::new() };
        if braces == 0 && text[at..].starts_with(char::is_whitespace) {
            words.extend(start.take().map(|start| start..at));
        } else {
            start.get_or_insert(at);
        }
        at += length;
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// Returns how long the text in double quotes is that `bytes` begin with.
fn double_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Returns the mark of the end and whether tabs are taken off, if the word begins a heredoc.
fn mark(word: &str) -> Option<(&str, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    (!rest.is_empty() && !rest.contains('<')).then_some((rest, chomp))
}

/// Returns the word that a mark consists of, and whether it is quoted.
fn plain(mark: &str) -> Option<(String, bool)> {
    let inner = |quote: char| mark.strip_prefix(quote)?.strip_suffix(quote);
    let quoted = inner('\'').or_else(|| inner('"')).or_else(|| mark.strip_prefix('\\'));
    let word = quoted.unwrap_or(mark);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (begins && word.chars().all(plain)).then(|| (word.to_owned(), quoted.is_some()))
}

/// Returns the words of a list that runs a command with heredocs in `shell`, as engines that know them run it.
pub(super) fn command(shell: &[String], arguments: &Joined, heredocs: &[Heredoc]) -> Vec<String> {
    let in_shell = |script: String| shell.iter().cloned().chain([script]).collect();
    let [only] = heredocs else { return in_shell(with_bodies(arguments, heredocs)) };
    if only.word != (0..arguments.text.len()) {
        return in_shell(with_bodies(arguments, heredocs));
    }
    let content = only.content();
    match content.strip_prefix("#!") {
        Some(rest) => script(rest.lines().next().unwrap_or_default(), &content),
        None => in_shell(content),
    }
}

/// Returns a command and its heredocs, as a shell reads them itself.
fn with_bodies(arguments: &Joined, heredocs: &[Heredoc]) -> String {
    let mut text = arguments.text.clone();
    for heredoc in heredocs {
        let _ = write!(text, "\n{}{}", heredoc.body, heredoc.name);
    }
    text
}

/// Returns the words that run a script with the interpreter that its first line names.
///
/// The script is a file in memory while it runs, where every user may write, so that it is in no layer.
fn script(interpreter: &str, content: &str) -> Vec<String> {
    const PLACE: &str = "/dev/shm/pib-heredoc";
    let interpreter = interpreter.trim_matches([' ', '\t']);
    let (program, argument) = interpreter
        .split_once([' ', '\t'])
        .map_or((interpreter, ""), |(program, rest)| (program, rest.trim_matches([' ', '\t'])));
    let quoted = |word: &str| match word {
        "" => String::new(),
        word => format!(" {}", shell_quoted(word)),
    };
    let start = format!("printf %s \"$1\" > {PLACE} && exec{}{} {PLACE}", quoted(program), quoted(argument));
    ["/bin/sh", "-c", &start, "sh", content].map(str::to_owned).to_vec()
}
