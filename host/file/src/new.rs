//! A file that is written before it takes its place, and of which nothing is left where that never comes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::Folder;

/// Where a file is to be: a folder that is held open, and a name in it.
#[derive(Debug, Clone)]
pub struct Output {
    folder: Folder,
    name: OsString,
}

impl Folder {
    /// Returns the place of a file below the folder.
    ///
    /// # Errors
    /// When its folder is not there, or a link is on the way.
    pub fn output(&self, path: impl AsRef<Path>) -> io::Result<Output> {
        let (folder, name) = self.parent(path.as_ref())?;
        Ok(Output { folder, name: name.to_owned() })
    }
}

impl Output {
    /// Returns the place at a path that the user has named: its folder may be reached through links.
    ///
    /// # Errors
    /// When its folder cannot be opened, or the path names no file.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        Ok(Self { folder: Folder::open(folder)?, name: name.to_owned() })
    }

    /// Returns the path, for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Returns the name in the folder.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the place of a file beside this one.
    #[must_use]
    pub fn with_name(&self, name: impl Into<OsString>) -> Self {
        Self { folder: self.folder.clone(), name: name.into() }
    }

    /// Checks that a file may take this place: a device that was replaced would be gone for everybody, and who made a link
    /// wants the file elsewhere.
    ///
    /// # Errors
    /// When something is there that is no regular file.
    pub fn check(&self) -> io::Result<()> {
        match self.folder.kind_of(&self.name)? {
            None | Some(FileType::RegularFile) => Ok(()),
            Some(_) => {
                let vanished = io::ErrorKind::NotFound.into();
                Err(self.folder.refusal(&self.name, FileType::RegularFile, vanished))
            }
        }
    }

    /// Starts the file. What is there stays until the file takes its place.
    ///
    /// # Errors
    /// When the folder cannot be written to, or what is there is no regular file.
    pub fn create(&self) -> io::Result<NewFile> {
        self.check()?;
        let (file, temporary) = match self.folder.nameless() {
            Some(file) => (file, None),
            None => self.folder.named_new().map(|(file, name)| (file, Some(name)))?,
        };
        Ok(NewFile { file, temporary, output: self.clone() })
    }

    /// Removes what is there, a link as such; where nothing is, nothing is done.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match self.folder.remove_file(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A file that is being written. It has no name until it takes its place, so that a process that is killed leaves nothing;
/// where the file system knows no files without names, it has one that begins with [`crate::LEFTOVER`].
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// The name that it has until then, if it has one.
    temporary: Option<OsString>,
    output: Output,
}

impl NewFile {
    /// Returns the file, to write to it.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the file, to write at places of it and to read.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Returns where the file is to be.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns the path where the file is to be.
    pub fn path(&self) -> PathBuf {
        self.output.path()
    }

    /// Gives the file its place, in one step, whatever was there; from then on it is safe on the disk.
    ///
    /// # Errors
    /// When that is not possible; what was there is as it was.
    pub fn keep(mut self, permissions: Permissions) -> io::Result<()> {
        self.file.set_permissions(permissions)?;
        self.file.sync_all()?;
        let Output { folder, name } = self.output.clone();
        let temporary = match &self.temporary {
            Some(temporary) => temporary.clone(),
            // A link replaces nothing, and a renamed one does: it has another name for a moment.
            None => self.temporary.insert(folder.name_file(&self.file)?).clone(),
        };
        folder.rename(&temporary, &name)?;
        self.temporary = None;
        folder.sync()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = self.temporary.take() {
            // One that stays is only untidy.
            _ = self.output.folder.remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn create(path: &Path) -> io::Result<NewFile> {
        Output::at(path)?.create()
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("link")).unwrap();
        for (name, reason) in [
            ("pipe", "it is a named pipe, not a regular file".to_owned()),
            ("folder", "it is a folder, not a regular file".to_owned()),
            ("link", format!("`{}` is a symbolic link to `/dev/null`", path("link").display())),
        ] {
            assert_eq!(create(&path(name)).unwrap_err().to_string(), reason);
        }
        assert!(create(Path::new("/")).is_err() && create(&path("..")).is_err());
    }

    #[test]
    fn nothing_is_there_before_it_is_whole_nor_where_it_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, "old").unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut new = create(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        // As for a process that is killed: nobody tidies up.
        if new.temporary.is_none() {
            assert_eq!(count(), 1);
            std::mem::forget(new);
            assert_eq!(count(), 1);
        } else {
            drop(new);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let mut new = create(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        new.keep(Permissions::from_mode(0o644)).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), count()), ("new", 1));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        // Also where nothing was.
        create(&folder.path().join("other")).unwrap().keep(Permissions::from_mode(0o600)).unwrap();
        assert_eq!(count(), 2);
        // And where it cannot take its place.
        let new = create(&folder.path().join("late")).unwrap();
        std::fs::create_dir(folder.path().join("late")).unwrap();
        assert!(new.keep(Permissions::from_mode(0o600)).is_err());
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_file_with_a_name_goes_when_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::at(folder.path().join("image")).unwrap();
        let (file, name) = output.folder.named_new().unwrap();
        let new = NewFile { file, temporary: Some(name), output: output.clone() };
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        drop(new);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let (file, name) = output.folder.named_new().unwrap();
        NewFile { file, temporary: Some(name), output }.keep(Permissions::from_mode(0o600)).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        assert!(folder.path().join("image").is_file());
    }
}
