//! Events as JSON, one object a line, on standard error.

use std::io::Write as _;

use crate::event::{Event, Reporter};

pub(super) struct Json;

impl Reporter for Json {
    fn report(&self, event: Event) {
        // A reader that went away is no reason to stop a build.
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let _ = std::io::stderr().lock().write_all(&line);
        }
    }
}
