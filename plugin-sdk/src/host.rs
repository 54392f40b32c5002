//! What pib offers to a hook.

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever writes the hook.
    Debug,
    /// For whoever reads the log.
    Info,
    /// Something odd.
    Warn,
    /// Something wrong.
    Error,
}

/// Writes a line to the build's log.
pub fn log(level: Level, message: &str) {
    imp::log(level, message);
}

/// Returns a file of the stage's package, or of the project if the stage's config names it.
///
/// # Errors
/// A sentence that says why it cannot be read; no other file can.
pub fn read_file(path: &str) -> Result<Vec<u8>, String> {
    imp::read_file(path).map_err(|reason| format!("could not read `{path}`: {reason}"))
}

/// Returns a file, as [`read_file`] does, as text.
///
/// # Errors
/// A sentence that says why it cannot be read, or that it is not UTF-8.
pub fn read_text(path: &str) -> Result<String, String> {
    String::from_utf8(read_file(path)?).map_err(|_| format!("`{path}` is not UTF-8 text"))
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use super::Level;
    use crate::bindings::pib::stage::host;

    pub(super) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::log(level, message);
    }

    pub(super) fn read_file(path: &str) -> Result<Vec<u8>, String> {
        host::read_file(path)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use super::Level;
    use crate::testing;

    pub(super) fn log(level: Level, message: &str) {
        testing::log(level, message);
    }

    pub(super) fn read_file(path: &str) -> Result<Vec<u8>, String> {
        testing::read_file(path)
    }
}
