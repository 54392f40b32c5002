//! Errors with the lines of `pib.toml` that they come from.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use pib_plan::id::StageName;
use pib_plan::resolve::{Problem, ResolveError};

use super::Error;
use super::project::Project;
use crate::source::SourceError;

/// What is wrong, and the places in the manifest that ask for it.
#[derive(Debug)]
pub struct Placed<E> {
    /// What is wrong.
    pub what: Box<E>,
    text: NamedSource<Arc<str>>,
    labels: Vec<LabeledSpan>,
}

/// Returns a failed resolution, each problem with the lines that take part in it.
pub(super) fn resolution(project: &Project, error: ResolveError) -> Error {
    match error {
        ResolveError::Unsatisfiable { problems } if problems.len() > 1 => {
            let place = |problem: Problem| {
                let spans = requests(project, &problem.requests);
                Placed::new(project, spans, "asked for here", problem)
            };
            Error::Unresolved(problems.into_iter().map(place).collect())
        }
        ResolveError::Unsatisfiable { problems } => {
            let spans = problems.iter().flat_map(|problem| requests(project, &problem.requests)).collect();
            at(project, spans, "asked for here", ResolveError::Unsatisfiable { problems }.into())
        }
        other => other.into(),
    }
}

/// Returns what a source said of a stage, with the line that has the stage come from there.
pub(super) fn source(project: &Project, name: &StageName, error: SourceError) -> Error {
    let patch = project.manifest.patch.iter().find(|request| request.name == *name);
    let spans = match patch {
        Some(patch) => vec![patch.span.clone()],
        None => requests(project, std::slice::from_ref(name)),
    };
    at(project, spans, "this stage", error.into())
}

fn requests(project: &Project, names: &[StageName]) -> Vec<Range<usize>> {
    let listed = project.manifest.stages.iter().filter(|request| names.contains(&request.name));
    listed.map(|request| request.span.clone()).collect()
}

fn at(project: &Project, spans: Vec<Range<usize>>, label: &str, error: Error) -> Error {
    // What is not in the file yet, since a command is about to write it, is not shown as if it were.
    if spans.is_empty() || !project.is_saved || error.source_code().is_some() {
        return error;
    }
    Error::Placed(Placed::new(project, spans, label, error))
}

impl<E> Placed<E> {
    fn new(project: &Project, spans: Vec<Range<usize>>, label: &str, what: E) -> Self {
        let source = &project.manifest.source;
        let spans = if project.is_saved { spans } else { Vec::new() };
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
