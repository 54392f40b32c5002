//! What people write: `pib.toml` ([`project`]), `stage.toml` ([`stage`]), and `config.toml` ([`user`]).
//!
//! A manifest is parsed into a schema type whose values remember where they stood, so that whatever turns
//! out wrong with them later can be shown at its line. Unknown keys are errors.

mod archive_table;
mod base_recipe;
pub mod cache_table;
pub mod edit;
pub mod engines;
pub mod project;
mod registry_key;
#[cfg(test)]
mod schema_tests;
pub mod stage;
mod stage_tests;
mod stores;
mod tarball_table;
mod type_words;
pub mod user;
pub mod user_edit;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};
use serde::de::DeserializeOwned;

use crate::suggest;
pub(crate) use type_words::WrongType;

/// The largest manifest that is read, in bytes; a person writes far less.
pub const MAX_MANIFEST: usize = 1 << 20;

/// A manifest's text, kept for messages that point into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestText {
    /// The file's name as messages show it.
    pub file: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// Something is wrong in a manifest, at a place in its text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ManifestError {
    code: &'static str,
    message: String,
    source_text: NamedSource<Arc<str>>,
    span: Option<SourceSpan>,
    label: String,
    help: Option<String>,
}

/// The code of a mistake that has none of its own.
const WRONG_VALUE: &str = "pib::manifest::wrong_value";

impl ManifestText {
    /// Wraps `text`, which was read from `file`.
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.into() }
    }

    /// Returns an error that says `message` and marks `span` with `label`.
    pub fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> ManifestError {
        ManifestError {
            code: WRONG_VALUE,
            message: message.into(),
            source_text: NamedSource::new(&self.file, self.text.clone()),
            span: Some(span.into()),
            label: label.into(),
            help: None,
        }
    }

    /// Parses the text into a schema type.
    ///
    /// # Errors
    /// When the text is not TOML, or a key or value does not fit the schema.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        if self.text.len() > MAX_MANIFEST {
            let message = format!("`{}` is larger than 1 MiB and is surely no manifest", self.file);
            let error = self.error(0..0, message, "").with_code("pib::manifest::too_large");
            return Err(error.with_help("Check that the right file is named."));
        }
        toml::from_str(&self.text).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &toml::de::Error) -> ManifestError {
        let message = error.message().trim().replace('\n', ", ");
        let span = error.span().unwrap_or(0..0);
        let mut words = message.split('`').skip(1).step_by(2);
        if message.starts_with("unknown field") || message.starts_with("unknown variant") {
            return self.explain_unknown(span, &message);
        }
        if message.starts_with("missing field") {
            let found = words.next().unwrap_or_default();
            let headline = match found {
                "project" | "stage" => format!("`{}` has no [{found}] table", self.file),
                _ => format!("`{}` does not say `{found}`", self.file),
            };
            return self
                .error(span, headline, format!("`{found}` is missing here"))
                .with_code("pib::manifest::missing_key")
                .with_help(example(found));
        }
        if message.starts_with("duplicate key") {
            let key = self.text.get(span.clone()).unwrap_or_default().trim();
            let headline = format!("`{key}` stands twice in the same table of `{}`", self.file);
            let error =
                self.error(span, headline, "the second time").with_code("pib::manifest::duplicate_key");
            return error.with_help("Remove one of the two.");
        }
        if let Some(WrongType { found, expected, lacks_quotes }) = WrongType::of(&message) {
            let headline = format!("`{}` has the {found} where {expected} is expected", self.file);
            let error = self.error(span, headline, format!("expected {expected}"));
            let error = error.with_code("pib::manifest::wrong_type");
            return match (lacks_quotes, message.contains("semver")) {
                (true, _) => error.with_help("Put it in quotes: \"...\""),
                (false, true) => error.with_help("Write the version in quotes, e.g. \"1.0.0\"."),
                (false, false) => error,
            };
        }
        if message.contains("version number") || message.contains("semver") {
            let found = self.text.get(span.clone()).unwrap_or_default();
            let headline = format!("`{}` has {found}, which is no version ({message})", self.file);
            let help =
                "A version has three numbers, e.g. \"1.0.0\"; a requirement may have fewer, e.g. \"1\".";
            return self.error(span, headline, "this version").with_help(help);
        }
        if self.text.parse::<toml::Table>().is_ok() {
            return self.error(span, format!("`{}`: {message}", self.file), "here");
        }
        let help = "The file is TOML: tables begin with [name], and a key is set by a line such as name = \"text\". \
                    https://toml.io shows the rest.";
        let error = self.error(span, format!("could not read `{}`: {message}", self.file), "here");
        error.with_code("pib::manifest::syntax").with_help(help)
    }

    /// Returns the error of a key or a word that the schema does not have.
    fn explain_unknown(&self, span: Range<usize>, message: &str) -> ManifestError {
        let (kind, code) = match message.starts_with("unknown field") {
            true => ("key", "pib::manifest::unknown_key"),
            false => ("value", "pib::manifest::unknown_value"),
        };
        let mut words = message.split('`').skip(1).step_by(2);
        let found = words.next().unwrap_or_default();
        let known: Vec<&str> = words.collect();
        let headline = format!("unknown {kind} `{found}` in `{}`", self.file);
        let help = match suggest::only_nearest(found, known.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None if known.is_empty() => "No keys are allowed here.".to_owned(),
            None => format!("Expected one of {}.", suggest::list(known)),
        };
        self.error(span, headline, "not known here").with_code(code).with_help(help)
    }
}

/// Returns what to write where a key is missing.
fn example(key: &str) -> String {
    let value = match key {
        "project" => {
            return "Begin it with a [project] table; `pib new NAME` writes a whole file.".to_owned();
        }
        "stage" => return "Begin it with a [stage] table that has a `name` and a `version`.".to_owned(),
        "name" => "\"router\"",
        "version" => "\"1.0.0\"",
        "os" => "\"debian\"",
        "release" => "\"trixie\"",
        "board" => "\"rpi4\"",
        "arch" => "\"arm64\"",
        "type" => "\"string\"",
        "index" => "\"https://stages.example.org/\"",
        _ => return format!("Add a line that sets `{key}`."),
    };
    format!("Add a line such as: {key} = {value}")
}

impl ManifestError {
    /// Says in which part of the manifest it is.
    #[must_use]
    pub(crate) fn within(mut self, part: &str) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }

    /// Shows another text of the same length in the place of the file's, and `***` for each of `secrets` in messages.
    #[must_use]
    pub(crate) fn redacted(mut self, text: &str, secrets: &[&str]) -> Self {
        let hide =
            |message: String| secrets.iter().fold(message, |message, secret| message.replace(secret, "***"));
        self.source_text = NamedSource::new(self.source_text.name(), text.into());
        self.message = hide(self.message);
        self.label = hide(self.label);
        self.help = self.help.map(hide);
        self
    }

    /// Says which of the kinds of mistakes it is that the book explains.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns what to do next, where that is known.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the byte range in the text that is to blame.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.map(|span| span.offset()..span.offset() + span.len())
    }
}

impl Diagnostic for ManifestError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), self.span?);
        Some(Box::new(std::iter::once(label)))
    }
}
