//! Reads a word by the rules that engines have in common; what they read differently is a fault.

use std::ops::Range;

use super::template::{Fragment, Modifier, Template};

/// Why a word cannot be read, and where in it that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFault {
    /// The place.
    pub at: Range<usize>,
    /// What stands there, as the end of a sentence that begins with the part.
    pub what: String,
    /// What to write instead.
    pub help: &'static str,
}

const LITERAL: &str = "Write \\$ for the character itself, and ${NAME} for a variable's value.";
const FORMS: &str = "Engines agree on $NAME, ${NAME}, ${NAME:-TEXT} and ${NAME:+TEXT}, where TEXT has no quotes. Let a RUN do the rest.";
/// How deep variables may stand in the defaults of others.
const MAX_DEPTH: usize = 8;

impl Template {
    /// Reads a word.
    ///
    /// # Errors
    /// When a quote has no end, or engines do not agree on a variable.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut reader = Reader { text, at: 0, found: Vec::new() };
        while let Some(c) = reader.peek() {
            reader.next(c)?;
        }
        Ok(Self(reader.found))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    found: Vec<Fragment>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn fault(&self, from: usize, what: impl Into<String>, help: &'static str) -> TemplateFault {
        let end = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        TemplateFault { at: from..end.max(from), what: what.into(), help }
    }

    /// Reads what begins with `c`.
    fn next(&mut self, c: char) -> Result<(), TemplateFault> {
        let start = self.at;
        match c {
            '\'' => {
                let Some(length) = self.text[start + 1..].find('\'') else {
                    self.at = self.text.len();
                    return Err(self.fault(start, "has a single quote without its end", QUOTES));
                };
                let inner = &self.text[start + 1..start + 1 + length];
                push(&mut self.found, inner);
                self.at += length + 2;
            }
            '"' => self.double_quoted()?,
            '\\' => {
                self.at += 1;
                let Some(escaped) = self.peek() else {
                    return Err(self.fault(start, "has a word that ends in a backslash", BACKSLASH));
                };
                push(&mut self.found, escaped.encode_utf8(&mut [0; 4]));
                self.at += escaped.len_utf8();
            }
            '$' => {
                let fragment = self.variable(0)?;
                add(&mut self.found, fragment);
            }
            c => {
                push(&mut self.found, c.encode_utf8(&mut [0; 4]));
                self.at += c.len_utf8();
            }
        }
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), TemplateFault> {
        let start = self.at;
        self.at += 1;
        loop {
            let Some(c) = self.peek() else {
                return Err(self.fault(start, "has a double quote without its end", QUOTES));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '$' => {
                    let fragment = self.variable(0)?;
                    add(&mut self.found, fragment);
                    continue;
                }
                '\\' => {
                    let next = self.text[self.at + 1..].chars().next();
                    if let Some(escaped) = next.filter(|c| matches!(c, '"' | '$' | '\\')) {
                        push(&mut self.found, escaped.encode_utf8(&mut [0; 4]));
                        self.at += 2;
                        continue;
                    }
                    push(&mut self.found, "\\");
                }
                c => push(&mut self.found, c.encode_utf8(&mut [0; 4])),
            }
            self.at += c.len_utf8();
        }
    }

