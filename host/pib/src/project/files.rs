//! Reading and replacing the project's own small files.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use tempfile::NamedTempFile;

use crate::project::Error;

/// The largest text file of a project that is read, in bytes.
const MAX_TEXT: u64 = 16 << 20;
/// How the names of files begin that are being written.
const TEMP: &str = pib_file::LEFTOVER;

/// Returns a file's text, or `None` where there is no such file.
///
/// # Errors
/// When the file cannot be read, is no UTF-8, or is larger than any manifest or lock.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let fail = |error| Error::io("read", path, error);
    match pib_file::read_text(path, MAX_TEXT) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// Replaces a file's text in one step: whoever reads it sees the old text or the new, never a piece.
///
/// A file that has this text already is left alone, so that its time does not change.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn replace_text(path: &Path, text: &str) -> Result<(), Error> {
    if read_text(path).is_ok_and(|old| old.as_deref() == Some(text)) {
        return Ok(());
    }
    replace_bytes(path, text.as_bytes())
}

/// Replaces a file's bytes in one step: whoever reads it sees the old ones or the new, never a piece.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    place(path, written(path, bytes)?)
}

/// Writes what is to be at `path` to a file beside it.
fn written(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let fail = |error| Error::io("write", path, error);
    if path.is_symlink() {
        // The link would be gone, and what it leads to unchanged.
        return Err(fail(std::io::Error::other("it is a symbolic link, and pib changes regular files only")));
    }
    let mut file = tempfile::Builder::new().prefix(TEMP).tempfile_in(folder_of(path)).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    // A temporary file is private; a project's files have the mode that the user's other files get.
    let mode = std::fs::metadata(path).map(|old| old.permissions()).unwrap_or_else(|_| usual_mode());
    file.as_file().set_permissions(mode).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    Ok(file)
}

/// Gives a written file its place.
fn place(path: &Path, file: NamedTempFile) -> Result<(), Error> {
    let fail = |error| Error::io("write", path, error);
    let folder = folder_of(path);
    file.persist(path).map_err(|error| fail(error.error))?;
    // The rename itself is safe only once the folder is on the disk.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Replaces the texts of several files that belong together: all of them change, or none.
///
/// All are written beside their places before the first takes its place, so that a full disk or a folder that cannot be
/// written to leaves everything as it was; where one cannot take its place, those before it go back.
///
/// # Errors
/// When one of them cannot be replaced.
pub(crate) fn replace_together(texts: &[(PathBuf, String)]) -> Result<(), Error> {
    let mut prepared = Vec::new();
    for (path, text) in texts {
        let old = read_text(path)?;
        if old.as_deref() != Some(text) {
            prepared.push((path, written(path, text.as_bytes())?, old));
        }
    }
    let mut placed: Vec<(&PathBuf, Option<String>)> = Vec::new();
    for (path, file, old) in prepared {
        if let Err(error) = place(path, file) {
            for (path, old) in placed.into_iter().rev() {
                // What fails now as well has no better end: the error says what was the matter.
                _ = match old {
                    Some(old) => replace_bytes(path, old.as_bytes()),
                    None => std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error)),
                };
            }
            return Err(error);
        }
        placed.push((path, old));
    }
    Ok(())
}

/// Removes the files that killed processes were writing in `folder`. Whoever calls this holds the lock on the project.
pub(crate) fn remove_left(folder: &Path) {
    for item in folder.read_dir().into_iter().flatten().flatten() {
        let ours = item.file_name().to_string_lossy().starts_with(TEMP);
        if ours && item.file_type().is_ok_and(|kind| kind.is_file()) {
            // One that stays is only untidy.
            let _ = std::fs::remove_file(item.path());
        }
    }
}

/// Removes a file, where there is one.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Returns the digest of a file's bytes, whatever its size.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn digest(path: &Path) -> Result<Digest, Error> {
    digest_of(path, &pib_file::open(path).map_err(|error| Error::io("read", path, error))?)
}

/// Returns the digest of the bytes of an open file that is at `path`, or is to be, whatever its size.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn digest_of(path: &Path, mut file: &std::fs::File) -> Result<Digest, Error> {
    use std::io::Seek as _;

    use sha2::Digest as _;
    let fail = |error| Error::io("read", path, error);
    file.rewind().map_err(fail)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(fail)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn usual_mode() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("shared"), "a").unwrap();
        std::os::unix::fs::symlink("shared", path("link")).unwrap();
        let error = replace_text(&path("link"), "b").unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(std::fs::read_to_string(path("shared")).unwrap(), "a");
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_an_equal_one_its_time() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        assert_eq!(read_text(&path).unwrap(), None);
        replace_text(&path, "a").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        replace_text(&path, "a").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), time);
        replace_text(&path, "b").unwrap();
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("b"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(folder.path().join(".pib-new-x"), "half").unwrap();
        std::fs::write(folder.path().join(".pib-mine"), "").unwrap();
        remove_left(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn files_that_belong_together_change_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let texts = |a: &str, b: &str| [(path("a"), a.to_owned()), (path("b"), b.to_owned())];
        replace_together(&texts("1", "1")).unwrap();
        assert_eq!(std::fs::read_to_string(path("b")).unwrap(), "1");
        // The second cannot take its place: a folder is there. Also where the first is new.
        std::fs::remove_file(path("b")).unwrap();
        std::fs::create_dir_all(path("b/c")).unwrap();
        assert!(replace_together(&texts("2", "2")).is_err());
        assert_eq!(std::fs::read_to_string(path("a")).unwrap(), "1");
        let new = [(path("new"), "2".to_owned()), (path("b"), "2".to_owned())];
        assert!(replace_together(&new).is_err() && !path("new").exists());
        // Nothing of it is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
