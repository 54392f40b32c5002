//! What every file system offers that is read here.

use std::collections::BTreeMap;
use std::io::Write;

use super::error::ReadingError;

/// An entry of a file system, as its reader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub(crate) u64);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link, with what it leads to.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// Its driver's number.
        major: u32,
        /// Its number for the driver.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver's number.
        major: u32,
        /// Its number for the driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What is known of an entry beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// The permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change in seconds since 1970.
    pub mtime: i64,
    /// The size in bytes.
    pub size: u64,
    /// How many names it has.
    pub links: u32,
    /// Extended attributes by their full names, e.g. `security.capability`, with ACLs as Linux gives them to programs.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The most links that are followed to one file, as in Linux.
const MAX_LINKS: u32 = 40;
/// The most entries and the deepest path that a walk takes.
const MAX_WALK: usize = 5_000_000;
const MAX_DEPTH: usize = 256;

/// Reads the files of a file system. Whatever it holds, reading ends, in bounds of memory.
pub trait FilesReader: Send {
    /// Returns the root folder.
    fn root(&self) -> Handle;

    /// Returns the entries of a folder by their names, without `.` and `..`, in the order in which they stand there.
    ///
    /// # Errors
    /// When it cannot be read, or is no folder.
    fn children(&mut self, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError>;

    /// Returns what is known of an entry.
    ///
    /// # Errors
    /// When it cannot be read.
    fn metadata(&mut self, entry: Handle) -> Result<Metadata, ReadingError>;

    /// Writes a file's content to `to` and returns its size.
    ///
    /// # Errors
    /// When it cannot be read or written, is no file, or has more than `most` bytes.
    fn copy_entry(&mut self, entry: Handle, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError>;

    /// Returns whether `a` and `A` are one name.
    fn ignores_case(&self) -> bool;

    /// Returns the entry at a path, whose links are followed within the file system; none where there is none.
    ///
    /// # Errors
    /// When a folder on the way cannot be read, or links lead around.
    fn find(&mut self, path: &str) -> Result<Option<Handle>, ReadingError> {
        let mut left: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut way = vec![self.root()];
        let mut links = 0;
        while let Some(name) = left.pop() {
            match &*name {
                "" | "." => continue,
                ".." => {
                    way.truncate(way.len().saturating_sub(1).max(1));
                    continue;
                }
                _ => {}
            }
            let folder = way.last().copied().unwrap_or(self.root());
            if self.metadata(folder)?.kind != FileKind::Folder {
                return Ok(None);
            }
            let ignores_case = self.ignores_case();
            let is_same = |other: &str| match ignores_case {
                true => other.to_lowercase() == name.to_lowercase(),
                false => other == name,
            };
            let found = self.children(folder)?.into_iter().find(|(other, _)| is_same(other));
            let Some((_, entry)) = found else { return Ok(None) };
            let FileKind::Symlink(target) = self.metadata(entry)?.kind else {
                way.push(entry);
                continue;
            };
            links += 1;
            if links > MAX_LINKS || left.len() > MAX_DEPTH {
                return Err(ReadingError::Damaged {
                    what: "the file system",
                    found: format!("the links at `{path}` lead around"),
                });
            }
            if target.starts_with('/') {
                way.truncate(1);
            }
            left.extend(target.rsplit('/').map(str::to_owned));
        }
        Ok(way.last().copied())
    }

    /// Returns the entry at a path, as [`find`](Self::find) does.
    ///
    /// # Errors
    /// As there, and when there is none.
    fn find_existing(&mut self, path: &str) -> Result<Handle, ReadingError> {
        self.find(path)?.ok_or_else(|| ReadingError::NotFound { path: path.to_owned() })
    }

    /// Returns the names in a folder.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be read.
    fn list(&mut self, path: &str) -> Result<Vec<String>, ReadingError> {
        let folder = self.find_existing(path)?;
        Ok(self.children(folder)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Returns a file's content.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or has more than `most` bytes.
    fn read(&mut self, path: &str, most: u64) -> Result<Vec<u8>, ReadingError> {
        let entry = self.find_existing(path)?;
        let mut content = Vec::new();
        self.copy_entry(entry, &mut content, most)?;
        Ok(content)
    }

    /// Writes the content of the file at `path` to `to` and returns its size.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read or written, or has more than `most` bytes.
    fn copy(&mut self, path: &str, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError> {
        let entry = self.find_existing(path)?;
        self.copy_entry(entry, to, most)
    }
}

/// What is done with each entry: the reader, the path, the entry and what is known of it.
pub type Visit<'a, E> = dyn FnMut(&mut dyn FilesReader, &str, Handle, &Metadata) -> Result<(), E> + 'a;

/// Visits every entry below the root, each folder before what is in it, sorted by name. Paths begin with `/`.
///
/// # Errors
/// When something cannot be read, there are more entries than a system has, or `visit` fails.
pub fn walk<E: From<ReadingError>>(files: &mut dyn FilesReader, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let damaged = |found: String| ReadingError::Damaged { what: "the file system", found };
    let root = files.root();
    let mut open = vec![(String::new(), sorted(files, root)?)];
    let mut count = 0;
    while let Some((folder, names)) = open.last_mut() {
        let Some((name, entry)) = names.pop() else {
            open.pop();
            continue;
        };
        let path = format!("{folder}/{name}");
        count += 1;
        if count > MAX_WALK || open.len() > MAX_DEPTH {
            return Err(damaged(format!("it has more folders or files than a system, at `{path}`")).into());
        }
        let metadata = files.metadata(entry).map_err(|error| error.of_file(&path))?;
        visit(files, &path, entry, &metadata)?;
        if metadata.kind == FileKind::Folder {
            let names = sorted(files, entry).map_err(|error| error.of_file(&path))?;
            open.push((path, names));
        }
    }
    Ok(())
}

/// Returns a folder's entries, the last name first.
fn sorted(files: &mut dyn FilesReader, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError> {
    let mut names = files.children(folder)?;
    names.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    Ok(names)
}
