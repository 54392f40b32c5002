//! Errors with the lines of `pib.toml` that they come from.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use pib_plan::manifest::ManifestText;

/// What is wrong, and the places in the manifest that ask for it.
#[derive(Debug)]
pub struct Placed<E> {
    /// What is wrong.
    pub what: Box<E>,
    text: NamedSource<Arc<str>>,
    labels: Vec<LabeledSpan>,
}

impl<E> Placed<E> {
    /// Places what is wrong at `spans` of the manifest's text; each is shown with `label`.
    pub(crate) fn new(source: &ManifestText, spans: Vec<Range<usize>>, label: &str, what: E) -> Self {
        let label = |span: Range<usize>| LabeledSpan::new_with_span(Some(label.to_owned()), span);
        Self {
            what: Box::new(what),
            text: NamedSource::new(&source.file, Arc::clone(&source.text)),
            labels: spans.into_iter().map(label).collect(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Placed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl<E: StdError> StdError for Placed<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.what.source()
    }
}

impl<E: Diagnostic> Diagnostic for Placed<E> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.what.code()
    }

    fn severity(&self) -> Option<Severity> {
        self.what.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.what.help()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.labels.is_empty()).then_some(&self.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.what.related()
    }
}
