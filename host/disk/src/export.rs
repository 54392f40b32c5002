//! Writes a normalised tree where it is no image: as a tar, or as a folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pib_event::{Reporter, ReporterExt as _};
use pib_file::Output;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat,
};
use serde::Serialize;
use tar::{EntryType, Header};

use crate::error::DiskError;
use crate::identity::Identity;
use crate::load::load;
use crate::pax;
use crate::read::STEP;
use crate::tree::{Content, Kind, Node, Tree};

/// The longest name that fits into a tar's header.
const HEADER_NAME: usize = 100;

/// What an export has, and what it could not keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// How many files, folders and other entries it has.
    pub entries: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// What could not be kept, a sentence each.
    pub losses: Vec<String>,
}

/// Writes the root file system as a tar: sorted, times clamped, numeric owners, with hard links and all attributes.
///
/// # Errors
/// When the stream breaks, or the file cannot be written; an earlier file is then as it was.
pub fn write_tar(
    rootfs: impl Read,
    identity: &Identity,
    out: &Output,
    reporter: &dyn Reporter,
) -> Result<Exported, DiskError> {
    let folder = out.folder();
    let (tree, spool) = load(rootfs, identity, folder, reporter)?;
    reporter.detail(STEP, "writing");
    let path = out.path();
    let fail = |error| DiskError::io("write", &path)(error);
    let mut file = out.create().map_err(DiskError::io("create a file in", folder.path()))?;
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, file.file()));
    let mut first: HashMap<usize, &str> = HashMap::new();
    for (path, identity, node) in tree.entries() {
        let earlier = first.get(&identity).copied();
        append(&mut builder, &spool, path, node, earlier).map_err(fail)?;
        first.entry(identity).or_insert(path);
    }
    builder.into_inner().and_then(|mut writer| writer.flush()).map_err(fail)?;
    file.keep(fs::Permissions::from_mode(0o644)).map_err(fail)?;
    Ok(summary(&tree))
}

fn summary(tree: &Tree) -> Exported {
    Exported { entries: tree.len() as u64, bytes: tree.bytes(), losses: Vec::new() }
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    spool: &File,
    path: &str,
    node: &Node,
    earlier: Option<&str>,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode.into());
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_mtime(node.mtime);
    header.set_size(0);
    let mut name = format!("./{path}");
    let mut target = None;
    match (&node.kind, earlier) {
        (_, Some(earlier)) => {
            header.set_entry_type(EntryType::Link);
            target = Some(format!("./{earlier}"));
        }
        (Kind::Folder, None) => {
            header.set_entry_type(EntryType::Directory);
            if !path.is_empty() {
                name.push('/');
            }
        }
        (Kind::File(content), None) => header.set_size(content.size()),
        (Kind::Symlink(to), None) => {
            header.set_entry_type(EntryType::Symlink);
            target = Some(to.clone());
        }
        (Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor }, None) => {
            let is_char = matches!(node.kind, Kind::CharDevice { .. });
            header.set_entry_type(if is_char { EntryType::Char } else { EntryType::Block });
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
        }
        (Kind::Fifo, None) => header.set_entry_type(EntryType::Fifo),
    }
    let mut records: Vec<(String, &[u8])> = Vec::new();
    if put(&mut header.as_old_mut().name, name.as_bytes()) {
        records.push(("path".to_owned(), name.as_bytes()));
    }
    if let Some(target) = &target
        && put(&mut header.as_old_mut().linkname, target.as_bytes())
    {
        records.push(("linkpath".to_owned(), target.as_bytes()));
    }
    if earlier.is_none() {
        records.extend(pax::xattr_records(&node.xattrs));
    }
    if !records.is_empty() {
        builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))?;
    }
    header.set_cksum();
    match (&node.kind, earlier) {
        (Kind::File(content), None) => builder.append(&header, reader(content, spool)),
        _ => builder.append(&header, io::empty()),
    }
}

/// Puts as much of a name into a header's field as it takes; returns whether that is not all.
fn put(field: &mut [u8; HEADER_NAME], name: &[u8]) -> bool {
    let length = name.len().min(HEADER_NAME);
    field.fill(0);
    field[..length].copy_from_slice(&name[..length]);
    name.len() > HEADER_NAME
}

/// Returns what reads a file's content.
pub(super) fn reader<'a>(content: &'a Content, spool: &'a File) -> Box<dyn Read + 'a> {
    match content {
        Content::Bytes(bytes) => Box::new(bytes.as_slice()),
        Content::Spool { offset, size } => Box::new(SpoolReader { spool, at: *offset, left: *size }),
    }
}

struct SpoolReader<'a> {
    spool: &'a File,
    at: u64,
    left: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(buffer.len()).min(buffer.len());
        let count = self.spool.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Checks that a folder can take a root file system: it is not there, or empty.
///
/// # Errors
/// When something is in it, or it is no folder.
pub fn check_folder(folder: &Output) -> Result<(), DiskError> {
    let path = folder.path();
    match folder.folder().folder(folder.name()).and_then(|folder| folder.entries()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(DiskError::NotEmpty { path }),
        Err(error) => Err(DiskError::io("export into", &path)(error)),
    }
}

/// Checks that an archive can be written to `file`, as [`write_tar`] does it.
///
/// # Errors
/// When something is there that is no regular file.
pub fn check_file(file: &Output) -> Result<(), DiskError> {
    file.check().map_err(DiskError::io("write", &file.path()))
}

