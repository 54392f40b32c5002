//! The text of a Dockerfile: the only place that writes an instruction, and each kind of text by the one function that
//! escapes it.
//!
//! An instruction is one line. What stands in it is a word as engines read words ([`Template`]), a JSON list, or a shell's
//! command that no engine takes for anything else. So neither continuations nor comments, directives, the escape character
//! or the age of an engine's reader change what an engine sees.

use std::fmt::Write as _;

mod read;
mod template;

pub use read::TemplateFault;
pub use template::Template;

/// The most bytes of an instruction: engines read lines of up to 64 KiB.
pub(crate) const MAX_LINE: usize = 65_000;
/// The most bytes of an instruction of a part, so that there is room for what the assembler adds.
pub(crate) const MAX_PART_LINE: usize = MAX_LINE - 2_000;

/// An instruction under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(String);

impl Line {
    /// Returns an instruction that has only its keyword.
    pub(crate) fn new(keyword: &str) -> Self {
        Self(keyword.to_owned())
    }

    /// Adds an option.
    #[must_use]
    pub(crate) fn flag(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.push(&format!(" --{name}={value}")),
            None => self.push(&format!(" --{name}")),
        }
    }

    /// Adds what is a name by its type, or has been checked to be one: nothing in it is escaped.
    #[must_use]
    pub(crate) fn name(self, name: &str) -> Self {
        self.push(" ").push(name)
    }

    /// Adds a word.
    #[must_use]
    pub(crate) fn word(self, word: &Template) -> Self {
        self.push(" ").push(&word.bare())
    }

    /// Adds an assignment, whose value is always in quotes.
    #[must_use]
    pub(crate) fn assignment(self, name: &str, value: &Template) -> Self {
        self.push(&format!(" {name}={}", value.quoted()))
    }

    /// Adds a JSON list.
    #[must_use]
    pub(crate) fn list<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.push(" ").push(&list(words))
    }

    /// Adds a command that [`is_plain_command`].
    #[must_use]
    pub(crate) fn command(self, command: &str) -> Self {
        self.push(" ").push(command)
    }

    /// Returns the line, without a line break.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whatever a caller overlooks, it begins no line of its own.
    fn push(mut self, text: &str) -> Self {
        self.0.extend(text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        self
    }
}

/// Returns whether engines of every age pass this command to a shell just as it is written.
pub(crate) fn is_plain_command(command: &str) -> bool {
    let starts = command.starts_with(|c: char| c.is_ascii_graphic() && c != '[');
    let ends = command.ends_with(|c: char| !c.is_whitespace() && !is_invisible(c) && c != '\\');
    starts && ends && !command.starts_with("--") && !command.contains("<<") && !command.contains(is_break)
}

fn is_break(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Returns whether a name can be that of a container image, in every way of writing one.
pub(crate) fn is_image_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_inner)
}

/// Returns whether a name can be that of a variable or argument, in every engine and shell.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns a JSON list of strings.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = "[".to_owned();
    for (number, word) in words.into_iter().enumerate() {
        text.push_str(if number == 0 { "" } else { ", " });
        string(&mut text, word);
    }
    text.push(']');
    text
}

/// Writes a JSON string in which no engine finds a heredoc, and nobody a character that is not seen.
fn string(text: &mut String, word: &str) {
    text.push('"');
    let mut before = None;
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '<' if before == Some('<') => text.push_str("\\u003c"),
            c if c.is_control() || is_invisible(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
        before = Some(c);
    }
    text.push('"');
}

/// Returns whether a character is not seen where it stands, and is no plain space.
pub(crate) fn is_invisible(c: char) -> bool {
    (c.is_whitespace() && !c.is_ascii()) || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Returns a word as a POSIX shell reads it: in single quotes, whatever is in it.
pub(crate) fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_is_one_line() {
        let word = Template::literal("a\nRUN b \"$X\" \\");
        let line = Line::new("ENV").assignment("A", &word).name("x\nFROM y").flag("f", Some("1\r2"));
        assert_eq!(line.text(), "ENV A=\"a RUN b \\\"\\$X\\\" \\\\\" x FROM y --f=1 2");
        let line = Line::new("RUN").list(["/bin/sh", "-c", "a\\\n<<E\t\u{2028}\u{1b}'é\" \u{a0}"]);
        assert_eq!(line.text(), r#"RUN ["/bin/sh", "-c", "a\\\n<\u003cE\t\u2028\u001b'é\" \u00a0"]"#);
        let read: Vec<String> = serde_json::from_str(line.text().strip_prefix("RUN ").unwrap()).unwrap();
        assert_eq!(read[2], "a\\\n<<E\t\u{2028}\u{1b}'é\" \u{a0}");
    }

    #[test]
    fn commands_that_an_engine_reads_itself_are_not_plain() {
        for plain in ["a", "a && b", "a\t\"b\" '$c' # d", "a é", "x \\\\ y", "a<b", "a - <c", "{ a; }"] {
            assert!(is_plain_command(plain), "{plain}");
        }
        for other in [
            "",
            " a",
            "a ",
            "[ -e x ]",
            "[\"a\"]",
            "--mount=x a",
            "cat <<E",
            "a \\",
            "a\nb",
            "a\u{a0}",
            "a\rb",
            "é",
        ] {
            assert!(!is_plain_command(other), "{other:?}");
        }
    }

    #[test]
    fn names_have_no_room_for_anything_else() {
        for good in ["a", "docker.io/library/x:1@sha256:00", "localhost:5000/a_b-c"] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "$X", "-a", "a\"", "a\\", "a#b", "é"] {
            assert!(!is_image_name(bad) && !is_variable_name(bad), "{bad}");
        }
        assert!(is_variable_name("_A1") && !is_variable_name("1A") && !is_variable_name("A-B"));
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
