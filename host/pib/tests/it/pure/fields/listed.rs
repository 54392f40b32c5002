//! The lists of fields, taken from the code: what the program itself answers where it is given something unknown.

use std::collections::BTreeSet;

use pib_plan::manifest::ManifestError;
use toml_edit::DocumentMut;

/// Nothing is called so, nor anything near it.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// A step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Any name that the author chooses.
    Any,
    /// Any entry of a list.
    Item,
}

/// A format of files, which is asked for its fields.
pub(super) struct Format<'a> {
    /// The name of the file, which begins the names of its fields.
    pub(super) file: &'a str,
    /// A whole text, which the parser takes.
    pub(super) text: &'a str,
    pub(super) parse: &'a dyn Fn(&str) -> Option<ManifestError>,
}

impl Format<'_> {
    /// Returns the names of all fields, with `*` for a name of the author's, `[]` for the entries of a list, and `=` before each
    /// value of those that have only a few.
    pub(super) fn fields(&self) -> BTreeSet<String> {
        assert!((self.parse)(self.text).is_none(), "the text for {} is wrong", self.file);
        let mut found = BTreeSet::new();
        self.walk(&[], &mut found);
        found
    }

    fn walk(&self, path: &[Step], found: &mut BTreeSet<String>) {
        let shapes = [&[][..], &[Step::Item], &[Step::Any]].map(|more| [path, more].concat());
        for shape in &shapes {
            let key = [&shape[..], &[Step::Key(UNKNOWN.to_owned())]].concat();
            if let Some(keys) = self.ask(&key, "1", "unknown key") {
                for key in keys {
                    self.walk(&[&shape[..], &[Step::Key(key)]].concat(), found);
                }
                return;
            }
        }
        let values =
            shapes.iter().find_map(|shape| self.ask(shape, &format!("\"{UNKNOWN}\""), "unknown value"));
        match values {
            Some(values) => found.extend(values.iter().map(|value| format!("{}={value}", self.name(path)))),
            None => drop(found.insert(self.name(path))),
        }
    }

    /// Has the parser read this value at this path; returns what it would have taken instead, where it refuses the value by
    /// such a message.
    fn ask(&self, path: &[Step], value: &str, message: &str) -> Option<Vec<String>> {
        let (Step::Key(first), rest) = path.split_first()? else { return None };
        let nested = rest.iter().rev().fold(value.to_owned(), |inner, step| match step {
            Step::Key(key) => format!("{{ {key} = {inner} }}"),
            Step::Any => format!("{{ a = {inner} }}"),
            Step::Item => format!("[{inner}]"),
        });
        let mut document: DocumentMut = self.text.parse().unwrap();
        document.remove(first);
        let text = format!("{first} = {nested}\n{document}");
        let error = (self.parse)(&text)?;
        let expected = format!("{message} `{UNKNOWN}`");
        error.to_string().contains(&expected).then(|| quoted(error.advice().unwrap_or_default()))
    }

    fn name(&self, path: &[Step]) -> String {
        let steps = path.iter().map(|step| match step {
            Step::Key(key) => key,
            Step::Any => "*",
            Step::Item => "[]",
        });
        format!("{}: {}", self.file, steps.collect::<Vec<_>>().join("."))
    }
}

/// Returns the words that a message has in backticks.
fn quoted(message: &str) -> Vec<String> {
    message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the long options that a command's help lists.
pub(super) fn options(command: &str, help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let options = lines.flat_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    options.map(|option| format!("{command}: {}", option.trim_end_matches(','))).collect()
}

/// Returns the values that an enumeration has, as its reader lists them.
pub(super) fn values<T: serde::de::DeserializeOwned>(name: &str) -> BTreeSet<String> {
    let error = serde_json::from_str::<T>(&format!("\"{UNKNOWN}\"")).err().unwrap().to_string();
    quoted(&error)
        .into_iter()
        .filter(|value| value != UNKNOWN)
        .map(|value| format!("{name}={value}"))
        .collect()
}