/// Writes the root file system into a new or empty folder. Without root not everything can be kept; what is lost is
/// told.
///
/// # Errors
/// When the stream breaks, or the folder is not empty or cannot be written; it is then as it was.
pub fn write_folder(
    rootfs: impl Read,
    identity: &Identity,
    out: &Output,
    reporter: &dyn Reporter,
) -> Result<Exported, DiskError> {
    check_folder(out)?;
    let (parent, path) = (out.folder(), out.path());
    // The name is fixed, so that what a killed process left is removed and not added to.
    let part = format!(".{}.part", out.name().to_string_lossy());
    let (tree, spool) = load(rootfs, identity, parent, reporter)?;
    reporter.detail(STEP, "writing");
    let mut writer = Folder::create(parent, part, &spool)?;
    writer.write(&tree)?;
    match parent.remove_folder(out.name()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DiskError::io("replace", &path)(error));
        }
        _ => {}
    }
    parent.rename(&writer.name, out.name()).map_err(DiskError::io("create the folder", &path))?;
    writer.kept = true;
    let losses = writer.lost.texts();
    Ok(Exported { losses, ..summary(&tree) })
}

/// How often something could not be kept.
#[derive(Default)]
struct Lost {
    owners: usize,
    rights: usize,
    devices: usize,
    attributes: usize,
}

impl Lost {
    fn texts(&self) -> Vec<String> {
        let kinds = [
            (self.owners, "entries have another owner: only root gives files away"),
            (
                self.rights,
                "files lost their set-user-id or set-group-id bit, which would be of the wrong user",
            ),
            (self.devices, "device nodes are missing: only root makes them"),
            (
                self.attributes,
                "extended attributes (capabilities, ACLs) are missing: this user or file system may not have them",
            ),
        ];
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// A folder that is being written. Nobody else has put anything into it, so that what is in it is reached by paths.
struct Folder<'a> {
    parent: &'a pib_file::Folder,
    name: String,
    root: PathBuf,
    spool: &'a File,
    is_root: bool,
    lost: Lost,
    kept: bool,
}

impl<'a> Folder<'a> {
    /// Makes the folder, in the place of whatever has its name.
    fn create(parent: &'a pib_file::Folder, name: String, spool: &'a File) -> Result<Self, DiskError> {
        let root = parent.path().join(&name);
        match parent.remove_all(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::io("remove", &root)(error));
            }
            _ => {}
        }
        parent.make_folder(&name).map_err(DiskError::io("create the folder", &root))?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self { parent, name, root, spool, is_root, lost: Lost::default(), kept: false })
    }

    fn write(&mut self, tree: &Tree) -> Result<(), DiskError> {
        let mut first: HashMap<usize, PathBuf> = HashMap::new();
        let mut folders = Vec::new();
        for (path, identity, node) in tree.entries() {
            let to = if path.is_empty() { self.root.clone() } else { self.root.join(path) };
            let fail = |error| DiskError::io("write", &to)(error);
            if path.is_empty() {
                // It is there already.
                folders.push((to, node));
                continue;
            }
            if let Some(earlier) = first.get(&identity) {
                fs::hard_link(earlier, &to).map_err(fail)?;
                continue;
            }
            if !self.make(&to, node).map_err(fail)? {
                continue;
            }
            // A folder gets its time and rights when all is in it: both change, or forbid that.
            match node.kind {
                Kind::Folder => folders.push((to, node)),
                _ => {
                    self.finish(&to, node).map_err(fail)?;
                    first.insert(identity, to);
                }
            }
        }
        for (to, node) in folders.into_iter().rev() {
            self.finish(&to, node).map_err(DiskError::io("write", &to))?;
        }
        Ok(())
    }

    /// Makes an entry; returns whether it is there.
    fn make(&mut self, to: &Path, node: &Node) -> io::Result<bool> {
        let device = |kind, major, minor| mknodat(CWD, to, kind, Mode::from(0o600), makedev(major, minor));
        match &node.kind {
            Kind::Folder => fs::create_dir(to)?,
            Kind::File(content) => {
                let mut file = File::options().write(true).create_new(true).open(to)?;
                io::copy(&mut reader(content, self.spool), &mut file)?;
            }
            Kind::Symlink(target) => std::os::unix::fs::symlink(target, to)?,
            Kind::Fifo => mknodat(CWD, to, FileType::Fifo, Mode::from(0o600), 0)?,
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } if !self.is_root => {
                self.lost.devices += 1;
                return Ok(false);
            }
            Kind::CharDevice { major, minor } => device(FileType::CharacterDevice, *major, *minor)?,
            Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, *major, *minor)?,
        }
        Ok(true)
    }

    fn finish(&mut self, to: &Path, node: &Node) -> io::Result<()> {
        let mut mode = u32::from(node.mode);
        if self.is_root {
            std::os::unix::fs::lchown(to, Some(node.uid), Some(node.gid))?;
        } else {
            self.lost.owners += usize::from(node.uid != 0 || node.gid != 0);
            if mode & 0o6000 != 0 && !matches!(node.kind, Kind::Folder) {
                self.lost.rights += 1;
                mode &= !0o6000;
            }
        }
        for (name, value) in &node.xattrs {
            if lsetxattr(to, name.as_str(), value, XattrFlags::empty()).is_err() {
                self.lost.attributes += 1;
            }
        }
        if !matches!(node.kind, Kind::Symlink(_)) {
            fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
        }
        let time = Timespec { tv_sec: node.mtime.try_into().unwrap_or(0), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if !self.kept {
            _ = self.parent.remove_all(&self.name);
        }
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
