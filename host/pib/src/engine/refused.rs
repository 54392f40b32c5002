//! Recognises why an engine refuses a build before it runs anything.

use pib_plan::assemble::BuildPlan;

use super::error::EngineError;
use super::part_location;

/// Turns what the engine says of a build that it does not start into an error.
pub(super) fn refused(plan: &BuildPlan, message: &str) -> EngineError {
    if message.contains("no space left on device") {
        return EngineError::DiskFull { doing: "building".to_owned() };
    }
    if names_lost_layers(message) {
        return EngineError::LostLayers { message: message.to_owned() };
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

/// Returns whether an engine says of a step that what it starts from is not there any more: `failed to prepare xyz: open
/// /var/lib/docker/overlay2/abc/committed: no such file or directory`. It says so again at every build that its cache serves.
pub(super) fn names_lost_layers(message: &str) -> bool {
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    let is_gone = says(&["no such file or directory", "does not exist"]);
    // A file that a COPY names and that is missing, and a program's own words, are no faults of the engine.
    let is_users = says(&["exit code", "cache key", "buildkit-mount"]);
    is_gone && !is_users && says(&["failed to prepare", "/overlay2/", "layer does"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_layers_are_known_by_what_the_engine_says_of_itself() {
        for said in [
            "failed to prepare u9t32: open /var/lib/docker/overlay2/frurz/committed: no such file or directory",
            "stat /var/lib/docker/overlay2/6eb79: no such file or directory",
            "layer does not exist",
        ] {
            assert!(names_lost_layers(said), "{said}");
        }
        for said in [
            "failed to compute cache key: \"/overlay2/missing\" not found: no such file or directory",
            "process \"cat /overlay2/x: no such file or directory\" did not complete: exit code: 1",
        ] {
            assert!(!names_lost_layers(said), "{said}");
        }
    }
}
