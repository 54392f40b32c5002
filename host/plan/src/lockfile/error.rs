//! Why a lock cannot be read.

use std::ops::Range;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

/// Says why a lock cannot be read, and where in it.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
#[diagnostic(code(pib::lock::invalid))]
pub struct LockError {
    message: String,
    #[source_code]
    text: NamedSource<Arc<str>>,
    #[label("{label}")]
    span: Option<SourceSpan>,
    label: &'static str,
    #[help]
    help: String,
}

impl LockError {
    pub(crate) fn new(
        (file, text): (&str, &str),
        span: Option<Range<usize>>,
        label: &'static str,
        message: String,
        help: impl Into<String>,
    ) -> Self {
        Self {
            message,
            text: NamedSource::new(file, text.into()),
            span: span.map(Into::into),
            label,
            help: help.into(),
        }
    }

    /// Returns the byte range in the text that is to blame, where there is one.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.map(|span| span.offset()..span.offset() + span.len())
    }
}
