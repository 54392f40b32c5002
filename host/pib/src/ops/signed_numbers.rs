//! What a registry's key has signed last, kept beside the key's file: a registry that was put back to an older state is not signed
//! as if it were the newest.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pib_file::Folder;
use serde::{Deserialize, Serialize};

/// The largest such file, in bytes.
const MAX_FILE: u64 = 4096;

/// The file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Last {
    /// The greatest number of a snapshot that the key has signed.
    number: u64,
}

/// Returns the number of the last snapshot that the key in a file has signed; 0 where none is known.
///
/// # Errors
/// When it cannot be read.
pub(super) fn last(key: &Path) -> io::Result<u64> {
    match pib_file::read(path(key), MAX_FILE) {
        Ok(bytes) => {
            let last: Last = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
            Ok(last.number)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Remembers that the key in a file has signed a snapshot with this number.
///
/// # Errors
/// When that cannot be written.
pub(super) fn remember(key: &Path, number: u64) -> io::Result<()> {
    let path = path(key);
    let folder = Folder::open(path.parent().unwrap_or(&path))?;
    let lock = folder.to_lock()?;
    lock.lock()?;
    // Somebody else may have signed a newer one meanwhile.
    if last(key)? >= number {
        return Ok(());
    }
    let text = serde_json::to_string(&Last { number })?;
    let mut new = folder.output(path.file_name().unwrap_or_default())?.create()?;
    new.file().write_all(text.as_bytes())?;
    new.keep(std::fs::Permissions::from_mode(0o600))
}

/// Returns the file beside a key's.
pub(super) fn path(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".last");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_number_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        assert_eq!(last(&key).unwrap(), 0);
        for (number, greatest) in [(7, 7), (6, 7), (9, 9)] {
            remember(&key, number).unwrap();
            assert_eq!(last(&key).unwrap(), greatest);
        }
        std::fs::write(path(&key), "x").unwrap();
        assert!(last(&key).is_err() && remember(&key, 10).is_err());
    }
}
