//! What is wrong with a target of the project.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode};

/// A target that something is wrong with.
#[derive(Debug)]
pub struct InTarget<E> {
    target: Option<String>,
    /// What is wrong.
    pub error: Box<E>,
}

impl<E> InTarget<E> {
    /// Names the target in which something is wrong; `None` is the project itself.
    pub(crate) fn new(target: Option<&str>, error: E) -> Self {
        Self { target: target.map(str::to_owned), error: Box::new(error) }
    }
}

impl<E: fmt::Display> fmt::Display for InTarget<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "target `{target}`: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for InTarget<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<E: Diagnostic> Diagnostic for InTarget<E> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.help()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.error.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.error.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.error.related()
    }
}
