//! Draws what operations report: moving lines on a terminal, plain lines elsewhere, JSON for machines.
//!
//! All of it goes to standard error; standard output is for results.

mod json;
mod lines;
mod terminal;

use std::sync::Arc;

use crate::event::Reporter;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Moving lines when standard error is a terminal, else plain ones.
    Auto,
    /// One JSON object a line.
    Json,
}

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Steps and notes too.
    Normal,
    /// What the programs inside the build print too.
    Verbose,
}

/// Returns the reporter for a style and verbosity.
pub fn reporter(style: Style, verbosity: Verbosity) -> Arc<dyn Reporter> {
    match style {
        Style::Json => Arc::new(json::Json),
        Style::Auto if console::user_attended_stderr() && verbosity == Verbosity::Normal => {
            Arc::new(terminal::Terminal::new())
        }
        Style::Auto => Arc::new(lines::Lines::new(verbosity)),
    }
}

/// Returns a duration as people say it: `0.4s`, `12s`, `3m 05s`.
fn elapsed(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        _ => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// Returns `text` with what would move the cursor or change colours taken out: a build's output is a stranger's.
fn harmless(text: &str) -> String {
    console::strip_ansi_codes(text).chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_and_lines_read_well() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4s");
        assert_eq!(elapsed(Duration::from_secs(185)), "3m 05s");
        assert_eq!(harmless("a\x1b[31mb\x1b[0m\rc\u{7}"), "abc");
    }
}
