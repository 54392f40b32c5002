//! The list of digests.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::DistError;

/// Returns the SHA-256 of each of `files`, as `sha256sum` prints and checks it, sorted by name.
///
/// # Errors
/// When a file cannot be read.
pub fn sums(files: &[impl AsRef<Path>]) -> Result<String, DistError> {
    let mut lines = Vec::new();
    for file in files.iter().map(AsRef::as_ref) {
        let bytes = std::fs::read(file).map_err(DistError::file("read", file))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        lines.push((name.clone().into_owned(), format!("{}  {name}\n", hex::encode(Sha256::digest(&bytes)))));
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}
