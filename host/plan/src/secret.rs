//! Secrets: where their values come from, and what a build calls them. A value itself is never here.

use std::collections::BTreeMap;

use crate::metadata::ConfigValue;

/// How a secret is written in `pib.toml`, for messages.
const FORMS: &str = "{ env = \"NAME\" }, { file = \"PATH\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }";
/// How a secret is written on a command line, for messages.
const SHORT_FORMS: &str = "env:NAME, file:PATH or command:PROGRAM ARGUMENT...";

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of whoever builds.
    Env(String),
    /// A file, relative to the project's folder.
    File(String),
    /// What a program prints; it is started in the project's folder.
    Command(Vec<String>),
}

impl SecretSource {
    /// Reads the table that a project gives as a secret's value.
    ///
    /// # Errors
    /// A sentence's end that says what is wrong. It never repeats a value: that may be the secret itself.
    pub fn from_value(value: &ConfigValue) -> Result<Self, String> {
        let ConfigValue::Table(table) = value else {
            return Err("is a secret, and its value must not stand in a manifest".to_owned());
        };
        let mut entries = table.iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            return Err(format!("is a secret, which comes from exactly one place: {FORMS}"));
        };
        match (kind.as_str(), value) {
            ("env", ConfigValue::String(name)) => Self::env(name),
            ("file", ConfigValue::String(path)) => Self::file(path),
            ("command", ConfigValue::List(words)) => Self::command(words.clone()),
            ("command", ConfigValue::String(line)) => Self::command(words(line)),
            ("env" | "file" | "command", _) => Err(format!("is a secret, which is written as {FORMS}")),
            (other, _) => Err(format!("is a secret, which does not come from `{other}`, but from {FORMS}")),
        }
    }

    /// Reads a secret as a command line gives it: `env:NAME`, `file:PATH`, `command:PROGRAM ARGUMENT...`.
    ///
    /// # Errors
    /// A sentence's end that says what is wrong, without the text: that may be the secret itself.
    pub fn from_command_line(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) => Self::env(name),
            Some(("file", path)) => Self::file(path),
            Some(("command", line)) => Self::command(words(line)),
            _ => Err(format!("is a secret: say where its value comes from, as {SHORT_FORMS}")),
        }
    }

    /// Returns the source as a manifest has it.
    pub fn to_value(&self) -> ConfigValue {
        let (kind, value) = match self {
            Self::Env(name) => ("env", ConfigValue::String(name.clone())),
            Self::File(path) => ("file", ConfigValue::String(path.clone())),
            Self::Command(words) => ("command", ConfigValue::List(words.clone())),
        };
        ConfigValue::Table(BTreeMap::from([(kind.to_owned(), value)]))
    }

    fn env(name: &str) -> Result<Self, String> {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(
                "is a secret, and what it gives is not the name of an environment variable".to_owned()
            );
        }
        Ok(Self::Env(name.to_owned()))
    }

    fn file(path: &str) -> Result<Self, String> {
        if path.is_empty() || path.contains('\0') {
            return Err("is a secret, and names an empty path".to_owned());
        }
        Ok(Self::File(path.to_owned()))
    }

    fn command(words: Vec<String>) -> Result<Self, String> {
        if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
            return Err("is a secret, and names no program".to_owned());
        }
        Ok(Self::Command(words))
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file `{path}`"),
            // Its arguments are nobody's business: somebody may have put a password there.
            Self::Command(words) => write!(f, "the command `{}`", words.first().map_or("", String::as_str)),
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Returns what a part calls the secret `key` of `stage`: `network.passphrase`.
pub fn id(stage: &str, key: &str) -> String {
    format!("{stage}.{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretSource, String> {
        let table: BTreeMap<String, ConfigValue> = toml::from_str(text).unwrap();
        SecretSource::from_value(&table["x"])
    }

    #[test]
    fn sources_are_read_and_written() {
        let cases = [
            ("x = { env = 'WIFI_PASS' }", "env:WIFI_PASS", SecretSource::Env("WIFI_PASS".to_owned())),
            ("x = { file = 'a b' }", "file:a b", SecretSource::File("a b".to_owned())),
            (
                "x = { command = ['pass', 'show'] }",
                "command:pass show",
                SecretSource::Command(vec!["pass".to_owned(), "show".to_owned()]),
            ),
        ];
        for (table, line, source) in cases {
            assert_eq!(read(table), Ok(source.clone()), "{table}");
            assert_eq!(SecretSource::from_command_line(line), Ok(source.clone()), "{line}");
            assert_eq!(SecretSource::from_value(&source.to_value()), Ok(source));
        }
    }

    #[test]
    fn a_plain_value_is_refused_and_not_repeated() {
        let bad = [
            "x = 'hunter22'",
            "x = 7722",
            "x = {}",
            "x = { env = 'A', file = 'hunter22' }",
            "x = { vlaue = 'hunter22' }",
            "x = { env = 'hunter22!' }",
            "x = { env = 7722 }",
            "x = { command = [] }",
            "x = { file = '' }",
        ];
        for text in bad {
            let problem = read(text).unwrap_err();
            assert!(!problem.contains("22"), "{text}: {problem}");
        }
        for line in ["hunter22", "env:hunter-22", "pass:hunter22", "command: ", "file:"] {
            let problem = SecretSource::from_command_line(line).unwrap_err();
            assert!(!problem.contains("22"), "{line}: {problem}");
        }
    }
}
