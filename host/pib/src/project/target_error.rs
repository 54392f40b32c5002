//! What is wrong with a target of the project.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use super::error::Error;

/// A target that something is wrong with.
#[derive(Debug)]
pub struct TargetError {
    target: Option<String>,
    /// What is wrong.
    pub error: Box<Error>,
}

impl TargetError {
    /// Names the target in which something is wrong; `None` is the project itself.
    pub(crate) fn new(target: Option<&str>, error: Error) -> Self {
        Self { target: target.map(str::to_owned), error: Box::new(error) }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "target `{target}`: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for TargetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl Diagnostic for TargetError {
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