    /// Reads what begins with `$`.
    fn variable(&mut self, depth: usize) -> Result<Fragment, TemplateFault> {
        let start = self.at;
        self.at += 1;
        if self.peek() == Some('{') {
            self.at += 1;
            return self.braced(start, depth);
        }
        let name = self.name();
        match self.peek() {
            Some(c) if name.is_empty() && (c.is_numeric() || "@*#?-$!".contains(c)) => {
                Err(self.fault(start, "has a variable of a shell's own", LITERAL))
            }
            Some(c) if !c.is_ascii() && c.is_alphanumeric() => {
                Err(self.fault(start, "has a variable with a letter beyond ASCII", LITERAL))
            }
            _ if name.is_empty() => Ok(Fragment::Text("$".to_owned())),
            _ => Ok(Fragment::Variable { name, default: None }),
        }
    }

    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return String::new();
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    /// Reads what follows `${`.
    fn braced(&mut self, start: usize, depth: usize) -> Result<Fragment, TemplateFault> {
        let what = "has a variable that engines do not read alike";
        let name = self.name();
        let rest = &self.text[self.at..];
        let modifier = match () {
            () if name.is_empty() || depth > MAX_DEPTH => return Err(self.fault(start, what, FORMS)),
            () if rest.starts_with('}') => {
                self.at += 1;
                return Ok(Fragment::Variable { name, default: None });
            }
            () if rest.starts_with(":-") => Modifier::Without,
            () if rest.starts_with(":+") => Modifier::With,
            () => return Err(self.fault(start, what, FORMS)),
        };
        self.at += 2;
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    return Ok(Fragment::Variable { name, default: Some((modifier, found)) });
                }
                Some('$') => {
                    let fragment = self.variable(depth + 1)?;
                    if matches!(fragment, Fragment::Text(_)) {
                        return Err(self.fault(start, what, FORMS));
                    }
                    add(&mut found, fragment);
                }
                Some(c) if !matches!(c, '"' | '\'' | '\\' | '{') => {
                    push(&mut found, c.encode_utf8(&mut [0; 4]));
                    self.at += c.len_utf8();
                }
                _ => return Err(self.fault(start, what, FORMS)),
            }
        }
    }
}

const QUOTES: &str = "Add the quote that is missing, or write a backslash before one that is part of the text. A list in brackets, \
     [\"a b\", \"/c\"], takes paths with spaces.";
const BACKSLASH: &str = "Write quotes around a text with spaces, or a list in brackets: [\"a b\", \"/c\"].";

fn add(fragments: &mut Vec<Fragment>, fragment: Fragment) {
    match fragment {
        Fragment::Text(text) => push(fragments, &text),
        fragment => fragments.push(fragment),
    }
}

fn push(fragments: &mut Vec<Fragment>, text: &str) {
    match fragments.last_mut() {
        _ if text.is_empty() => {}
        Some(Fragment::Text(last)) => last.push_str(text),
        _ => fragments.push(Fragment::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_the_same_however_it_is_quoted() {
        for (text, bare, quoted) in [
            ("a/b", "a/b", "\"a/b\""),
            ("'a b'", "\"a b\"", "\"a b\""),
            ("a\\ b", "\"a b\"", "\"a b\""),
            ("\"a\\\"\\$\\\\\\n\"", "\"a\\\"\\$\\\\\\\\n\"", "\"a\\\"\\$\\\\\\\\n\""),
            ("it\\'s", "\"it's\"", "\"it's\""),
            ("'$X'", "\"\\$X\"", "\"\\$X\""),
            ("a$X/b", "a${X}/b", "\"a${X}/b\""),
            ("\"${X}\"\\n", "${X}n", "\"${X}n\""),
            ("${X:-a b$Y}", "\"${X:-a b${Y}}\"", "\"${X:-a b${Y}}\""),
            ("a$ b$", "\"a\\$ b\\$\"", "\"a\\$ b\\$\""),
            ("", "\"\"", "\"\""),
            ("''", "\"\"", "\"\""),
            ("é", "\"é\"", "\"é\""),
        ] {
            let word = Template::parse(text).unwrap();
            assert_eq!((&*word.bare(), &*word.quoted()), (bare, quoted), "{text}");
            assert_eq!(Template::parse(bare).unwrap(), word, "{text}");
            assert_eq!(Template::parse(quoted).unwrap(), word, "{text}");
        }
    }

    #[test]
    fn what_engines_read_differently_is_told_with_its_place() {
        for (text, place) in [
            ("a'b", "'b"),
            ("\"a", "\"a"),
            ("\"a\\\"", "\"a\\\""),
            ("a\\", "\\"),
            ("$1", "$1"),
            ("x$$", "$$"),
            ("$é", "$é"),
            ("$Xé", "$Xé"),
            ("${X%a}", "${X%"),
            ("${X:?a}", "${X:"),
            ("${X-a}", "${X-"),
            ("${}", "${}"),
            ("${X", "${X"),
            ("${X:-'a'}", "${X:-'"),
            ("${X:-a", "${X:-a"),
        ] {
            let fault = Template::parse(text).expect_err(text);
            assert!(text[fault.at.clone()].starts_with(&place[..1]), "{text}: {fault:?}");
            assert!(!fault.help.is_empty());
        }
        assert!(Template::parse(&"${A:-".repeat(10_000)).is_err());
    }
}
