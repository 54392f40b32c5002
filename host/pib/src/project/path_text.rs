//! Paths in results as JSON. JSON has no bytes that are not UTF-8: they are shown as a sign, as in messages.

use std::path::Path;

use serde::Serializer;

/// Writes a path.
///
/// # Errors
/// When the writer fails.
pub(crate) fn lossy<P: AsRef<Path>, S: Serializer>(path: &P, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.as_ref().to_string_lossy())
}

/// Writes a path, or nothing where there is none.
///
/// # Errors
/// When the writer fails.
pub(crate) fn lossy_option<P: AsRef<Path>, S: Serializer>(
    path: &Option<P>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy(path, to),
        None => to.serialize_none(),
    }
}
