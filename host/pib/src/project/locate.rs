//! Finds the lines of `pib.toml` that an error comes from.

use std::ops::Range;

use miette::Diagnostic as _;
use pib_plan::id::StageName;
use pib_plan::order::{Edge, OrderError, Reason};
use pib_plan::resolve::{Problem, ProblemKind, ResolveError};

use super::placed::Placed;
use super::{Error, Project};
use crate::source::SourceError;

/// Returns a failed resolution, each problem with the lines that take part in it.
pub(crate) fn resolution(project: &Project, error: ResolveError) -> Error {
    match error {
        ResolveError::Unsatisfiable { problems } if problems.len() > 1 => {
            let place = |problem: Problem| {
                let spans = spans(project, &problem);
                placed(project, spans, "asked for here", problem)
            };
            Error::Unresolved(problems.into_iter().map(place).collect())
        }
        ResolveError::Unsatisfiable { problems } => {
            let spans = problems.iter().flat_map(|problem| spans(project, problem)).collect();
            at(project, spans, "asked for here", ResolveError::Unsatisfiable { problems }.into())
        }
        ResolveError::Excess(excess) => {
            let spans = excess.chain.first().map(|name| requests(project, std::slice::from_ref(name)));
            at(project, spans.unwrap_or_default(), "asked for here", ResolveError::Excess(excess).into())
        }
        other => other.into(),
    }
}

/// Returns what a source said of a stage, with the line that has the stage come from there.
pub(crate) fn source(project: &Project, name: &StageName, error: SourceError) -> Error {
    let patch = project.manifest.patch.iter().find(|request| request.name == *name);
    let spans = match patch {
        Some(patch) => vec![patch.span.clone()],
        None => requests(project, std::slice::from_ref(name)),
    };
    at(project, spans, "this stage", error.into())
}

/// Returns an order that cannot be, with the lines of `[order]` that take part in it.
pub(crate) fn order(project: &Project, error: OrderError) -> Error {
    let rules = project.manifest.order.rules.iter().filter(|rule| {
        let same = |edge: &&Edge| (&edge.first, &edge.second) == (&rule.first, &rule.second);
        error.edges().into_iter().filter(same).any(|edge| edge.reason == Reason::Project)
    });
    let spans = rules.map(|rule| rule.span.clone()).collect();
    at(project, spans, "asked for here", error.into())
}

/// Returns the lines that have a problem: that of the one cause where several stages have the same, else the requests.
fn spans(project: &Project, problem: &Problem) -> Vec<Range<usize>> {
    let places = &project.manifest.project.places;
    match problem.kind {
        ProblemKind::Unsupported("arch") => vec![places.arch.clone()],
        ProblemKind::Unsupported("board") => vec![places.board.clone()],
        _ => requests(project, &problem.requests),
    }
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
    Error::Placed(placed(project, spans, label, error))
}

/// Places an error in the manifest, unless its text is what a command is about to write and nobody can look at.
fn placed<E>(project: &Project, spans: Vec<Range<usize>>, label: &str, what: E) -> Placed<E> {
    let spans = if project.is_saved { spans } else { Vec::new() };
    Placed::new(&project.manifest.source, spans, label, what)
}
