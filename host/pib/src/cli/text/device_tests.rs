//! What tests of booted systems found.

use std::fmt::Write as _;

use pib_plan::device_test::{TestFailure, TestOutcome};

use crate::ops::test::{TestReport, TestReports};

impl TestReports {
    /// Returns the results for people.
    pub(crate) fn to_text(&self) -> String {
        self.reports.iter().map(TestReport::to_text).collect::<Vec<_>>().join("\n")
    }
}

impl TestReport {
    fn to_text(&self) -> String {
        let title = match (&self.target, &self.image) {
            (Some(target), Some(image)) => format!("{target}: {}", image.display()),
            (Some(target), None) => target.clone(),
            (None, image) => image.as_ref().map(|image| image.display().to_string()).unwrap_or_default(),
        };
        let mut text = format!("{title}\n");
        let width = |of: fn(&TestOutcome) -> &str| {
            self.tests.iter().map(|test| of(test).chars().count()).max().unwrap_or(0)
        };
        let (stages, names) = (width(|test| &test.stage), width(|test| &test.name));
        for test in &self.tests {
            let word = if test.failure.is_some() { "FAIL" } else { "ok" };
            let (stage, name) = (&test.stage, &test.name);
            let _ = writeln!(text, "  {stage:stages$}  {name:names$}  {word:4}  {:7.1} s", test.seconds);
            if let Some(failure) = &test.failure {
                failure_to(&mut text, failure);
            }
        }
        if let Some(error) = &self.error {
            let _ = writeln!(text, "  error: {}", error.message);
        }
        let failed = self.failed();
        let _ = writeln!(text, "{} tests, {failed} failed.", self.tests.len());
        if let Some(seconds) = self.seconds_to_shell {
            let _ = writeln!(text, "A shell answered after {seconds:.1} s.");
        }
        for (what, path) in [("console", &self.console), ("journal", &self.journal)] {
            if let Some(path) = path {
                let _ = writeln!(text, "The {what}: {}", path.display());
            }
        }
        text
    }
}

fn failure_to(text: &mut String, failure: &TestFailure) {
    let _ = writeln!(text, "      {}", failure.reason);
    for (what, output) in [("stdout", &failure.stdout), ("stderr", &failure.stderr)] {
        for line in output.lines() {
            let _ = writeln!(text, "      {what}: {line}");
        }
    }
}
