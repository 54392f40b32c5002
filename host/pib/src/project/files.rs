//! Reading and replacing the project's own small files.

use std::io::{Seek as _, Write as _};
use std::path::Path;

use pib_file::{Folder, Kind, NewFile};
use pib_plan::id::Digest;

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
    found(pib_file::read_text(path, MAX_TEXT)).map_err(|error| Error::io("read", path, error))
}

/// Returns the text of a file that describes the project, or `None` where there is none. A link is followed only where
/// it stays in the project: a message would show the line of another file of the user's.
///
/// # Errors
/// When the file cannot be read, is no text, or a link leads out of the project.
pub(crate) fn read_own(project: &Folder, name: &str) -> Result<Option<String>, Error> {
    let text = || pib_file::text_of(pib_file::read_open(project.open_inside(name)?, MAX_TEXT)?);
    found(text()).map_err(|error| Error::unreadable(project.path().join(name), error))
}

fn found<T>(read: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the text of a file that pib has written in `folder`; nothing where it cannot be read.
pub(crate) fn read_written(folder: &Folder, name: &str) -> Option<String> {
    folder.read_text(name, MAX_TEXT).ok()
}

/// Replaces a file's text in one step: whoever reads it sees the old text or the new, never a piece.
///
/// A file that has this text already is left alone, so that its time does not change.
///
/// # Errors
/// When the folder cannot be written to, or the file is a link.
pub(crate) fn replace_text(folder: &Folder, name: &str, text: &str) -> Result<(), Error> {
    if read_written(folder, name).as_deref() == Some(text) {
        return Ok(());
    }
    replace_bytes(folder, name, text.as_bytes())
}

/// Replaces a file's bytes in one step: whoever reads it sees the old ones or the new, never a piece.
///
/// # Errors
/// When the folder cannot be written to, or the file is a link.
pub(crate) fn replace_bytes(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), Error> {
    place(folder, name, written(folder, name, bytes)?)
}

/// Writes what is to be called `name` to a file without a name.
fn written(folder: &Folder, name: &str, bytes: &[u8]) -> Result<NewFile, Error> {
    let write = || {
        let mut file = folder.output(name)?.create()?;
        file.file().write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error| Error::io("write", folder.path().join(name), error))
}

/// Gives a written file its place.
fn place(folder: &Folder, name: &str, file: NewFile) -> Result<(), Error> {
    // A temporary file is private; a project's files have the mode that the user's other files get.
    let mode = |old: Option<std::fs::Permissions>| old.unwrap_or_else(usual_mode);
    let kept = folder.permissions(name).and_then(|old| file.keep(mode(old)));
    kept.map_err(|error| Error::io("write", folder.path().join(name), error))
}

/// Replaces the texts of several files that belong together: all of them change, or none.
///
/// All are written beside their places before the first takes its place, so that a full disk or a folder that cannot be
/// written to leaves everything as it was; where one cannot take its place, those before it go back.
///
/// # Errors
/// When one of them cannot be replaced.
pub(crate) fn replace_together(folder: &Folder, texts: &[(&str, String)]) -> Result<(), Error> {
    let mut prepared = Vec::new();
    for (name, text) in texts {
        let old = read_own(folder, name)?;
        if old.as_deref() != Some(text) {
            prepared.push((*name, written(folder, name, text.as_bytes())?, old));
        }
    }
    let mut placed: Vec<(&str, Option<String>)> = Vec::new();
    for (name, file, old) in prepared {
        if let Err(error) = place(folder, name, file) {
            for (name, old) in placed.into_iter().rev() {
                // What fails now as well has no better end: the error says what was the matter.
                _ = match old {
                    Some(old) => replace_bytes(folder, name, old.as_bytes()),
                    None => folder.remove_file(name).map_err(|error| Error::io("remove", name, error)),
                };
            }
            return Err(error);
        }
        placed.push((name, old));
    }
    Ok(())
}

/// Removes the files that killed processes were writing in `folder`. Whoever calls this holds the lock on the project.
pub(crate) fn remove_left(folder: &Folder) {
    for entry in folder.entries().unwrap_or_default() {
        if entry.kind == Kind::RegularFile && entry.name.to_string_lossy().starts_with(TEMP) {
            // One that stays is only untidy.
            let _ = folder.remove_file(entry.name);
        }
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
    let digest = file.rewind().and_then(|()| pib_file::sha256(file));
    digest.map(Digest::from_bytes).map_err(|error| Error::io("read", path, error))
}

fn usual_mode() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        (temp, folder)
    }

    #[test]
    fn a_link_is_not_replaced() {
        let (temp, folder) = temporary();
        let path = |name: &str| temp.path().join(name);
        std::fs::write(path("shared"), "a").unwrap();
        std::os::unix::fs::symlink("shared", path("link")).unwrap();
        let error = replace_text(&folder, "link", "b").unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("symbolic link to `shared`"), "{reason}");
        assert_eq!(std::fs::read_to_string(path("shared")).unwrap(), "a");
        assert_eq!(read_own(&folder, "link").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_an_equal_one_its_time() {
        use std::os::unix::fs::PermissionsExt as _;
        let (temp, folder) = temporary();
        let path = temp.path().join("f");
        assert_eq!(read_own(&folder, "f").unwrap(), None);
        replace_text(&folder, "f", "a").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        replace_text(&folder, "f", "a").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), time);
        replace_text(&folder, "f", "b").unwrap();
        assert_eq!(read_own(&folder, "f").unwrap().as_deref(), Some("b"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        std::fs::write(temp.path().join(".pib-new-x"), "half").unwrap();
        std::fs::write(temp.path().join(".pib-mine"), "").unwrap();
        remove_left(&folder);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[test]
    fn files_that_belong_together_change_together_or_not_at_all() {
        let (temp, folder) = temporary();
        let path = |name: &str| temp.path().join(name);
        let texts = |a: &str, b: &str| [("a", a.to_owned()), ("b", b.to_owned())];
        replace_together(&folder, &texts("1", "1")).unwrap();
        assert_eq!(std::fs::read_to_string(path("b")).unwrap(), "1");
        // The second cannot take its place: a folder is there. Also where the first is new.
        std::fs::remove_file(path("b")).unwrap();
        std::fs::create_dir_all(path("b/c")).unwrap();
        assert!(replace_together(&folder, &texts("2", "2")).is_err());
        assert_eq!(std::fs::read_to_string(path("a")).unwrap(), "1");
        let new = [("new", "2".to_owned()), ("b", "2".to_owned())];
        assert!(replace_together(&folder, &new).is_err() && !path("new").exists());
        // Nothing of it is left.
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
