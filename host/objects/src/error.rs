//! Why something could not be done with content elsewhere.

use std::io;

/// The longest text of a server's that an error has, in characters.
const LONGEST: usize = 200;

/// Says why something could not be done with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// What the user has set cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The server cannot be reached, or does not do what it should.
    #[error("{0}")]
    Server(String),
    /// The server does not let this user do that.
    #[error("{0}")]
    Denied(String),
    /// Somebody else has written the object meanwhile.
    #[error("somebody else has written {0} at the same time")]
    Conflict(String),
    /// What is there is larger than it should be.
    #[error("it is larger than the {0} bytes expected at most")]
    TooLarge(u64),
    /// A file of this machine cannot be read or written.
    #[error("{0}")]
    Here(io::Error),
}

/// Returns a server's words for a message: one line, not too long.
pub(crate) fn plain(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_control() || letter.is_whitespace());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST).collect()
}

/// Returns the reason at the end of an error's chain: what comes before it says only that a request failed.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    plain(&last.to_string())
}
