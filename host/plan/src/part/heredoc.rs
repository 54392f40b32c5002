//! Heredocs: found by the rules of the engines that know them, and written as what every engine knows.
//!
//! A `RUN` with a heredoc becomes a list, `["/bin/sh", "-c", "..."]`, as engines make it themselves. A `COPY` or `ADD` of a
//! heredoc takes a file of the context. The lines stay where they are.

use std::fmt::Write as _;
use std::ops::Range;

use super::lines::{Fault, Joined, Lines, MAX_LINE};

/// The longest argument that kernels give to a program.
const MAX_ARGUMENT: usize = (128 << 10) - 1;

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

/// Reads the heredocs that arguments name, from the lines that follow; returns where the last one ends, else `end`.
pub(super) fn read(
    lines: &mut Lines<'_>,
    arguments: &Joined,
    end: usize,
) -> Result<(Vec<Heredoc>, usize), Fault> {
    let mut found = Vec::new();
    let mut whole_end = end;
    if !arguments.text.contains("<<") {
        return Ok((found, end));
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
                whole_end = line.at + line.text.len();
                break;
            }
            body.push_str(line.text);
            body.push('\n');
        }
        found.push(Heredoc { name, quoted, chomp, word: range, body });
    }
    Ok((found, whole_end))
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
    let interpreter = interpreter.trim();
    let (program, argument) = interpreter
        .split_once([' ', '\t'])
        .map_or((interpreter, ""), |(program, rest)| (program, rest.trim()));
    let quoted = |word: &str| match word {
        "" => String::new(),
        word => format!(" '{}'", word.replace('\'', r"'\''")),
    };
    let start = format!("printf %s \"$1\" > {PLACE} && exec{}{} {PLACE}", quoted(program), quoted(argument));
    ["/bin/sh", "-c", &start, "sh", content].map(str::to_owned).to_vec()
}

/// Writes a list behind its opening bracket, so that it takes `breaks` line breaks; `at` is where the command stands.
pub(super) fn write_list(words: &[String], breaks: usize, at: Range<usize>) -> Result<String, Fault> {
    if words.iter().any(|word| word.len() > MAX_ARGUMENT) {
        let what = "has a command of more than 128 KiB, which kernels do not start";
        return Err(Fault::new(at, what, "this command", "Move it to a file, COPY that, and RUN it."));
    }
    let mut lines = vec![String::new()];
    for (number, word) in words.iter().enumerate() {
        push(&mut lines, if number == 0 { "\"" } else { ", \"" });
        for (number, line) in word.split('\n').enumerate() {
            if number > 0 {
                // What follows is joined with it: a line break in a string is written, and not made.
                push(&mut lines, "\\n\\");
                lines.push(String::new());
            }
            escape(&mut lines, line);
        }
        push(&mut lines, "\"");
    }
    push(&mut lines, "]");
    if lines.iter().any(|line| line.len() > MAX_LINE) {
        let what = "has a line that is longer than 65,000 bytes when it is written as a list";
        return Err(Fault::new(at, what, "this command", "Move it to a file, COPY that, and RUN it."));
    }
    // Comments behind the instruction keep the lines after it at their places.
    lines.resize((breaks + 1).max(lines.len()), "#".to_owned());
    Ok(lines.join("\n"))
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// Writes a line of a string so that no engine takes it for a comment, an empty line or a heredoc.
fn escape(lines: &mut [String], text: &str) {
    let Some(line) = lines.last_mut() else { return };
    let mut before = None;
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\t' => line.push_str("\\t"),
            '#' | ' ' if line.is_empty() => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            '<' if before == Some('<') => line.push_str("\\u003c"),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
        before = Some(c);
    }
}
