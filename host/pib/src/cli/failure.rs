//! An error as an event: what is wrong, where, and what to do next.

use miette::Diagnostic;

use crate::ops::Error;
use pib_event::{Event, Place, Problem};

/// Returns the event that ends a run which failed.
pub(super) fn event(error: &Error, logs: Vec<String>) -> Event {
    let Problem { message, help, causes, places, problems } = problem(error);
    Event::Error { message, help, causes, places, problems, exit_code: error.exit_code(), logs }
}

/// Returns one error, with those that it is made of.
fn problem(error: &dyn Diagnostic) -> Problem {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    Problem {
        message: error.to_string(),
        help: error.help().map(|help| help.to_string()),
        causes,
        places: places(error),
        problems: error.related().into_iter().flatten().map(problem).collect(),
    }
}

/// Returns the places in files that are to blame; lines and columns count from 1.
fn places(error: &dyn Diagnostic) -> Vec<Place> {
    let Some(source) = error.source_code() else { return Vec::new() };
    let place = |label: miette::LabeledSpan| {
        let found = source.read_span(label.inner(), 0, 0).ok()?;
        Some(Place {
            file: found.name().map(str::to_owned),
            line: found.line() + 1,
            column: found.column() + 1,
            label: label.label().map(str::to_owned),
        })
    };
    error.labels().into_iter().flatten().filter_map(place).collect()
}
