//! Recognises why an engine refuses a build before it runs anything.

use pib_plan::assemble::BuildPlan;

use super::error::EngineError;
use super::part_location;

/// Turns what the engine says of a build that it does not start into an error.
pub(super) fn refused(plan: &BuildPlan, message: &str) -> EngineError {
    if message.contains("no space left on device") {
        return EngineError::DiskFull { doing: "building".to_owned() };
    }
    let location = part_location::of_message(plan, message);
    // Before that stands only which part of the engine passed the message on.
    let mut text = message.find("dockerfile parse error").map_or(message, |start| &message[start..]);
    if location.is_some() {
        // Its line is that of the whole Dockerfile, which nobody wrote.
        text = text.split_once(": ").map_or(text, |(_, rest)| rest);
    }
    EngineError::BuildRefused {
        stage: location.as_ref().map(|location| location.stage.clone()),
        line: location.map(|location| location.line),
        message: text.trim().to_owned(),
        help: refused_help(&text.to_lowercase()),
    }
}

/// Returns what to do about what only newer engines read.
fn refused_help(text: &str) -> Option<String> {
    let help =
        "If it is spelled right, this engine does not know the option: Docker Engine 23 or newer does.";
    text.contains("unknown flag").then(|| help.to_owned())
}
