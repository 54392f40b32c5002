//! Messages to the person who builds.

/// Writes a message into the build's log, which is standard error.
#[allow(clippy::print_stderr)]
pub(crate) fn say(text: &str) {
    eprintln!("pib: {text}");
}
