//! Draws what operations report: moving lines on a terminal, plain lines elsewhere, JSON for machines.
//!
//! | module | what it does |
//! |---|---|
//! | `amounts` | durations and sizes as people say them |
//! | `json` | one object for each event |
//! | `lines` | plain lines, for pipes, files and `--verbose` |
//! | `screen` | decides what a terminal of some size shows; writes nothing |
//! | `text` | the one filter between strangers' texts and a terminal |
//! | `terminal` | keeps the lines of the running steps at the end of a terminal |
//! | `verbosity` | how much is said |
//!
//! All of it goes to standard error; standard output is for results. A terminal or reader that went away is no
//! error: the work goes on, or ends by its signal.

mod amounts;
mod json;
mod lines;
mod screen;
mod terminal;
mod text;
mod verbosity;

use std::sync::Arc;

use pib_event::Reporter;
pub use text::{harmless, is_hidden, json, one_line, visible, visible_in_place};
pub use verbosity::Verbosity;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Moving lines when standard error is a terminal, else plain ones.
    Auto,
    /// One JSON object a line.
    Json,
}

/// Returns the reporter for a style and verbosity.
pub fn reporter(style: Style, verbosity: Verbosity) -> Arc<dyn Reporter> {
    // A terminal that cannot move its cursor gets lines, and so does who wants to read all of them.
    let moves = || console::user_attended_stderr() && !console::is_dumb();
    match style {
        Style::Json => Arc::new(json::Json::new(verbosity)),
        Style::Auto if verbosity == Verbosity::Normal && moves() => Arc::new(terminal::Terminal::new()),
        Style::Auto => Arc::new(lines::Lines::new(verbosity)),
    }
}
