//! A file that is written before it takes its place, and of which nothing is left where that never comes.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};

use crate::{kind_of, not_regular};

/// The prefix of a new file's name until it is complete and renamed. A killed process may leave such a file; it can be removed.
pub const LEFTOVER: &str = ".pib-new-";

/// A file that is being written. It has no name until it takes its place, so that a process that is killed leaves nothing;
/// where the file system knows no files without names, it has one that begins with [`LEFTOVER`].
#[derive(Debug)]
pub struct NewFile {
    content: Content,
    path: PathBuf,
}

#[derive(Debug)]
enum Content {
    Nameless(File),
    Named(tempfile::NamedTempFile),
}

/// Checks that a file may take the place of what is at `path`, also through links: a device would be gone for everybody.
///
/// # Errors
/// When something is there that is no regular file.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    kind_of(path).map_or(Ok(()), |kind| Err(not_regular(&kind)))
}

impl NewFile {
    /// Starts a file that is to be at `path`.
    ///
    /// # Errors
    /// When its folder cannot be written to, or what is there is no regular file.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        check_replaceable(&path)?;
        let nameless = File::options()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .open(folder(&path));
        let content = match nameless {
            Ok(file) => Content::Nameless(file),
            Err(_) => Content::Named(named().tempfile_in(folder(&path))?),
        };
        Ok(Self { content, path })
    }

    /// Returns the file, to write to it.
    pub fn file(&mut self) -> &mut File {
        match &mut self.content {
            Content::Nameless(file) => file,
            Content::Named(file) => file.as_file_mut(),
        }
    }

    /// Returns the file, to write at places of it and to read.
    pub fn as_file(&self) -> &File {
        match &self.content {
            Content::Nameless(file) => file,
            Content::Named(file) => file.as_file(),
        }
    }

    /// Returns where the file is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its place, in one step, whatever was there; from then on it is safe on the disk.
    ///
    /// # Errors
    /// When that is not possible; what was there is as it was.
    pub fn keep(mut self, mode: Permissions) -> io::Result<()> {
        self.file().set_permissions(mode)?;
        self.file().sync_all()?;
        let folder = folder(&self.path);
        match self.content {
            Content::Named(file) => drop(file.persist(&self.path).map_err(|error| error.error)?),
            Content::Nameless(file) => {
                // A link replaces nothing, and a renamed one does: it has another name for a moment.
                let source = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |name: &Path| Ok(linkat(CWD, &source, CWD, name, AtFlags::SYMLINK_FOLLOW)?);
                let linked = named().make_in(folder, link)?;
                linked.into_temp_path().persist(&self.path).map_err(|error| error.error)?;
            }
        }
        File::open(folder)?.sync_all()
    }
}

fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(LEFTOVER);
    builder
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("link")).unwrap();
        for (name, what) in [("pipe", "a named pipe"), ("link", "a device"), (".", "a folder")] {
            let error = NewFile::create(folder.path().join(name)).unwrap_err().to_string();
            assert_eq!(error, format!("it is {what}, not a regular file"));
        }
    }

    #[test]
    fn nothing_is_there_before_it_is_whole_nor_where_it_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, "old").unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut new = NewFile::create(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        let nameless = matches!(new.content, Content::Nameless(_));
        // As for a process that is killed: nobody tidies up.
        if nameless {
            assert_eq!(count(), 1);
            std::mem::forget(new);
            assert_eq!(count(), 1);
        } else {
            drop(new);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let mut new = NewFile::create(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        new.keep(Permissions::from_mode(0o644)).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), count()), ("new", 1));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        // Also where nothing was.
        NewFile::create(folder.path().join("other")).unwrap().keep(Permissions::from_mode(0o600)).unwrap();
        assert_eq!(count(), 2);
    }
}
