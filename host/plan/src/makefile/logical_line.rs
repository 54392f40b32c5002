//! Lines as make sees them: joined where they end in a backslash, without comments.

/// A line of a makefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogicalLine {
    /// The number of its first line, from 1.
    pub(super) number: usize,
    /// Its text, as it is written.
    pub(super) text: String,
}

impl LogicalLine {
    /// Returns the text without a comment and without space around it.
    pub(super) fn statement(&self) -> String {
        let mut text = String::new();
        let mut chars = self.text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.peek() == Some(&'#') => text.extend(chars.next()),
                '#' => break,
                c => text.push(c),
            }
        }
        text.trim().to_owned()
    }

    /// Returns whether it can only be a line of a recipe, where a rule is before it.
    pub(super) fn is_indented(&self) -> bool {
        self.text.starts_with('\t')
    }
}

/// Returns the lines of a text.
pub(super) fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let goes_on = backslashes % 2 == 1;
        let own = if goes_on { line.get(..line.len() - 1).unwrap_or_default() } else { line };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => {
                last.text.truncate(last.text.trim_end().len());
                last.text.push(' ');
                last.text.push_str(own.trim_start());
            }
            None => lines.push(LogicalLine { number: at + 1, text: own.to_owned() }),
        }
        continues = goes_on;
    }
    lines
}
