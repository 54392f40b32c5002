//! A word as engines read it: what it says is kept, not how it was quoted.

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// This text, whatever is in it.
    Text(String),
    /// The value of a variable.
    Variable {
        name: String,
        /// What counts where it has no value (`:-`), or where it has one (`:+`).
        default: Option<(Modifier, Vec<Fragment>)>,
    },
}

/// What a variable's value decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    /// `:-`
    Without,
    /// `:+`
    With,
}

/// A word of an instruction in which engines put the values of variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(pub(super) Vec<Fragment>);

impl Template {
    /// Returns the word that says this text, and has no variables.
    pub fn literal(text: &str) -> Self {
        let fragment = (!text.is_empty()).then(|| Fragment::Text(text.to_owned()));
        Self(fragment.into_iter().collect())
    }

    /// Returns the text that it says, if it has no variables.
    pub fn text(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Fragment::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns whether there are variables in it.
    pub fn has_variables(&self) -> bool {
        self.text().is_none()
    }

    /// Returns whether it is the value of this variable and nothing else.
    pub fn is_variable(&self, name: &str) -> bool {
        matches!(&self.0[..], [Fragment::Variable { name: own, default: None }] if own == name)
    }

    /// Returns what it says up to the first variable without a value here, and whether that is all of it.
    pub fn expand<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> (String, bool) {
        let mut text = String::new();
        for fragment in &self.0 {
            match fragment {
                Fragment::Text(own) => text.push_str(own),
                Fragment::Variable { name, default: None } => match value(name) {
                    Some(value) => text.push_str(value),
                    None => return (text, false),
                },
                Fragment::Variable { .. } => return (text, false),
            }
        }
        (text, true)
    }

    /// Returns the word without quotes where nothing in it needs them.
    pub(crate) fn bare(&self) -> String {
        let plain = |fragment: &Fragment| match fragment {
            Fragment::Text(text) => text.chars().all(is_plain),
            Fragment::Variable { default, .. } => default.is_none(),
        };
        let text = write(&self.0);
        let needs_none = self.0.iter().all(plain) && !text.is_empty() && !text.starts_with(['-', '[']);
        if needs_none { text } else { self.quoted() }
    }

    /// Returns the word in double quotes.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", write(&self.0))
    }
}

/// Returns whether a character is the same to every reader, in quotes and without.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:=,@%+-*?[]".contains(c)
}

/// Writes fragments as they stand within double quotes.
fn write(fragments: &[Fragment]) -> String {
    let mut text = String::new();
    for fragment in fragments {
        match fragment {
            Fragment::Text(own) => {
                for c in own.chars() {
                    if matches!(c, '"' | '\\' | '$') {
                        text.push('\\');
                    }
                    text.push(c);
                }
            }
            Fragment::Variable { name, default } => {
                text.push_str("${");
                text.push_str(name);
                if let Some((modifier, fragments)) = default {
                    text.push_str(match modifier {
                        Modifier::Without => ":-",
                        Modifier::With => ":+",
                    });
                    text.push_str(&write(fragments));
                }
                text.push('}');
            }
        }
    }
    text
}
