//! A folder that is held open, and what is below it.
//!
//! A project may be a stranger's, and anything in it a link: `target` to the user's home, `target/logs` to another
//! project's. What pib writes, replaces, lists and removes there is reached from the folder's handle, one component
//! after the other, and a link in any of them is refused. (The system call `openat2` refuses the same in one step, but
//! some kernels and sandboxes do not have it, and it does not tell which component is the link.) The folder itself is
//! the user's choice, and may be reached through links.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use crate::{LinkError, read_open, regular, text_of, trace};

/// The prefix of a new file's name until it is complete and renamed. A killed process may leave such a file; it can be removed.
pub const LEFTOVER: &str = ".pib-new-";

/// A folder that is held open. Paths given to it are relative to it, and none of them leads out of it.
#[derive(Debug, Clone)]
pub struct Folder {
    handle: Arc<OwnedFd>,
    path: PathBuf,
}

/// What a folder holds under one name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it is; of a link, that it is one.
    pub kind: FileType,
}

impl Folder {
    /// Opens a folder that the user has named, also through links.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let named = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let handle = rustix::fs::openat(CWD, named, flags, Mode::empty())?;
        Ok(Self { handle: Arc::new(handle), path: path.to_owned() })
    }

    /// Opens a folder that the user has named, also through links, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn make(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Self::open(path)
    }

    /// Returns the folder's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    /// When it cannot be opened, is no folder, or a link is on the way.
    pub fn folder(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        names(path.as_ref())?.into_iter().try_fold(self.clone(), |folder, name| folder.enter(name))
    }

    /// Opens a folder below this one, and makes it, with those that lead to it, where there is none.
    ///
    /// # Errors
    /// When it cannot be made or opened, something else is there, or a link is on the way.
    pub fn make_folder(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        names(path.as_ref())?.into_iter().try_fold(self.clone(), |folder, name| {
            match rustix::fs::mkdirat(&*folder.handle, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => folder.enter(name),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Makes a folder below this one, where nothing is yet, with a name that begins with `prefix` and goes on as nobody
    /// can foresee; only the user may look into it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_temporary(&self, prefix: &str) -> io::Result<Self> {
        let make = |name: &OsStr| rustix::fs::mkdirat(&*self.handle, name, Mode::RWXU);
        let (name, ()) = with_new_name(prefix, make)?;
        self.enter(&name)
    }

    /// Returns what the folder holds, sorted by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&*self.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells it here.
                FileType::Unknown => self.kind_of(name)?,
                kind => Some(kind),
            };
            entries.extend(kind.map(|kind| Entry { name: name.to_owned(), kind }));
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Returns what is at `path`, a link as such; `None` where nothing is.
    ///
    /// # Errors
    /// When that cannot be told, or a link is on the way.
    pub fn kind(&self, path: impl AsRef<Path>) -> io::Result<Option<FileType>> {
        let (folder, name) = match self.parent(path.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            parent => parent?,
        };
        folder.kind_of(name)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, or a link is on the way or in its place.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let file = self.open_with(path.as_ref(), OFlags::RDONLY, Mode::empty())?;
        trace::opened(&self.path.join(path));
        Ok(file)
    }

    /// Opens a regular file for reading, also through links that stay below the folder.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, or a link leads out of the folder or nowhere.
    pub fn open_inside(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let refused = match self.open_file(path) {
            Err(error) if LinkError::of(&error).is_some() => error,
            opened => return opened,
        };
        let (Ok(real), Ok(root)) = (self.path.join(path).canonicalize(), self.path.canonicalize()) else {
            return Err(refused);
        };
        // What is found by path is opened by the handle, without links: it cannot have become another by then.
        real.strip_prefix(root).map_or(Err(refused), |inside| self.open_file(inside))
    }

    /// Returns the bytes of a regular file of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Self::open_file`]; also when it is larger.
    pub fn read(&self, path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
        read_open(self.open_file(path)?, most)
    }

    /// Returns the text of a regular file of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Self::read`]; also when it is not UTF-8.
    pub fn read_text(&self, path: impl AsRef<Path>, most: u64) -> io::Result<String> {
        text_of(self.read(path, most)?)
    }

    /// Opens a file for reading and writing, e.g. as a lock, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened or made, is no regular file, or a link is on the way or in its place.
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_with(path.as_ref(), OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(0o666))
    }

    /// Makes a file where nothing is yet, and opens it for reading and writing.
    ///
    /// # Errors
    /// When something is there, be it a link, or the file cannot be made.
    pub fn create_new(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let (folder, name) = self.parent(path.as_ref())?;
        // Where something is there, the system says so, and opens nothing.
        Ok(rustix::fs::openat(&*folder.handle, name, flags | ALWAYS, Mode::from_raw_mode(0o666))?.into())
    }

    /// Makes a file without a name, which is gone once it is closed.
    ///
    /// # Errors
    /// When no file can be made in the folder.
    pub fn unnamed(&self) -> io::Result<File> {
        if let Some(file) = self.nameless() {
            return Ok(file);
        }
        let (file, name) = self.named_new()?;
        self.remove_file(name)?;
        Ok(file)
    }

    /// Makes a link that says `leads_to`, in one step, also in the place of another.
    ///
    /// # Errors
    /// When it cannot be made, or something else than a link is in its place.
    pub fn point(&self, path: impl AsRef<Path>, leads_to: &OsStr) -> io::Result<()> {
        let (folder, name) = self.parent(path.as_ref())?;
        if folder.kind_of(name)?.is_some_and(|kind| kind != FileType::Symlink) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let make = |new: &OsStr| rustix::fs::symlinkat(leads_to, &*folder.handle, new);
        let (new, ()) = with_new_name(LEFTOVER, make)?;
        folder.rename(&new, name).inspect_err(|_| _ = folder.remove_file(&new))
    }

    /// Gives what is at `from` the place `to`, whatever file or link was there.
    ///
    /// # Errors
    /// When that is not possible, or a link is on the way.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let (from_folder, from) = self.parent(from.as_ref())?;
        let (to_folder, to) = self.parent(to.as_ref())?;
        Ok(rustix::fs::renameat(&*from_folder.handle, from, &*to_folder.handle, to)?)
    }

    /// Removes a file, or a link as such.
    ///
    /// # Errors
    /// When it cannot be removed, or a link is on the way.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (folder, name) = self.parent(path.as_ref())?;
        Ok(rustix::fs::unlinkat(&*folder.handle, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When something is in it, it cannot be removed, is no folder, or a link is on the way.
    pub fn remove_folder(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (folder, name) = self.parent(path.as_ref())?;
        Ok(rustix::fs::unlinkat(&*folder.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes what is at `path` with all that is in it. Links are removed as such: what they lead to stays.
    ///
    /// # Errors
    /// When something of it cannot be removed, or a link is on the way.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (folder, name) = self.parent(path.as_ref())?;
        folder.remove_entry(name)
    }

    /// Removes the folders below this one that hold nothing but such folders.
    pub fn remove_empty_folders(&self) {
        let entries = self.entries().unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.kind == FileType::Directory) {
            if let Ok(below) = self.enter(&entry.name) {
                below.remove_empty_folders();
                // One that holds something stays: the system refuses to remove it.
                _ = self.remove_folder(&entry.name);
            }
        }
    }

    /// Sets the folder's own permissions.
    ///
    /// # Errors
    /// When it belongs to somebody else.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&*self.handle, mode_of(&permissions))?)
    }

    /// Returns the permissions of what is at `path`, a link's own; `None` where nothing is.
    ///
    /// # Errors
    /// As [`Self::kind`].
    pub fn permissions(&self, path: impl AsRef<Path>) -> io::Result<Option<Permissions>> {
        let (folder, name) = self.parent(path.as_ref())?;
        Ok(folder.look(name)?.map(|found| Permissions::from_mode(found.st_mode & 0o7777)))
    }

    /// Makes what was renamed in the folder safe on the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.handle)?)
    }

    /// Opens the folder itself as a file that can be locked.
    ///
    /// # Errors
    /// When it cannot be opened again.
    pub fn to_lock(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.handle, ".", flags, Mode::empty())?.into())
    }

    /// Makes a file that has no name, where the file system knows such files and `/proc` is there to give it one later.
    pub(crate) fn nameless(&self) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*self.handle, ".", flags, Mode::RUSR | Mode::WUSR);
        file.ok().map(File::from).filter(|file| rustix::fs::stat(opened(file)).is_ok())
    }

    /// Makes a file with a name that nobody can foresee.
    pub(crate) fn named_new(&self) -> io::Result<(File, OsString)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | ALWAYS;
        let make = |name: &OsStr| rustix::fs::openat(&*self.handle, name, flags, Mode::RUSR | Mode::WUSR);
        with_new_name(LEFTOVER, make).map(|(name, file)| (file.into(), name))
    }

    /// Gives a file that has no name one that nobody can foresee.
    pub(crate) fn name_file(&self, file: &File) -> io::Result<OsString> {
        let source = opened(file);
        let link =
            |name: &OsStr| rustix::fs::linkat(CWD, &source, &*self.handle, name, AtFlags::SYMLINK_FOLLOW);
        with_new_name(LEFTOVER, link).map(|(name, ())| name)
    }

    /// Returns the error for what is at `name` where a link or a file of this kind was not expected; `error` where it is
    /// neither.
    pub(crate) fn refusal(&self, name: &OsStr, wanted: FileType, error: io::Error) -> io::Error {
        let path = self.path.join(name);
        match self.kind_of(name) {
            Ok(Some(FileType::Symlink)) => match rustix::fs::readlinkat(&*self.handle, name, Vec::new()) {
                Ok(leads_to) => {
                    LinkError { path, leads_to: OsStr::from_bytes(leads_to.to_bytes()).into() }.into()
                }
                Err(_) => error,
            },
            Ok(Some(kind)) if kind != wanted => crate::unexpected(kind, wanted),
            _ => error,
        }
    }

    pub(crate) fn kind_of(&self, name: &OsStr) -> io::Result<Option<FileType>> {
        Ok(self.look(name)?.map(|found| FileType::from_raw_mode(found.st_mode)))
    }

    fn look(&self, name: &OsStr) -> io::Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(&*self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the folder that holds the last component of a path, and that component.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> io::Result<(Self, &'a OsStr)> {
        let names = names(path)?;
        let Some((last, folders)) = names.split_last() else { return Err(astray(path)) };
        let parent = folders.iter().try_fold(self.clone(), |folder, name| folder.enter(name))?;
        Ok((parent, last))
    }

    fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&*self.handle, name, flags, Mode::empty()) {
            Ok(handle) => Ok(Self { handle: Arc::new(handle), path: self.path.join(name) }),
            Err(error) => Err(self.refusal(name, FileType::Directory, error.into())),
        }
    }

    fn open_with(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        match rustix::fs::openat(&*folder.handle, name, flags | ALWAYS, mode) {
            Ok(file) => regular(file.into()),
            Err(error) => Err(folder.refusal(name, FileType::RegularFile, error.into())),
        }
    }

    fn remove_entry(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&*self.handle, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            removed => return Ok(removed?),
        }
        self.open_up(name);
        let below = self.enter(name)?;
        for entry in below.entries()? {
            below.remove_entry(&entry.name)?;
        }
        Ok(rustix::fs::unlinkat(&*self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Lets the user look into a folder and change it, where its permissions forbid that: all in it is to be removed.
    fn open_up(&self, name: &OsStr) {
        let all = |mode: RawMode| mode & 0o700 == 0o700;
        if self.look(name).is_ok_and(|found| found.is_some_and(|found| all(found.st_mode))) {
            return;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(handle) = rustix::fs::openat(&*self.handle, name, flags, Mode::empty()) {
            // A folder that nobody may read has no other name by which a handle of it can be changed.
            _ = rustix::fs::chmodat(CWD, opened(&handle), Mode::RWXU, AtFlags::empty());
        }
    }
}

/// Returns a path that leads to an open file, whatever its names are.
fn opened(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// How every file is opened: nothing is waited for, no terminal is taken, no link is followed.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// How often another name is tried.
const TRIES: usize = 100;

/// Makes something under a name that begins with `prefix` and goes on as nobody can foresee.
fn with_new_name<T>(
    prefix: &str,
    mut make: impl FnMut(&OsStr) -> rustix::io::Result<T>,
) -> io::Result<(OsString, T)> {
    for _ in 0..TRIES {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = OsString::from(format!("{prefix}{:016x}", u64::from_ne_bytes(random)));
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((name, made?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Returns the components of a path that stays below the folder that it is relative to.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(astray(path)),
        }
    }
    Ok(names)
}

fn astray(path: &Path) -> io::Error {
    let message = format!("`{}` names nothing below the folder", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

pub(crate) fn mode_of(permissions: &Permissions) -> Mode {
    Mode::from_raw_mode(permissions.mode() & 0o7777)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
