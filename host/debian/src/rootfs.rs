//! The first part of a bootstrap: a file tree in which the target's own dpkg can run.
//!
//! The files of the essential packages are laid over each other as one tar, with `/bin`, `/sbin` and `/lib` as
//! links into `/usr`, and the packages themselves are put beside them for the second part to install. Nothing
//! is unpacked on the host, so that owners and modes need no privileges and a hostile path can do no harm.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path};

use tar::{Builder, Entry, EntryType, Header};

use super::error::DebianError;

/// The folders at the top that are links into `usr`.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];
/// Those of them that every system has.
const ALWAYS_MERGED: [&str; 3] = ["bin", "sbin", "lib"];

/// What is at a path of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Link,
}

/// Writes one file tree as a tar.
pub(super) struct Tree<W: Write> {
    tar: Builder<W>,
    kinds: HashMap<String, Kind>,
    /// The time of everything that comes from no package.
    epoch: u64,
}

impl Tree<BufWriter<File>> {
    /// Starts the tree in the new file at `path`.
    pub(super) fn create(path: &Path, epoch: u64) -> Result<Self, DebianError> {
        let file = File::create_new(path).map_err(DebianError::io("creating", path))?;
        Ok(Self::new(BufWriter::with_capacity(1 << 20, file), epoch))
    }

    /// Starts the tree in the file at `path`, which is there and empty.
    pub(super) fn replace(path: &Path, epoch: u64) -> Result<Self, DebianError> {
        let file = File::options().write(true).truncate(true).open(path);
        let file = file.map_err(DebianError::io("opening", path))?;
        Ok(Self::new(BufWriter::with_capacity(1 << 20, file), epoch))
    }
}

impl<W: Write> Tree<W> {
    fn new(output: W, epoch: u64) -> Self {
        Self { tar: Builder::new(output), kinds: HashMap::new(), epoch }
    }

    /// Adds the links from the top into `usr`.
    pub(super) fn merge_usr(&mut self) -> io::Result<()> {
        for name in ALWAYS_MERGED {
            self.merged_link(name)?;
        }
        Ok(())
    }

    /// Adds the files of a package, which come as a tar. What an earlier package brought stays.
    pub(super) fn add_package(&mut self, files: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(files);
        for entry in archive.entries()? {
            self.add_entry(entry?)?;
        }
        Ok(())
    }

    /// Adds a file of our own, whose `size` bytes are read from `data`.
    pub(super) fn add_file(&mut self, path: &str, mode: u32, size: u64, data: impl Read) -> io::Result<()> {
        self.add_parents(path)?;
        let mut header = self.header(EntryType::Regular, mode);
        header.set_size(size);
        self.kinds.insert(path.to_owned(), Kind::File);
        self.tar.append_data(&mut header, path, data)
    }

    /// Returns whether something is at the path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.kinds.contains_key(path)
    }

    /// Adds a symbolic link of our own.
    pub(super) fn add_link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.add_parents(path)?;
        self.kinds.insert(path.to_owned(), Kind::Link);
        let mut header = self.header(EntryType::Symlink, 0o777);
        self.tar.append_link(&mut header, path, target)
    }

    /// Ends the tar.
    pub(super) fn finish(self) -> io::Result<W> {
        let mut output = self.tar.into_inner()?;
        output.flush()?;
        Ok(output)
    }

    /// Adds one entry of a package, unless an earlier package brought it.
    pub(super) fn add_entry(&mut self, entry: Entry<'_, impl Read>) -> io::Result<()> {
        let Some(path) = inside(&entry.path()?)? else { return Ok(()) };
        let kind = entry.header().entry_type();
        // Newer packages bring the links of the merged folders themselves.
        if kind == EntryType::Symlink && MERGED.contains(&path.as_str()) {
            return self.merged_link(&path);
        }
        let path = merged(&path);
        match (kind, self.kinds.get(&path)) {
            (EntryType::Directory, Some(Kind::Folder | Kind::Link)) => return Ok(()),
            (EntryType::Directory, Some(Kind::File)) => return Err(refuse(&path, "is a file and a folder")),
            (_, Some(Kind::Folder)) => return Err(refuse(&path, "is a folder and a file")),
            (_, Some(_)) => return Ok(()),
            (_, None) => {}
        }
        self.add_parents(&path)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(entry.header().mode()? & 0o7777);
        header.set_uid(entry.header().uid()?);
        header.set_gid(entry.header().gid()?);
        header.set_mtime(entry.header().mtime()?);
        header.set_size(0);
        match kind {
            EntryType::Directory => {
                self.kinds.insert(path.clone(), Kind::Folder);
                self.tar.append_data(&mut header, format!("{path}/"), io::empty())
            }
            EntryType::Regular | EntryType::Continuous => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(entry.size());
                self.kinds.insert(path.clone(), Kind::File);
                self.tar.append_data(&mut header, path, entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| refuse(&path, "is a link to nowhere"))?;
                self.kinds.insert(path.clone(), Kind::Link);
                self.tar.append_link(&mut header, &path, target)
            }
            EntryType::Link => {
                let target = entry.link_name()?.as_deref().map(inside).transpose()?.flatten();
                let target = merged(&target.ok_or_else(|| refuse(&path, "is a link to nowhere"))?);
                if self.kinds.get(&target) != Some(&Kind::File) {
                    return Err(refuse(&path, "is a hard link to a file that did not come before it"));
                }
                self.kinds.insert(path.clone(), Kind::File);
                self.tar.append_link(&mut header, &path, target)
            }
            _ => Err(refuse(&path, "is neither a file, a folder nor a link")),
        }
    }

    fn merged_link(&mut self, name: &str) -> io::Result<()> {
        if self.kinds.insert(name.to_owned(), Kind::Link).is_some() {
            return Ok(());
        }
        let target = format!("usr/{name}");
        self.add_folder(&target)?;
        let mut header = self.header(EntryType::Symlink, 0o777);
        self.tar.append_link(&mut header, name, target)
    }

    /// Adds a folder, and those above it, unless they are there.
    pub(super) fn add_folder(&mut self, path: &str) -> io::Result<()> {
        match self.kinds.get(path) {
            Some(Kind::Folder) => return Ok(()),
            Some(_) => return Err(refuse(path, "is a file or link, yet something lies below it")),
            None => {}
        }
        self.add_parents(path)?;
        self.kinds.insert(path.to_owned(), Kind::Folder);
        let mut header = self.header(EntryType::Directory, 0o755);
        self.tar.append_data(&mut header, format!("{path}/"), io::empty())
    }

    fn add_parents(&mut self, path: &str) -> io::Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.add_folder(parent))
    }

    fn header(&self, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch);
        header.set_size(0);
        header
    }
}

/// Returns the path without `./`, or nothing for the root itself; refuses one that leads out of the tree.
pub(super) fn inside(path: &Path) -> io::Result<Option<String>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| refuse(&path.to_string_lossy(), "is not UTF-8"))?);
            }
            _ => return Err(refuse(&path.to_string_lossy(), "leads out of the file tree")),
        }
    }
    Ok(Some(parts.join("/")).filter(|path| !path.is_empty()))
}

/// Returns where the path is once `/bin`, `/sbin` and `/lib*` are links into `usr`.
pub(super) fn merged(path: &str) -> String {
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) { format!("usr/{path}") } else { path.to_owned() }
}

fn refuse(path: &str, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its entry `{path}` {reason}"))
}

#[cfg(test)]
#[path = "rootfs_tests.rs"]
mod tests;
