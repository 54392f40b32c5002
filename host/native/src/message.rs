//! What the program says to whoever builds.

/// Says something to whoever reads the build's log.
#[allow(clippy::print_stderr)]
pub(crate) fn say(text: &str) {
    eprintln!("pib: {text}");
}
