//! Events as JSON, one object a line, on standard error.

use std::io::Write as _;
use std::time::Instant;

use super::text;
use super::verbosity::Verbosity;
use pib_event::{Event, Reporter};

/// The property that is put into every event: the seconds since the program started.
const TIME: &str = "time";

pub(super) struct Json {
    since: Instant,
    verbosity: Verbosity,
}

impl Json {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { since: Instant::now(), verbosity }
    }

    fn line(&self, event: &Event) -> Option<Vec<u8>> {
        let urgent = matches!(event, Event::Warning { .. } | Event::Error { .. });
        if self.verbosity == Verbosity::Quiet && !urgent {
            return None;
        }
        let mut object = serde_json::to_value(event).ok()?;
        let milliseconds = u32::try_from(self.since.elapsed().as_millis()).unwrap_or(u32::MAX);
        object.as_object_mut()?.insert(TIME.to_owned(), (f64::from(milliseconds) / 1000.0).into());
        let mut line = text::json(&serde_json::to_string(&object).ok()?);
        line.push('\n');
        Some(line.into_bytes())
    }
}

impl Reporter for Json {
    fn report(&self, event: Event) {
        // Taken before the time is, so that events stand in its order.
        let mut out = std::io::stderr().lock();
        if let Some(line) = self.line(&event) {
            // A reader that went away is no reason to stop a build.
            let _ = out.write_all(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_an_object_with_its_time_and_no_raw_control_character() {
        let event = Event::Log { id: "stage:os".into(), line: "a\u{1b}[2Jb\nc\u{9b}\u{202e}".into() };
        let line = Json::new(Verbosity::Normal).line(&event).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        let control = text.chars().filter(|&c| crate::ui::is_hidden(c)).count();
        assert_eq!((control, line.last()), (1, Some(&b'\n')), "{}", String::from_utf8_lossy(&line));
        let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((object["event"].as_str(), object["time"].is_f64()), (Some("log"), true));
        let quiet = Json::new(Verbosity::Quiet);
        assert_eq!(quiet.line(&event), None);
        assert!(quiet.line(&Event::Warning { message: "w".into() }).is_some());
    }
}
