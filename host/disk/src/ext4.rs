//! Writes a tree as an ext4 file system, by mkext4.

pub(crate) mod acl;
pub(crate) mod allocated;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, RegionSink, SpecialKind};
use pib_plan::layout::{Filesystem, PartitionSpec, Region};

use crate::error::DiskError;
use crate::identity::{Identity, uuid_text};
use crate::load::WriteRequest;
use crate::tree::{Content, Kind, Node, Tree};

/// The size of a block, and of an inode, in bytes.
pub(crate) const BLOCK: u64 = 4096;
pub(crate) const INODE: u64 = 256;
pub(crate) const NAME: &str = "ext4";
/// The share of the blocks that only root may use where nothing else is asked for, in percent.
pub(crate) const RESERVED: u8 = 1;
/// The least that a file system has: its journal is at most a quarter of it.
const LEAST: u64 = Filesystem::LEAST_EXT4;
/// The room in a file system whose size follows its content: an eighth of it, and at least this.
const LEAST_FREE: u64 = 64 << 20;

/// Returns how many bytes a file system for the tree needs, with `free` bytes of room.
///
/// An estimate from above: every entry counts as if it needed a block of its own for its attributes.
pub(crate) fn needed(tree: &Tree, free: Option<u64>) -> u64 {
    let mut blocks = 0;
    for node in tree.unique() {
        let data = match &node.kind {
            Kind::File(content) => content.size().div_ceil(BLOCK),
            Kind::Symlink(target) => u64::from(target.len() >= 60),
            _ => 0,
        };
        // An extent tree needs a block for each 340 extents of at most 128 MiB.
        blocks += data + data / (340 * 32768) + u64::from(!node.xattrs.is_empty());
    }
    blocks += folder_blocks(tree);
    let content = blocks * BLOCK + u64::from(inodes(tree)) * INODE;
    let free = free.unwrap_or_else(|| (content / 8).max(LEAST_FREE));
    let used = content + free;
    // Journal, bitmaps, descriptors and their copies.
    let overhead = journal(used) + used / 256 + (4 << 20);
    (used + overhead).next_multiple_of(BLOCK).max(LEAST)
}

/// Returns the bytes of the journal that a file system of this size gets (mke2fs's table).
pub(crate) fn journal(size: u64) -> u64 {
    let blocks = match size / BLOCK {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        524_288..4_194_304 => 16_384,
        4_194_304..8_388_608 => 32_768,
        8_388_608..16_777_216 => 65_536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    };
    blocks * BLOCK
}

/// Returns the blocks of all folders, each name with its record of at most 12 bytes more, half of it filled.
fn folder_blocks(tree: &Tree) -> u64 {
    let mut bytes: HashMap<&str, u64> = HashMap::new();
    for (path, _, node) in tree.entries() {
        if node.kind == Kind::Folder {
            bytes.entry(path).or_default();
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        *bytes.entry(parent).or_default() += name.len() as u64 + 12;
    }
    bytes.values().map(|bytes| if *bytes < BLOCK / 2 { 1 } else { bytes.div_ceil(BLOCK) * 2 + 2 }).sum()
}

/// Returns how many inodes to make: a quarter more than are used, and some.
fn inodes(tree: &Tree) -> u32 {
    let used = u32::try_from(tree.len()).unwrap_or(u32::MAX / 4);
    used + used / 4 + 4096
}

/// Returns how many inodes a file system of this size gets: a large fixed size has mke2fs's usual ratio, so that it can be filled
/// with small files.
pub(crate) fn inode_count(tree: &Tree, size: u64) -> u32 {
    inodes(tree).max(u32::try_from(size / 65_536).unwrap_or(u32::MAX))
}

/// Returns the second for which a file system says that it was made.
pub(crate) fn made(identity: &Identity) -> u32 {
    u32::try_from(identity.epoch).unwrap_or(u32::MAX)
}

fn identifier(identity: &Identity, spec: &PartitionSpec) -> [u8; 16] {
    identity.derive("pib ext4", &spec.label)
}

/// Returns the file system's UUID, in the form in which systems name it.
pub(crate) fn uuid(identity: &Identity, spec: &PartitionSpec) -> String {
    uuid_text(identifier(identity, spec))
}

/// Writes the tree into its region of the image.
pub(crate) fn write(
    request: &WriteRequest<'_>,
    spec: &PartitionSpec,
    tree: &Tree,
    region: Region,
) -> Result<(), DiskError> {
    let failed = |error: mkext4::Error| match error {
        mkext4::Error::Io(source) => DiskError::image(source),
        other => DiskError::Writer { label: spec.label.clone(), filesystem: NAME, reason: other.to_string() },
    };
    let made = made(request.identity).into();
    let mut options = Options::new(region.size, identifier(request.identity, spec), made);
    options.label = Some(spec.label.clone());
    options.inodes = InodeCount::Exact(inode_count(tree, region.size));
    options.reserved_percent = spec.reserved.unwrap_or(RESERVED);
    let mut builder = FsBuilder::new(options).map_err(failed)?;
    let files = declare(&mut builder, tree).map_err(|(path, error)| DiskError::Misplaced {
        path,
        label: spec.label.clone(),
        filesystem: NAME,
        reason: error.to_string(),
    })?;
    let layout = builder.seal().map_err(failed)?;
    let sink = ImageRegion { request, region };
    let mut writer = layout.writer(sink).map_err(failed)?;
    for (handle, content) in files {
        match content {
            Content::Bytes(bytes) => writer.fill(handle, &mut bytes.as_slice()),
            Content::Spool { offset, .. } => {
                writer.fill(handle, &mut SpoolReader { file: request.spool, at: *offset })
            }
        }
        .map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    let add = |offset, length| request.used.add(region.offset + offset, length);
    allocated::each_run(request.image, region, add).map_err(DiskError::image)
}

type Files<'a> = Vec<(InodeHandle, &'a Content)>;

/// Declares every entry in the order of the paths; returns the files that have content.
fn declare<'a>(builder: &mut FsBuilder, tree: &'a Tree) -> Result<Files<'a>, (String, mkext4::Error)> {
    let mut folders: HashMap<&str, InodeHandle> = HashMap::from([("", ROOT)]);
    let mut known: HashMap<usize, InodeHandle> = HashMap::new();
    let mut files = Vec::new();
    for (path, identity, node) in tree.entries() {
        let place = |error| (path.to_owned(), error);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = folders.get(parent).copied().unwrap_or(ROOT);
        if let Some(handle) = known.get(&identity) {
            builder.hardlink(parent, name, *handle).map_err(place)?;
            continue;
        }
        let meta = meta(node);
        let handle = if path.is_empty() {
            builder.set_meta(ROOT, meta).map_err(place)?;
            ROOT
        } else {
            create(builder, parent, name, node, meta).map_err(place)?
        };
        for (name, value) in &node.xattrs {
            match acl::on_disk(name, value) {
                None => builder.set_xattr(handle, name, value),
                Some(Ok(value)) => builder.set_xattr(handle, name, &value),
                Some(Err(reason)) => Err(mkext4::Error::Invalid(reason)),
            }
            .map_err(place)?;
        }
        match &node.kind {
            Kind::Folder => drop(folders.insert(path, handle)),
            Kind::File(content) => {
                known.insert(identity, handle);
                if content.size() > 0 {
                    files.push((handle, content));
                }
            }
            _ => drop(known.insert(identity, handle)),
        }
    }
    Ok(files)
}

fn create(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    name: &str,
    node: &Node,
    meta: Meta,
) -> mkext4::Result<InodeHandle> {
    match &node.kind {
        Kind::Folder => builder.mkdir(parent, name, meta),
        Kind::File(content) => builder.file(parent, name, meta, content.size()),
        Kind::Symlink(target) => builder.symlink(parent, name, target, meta),
        Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo),
        Kind::CharDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Char { major: *major, minor: *minor })
        }
        Kind::BlockDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Block { major: *major, minor: *minor })
        }
    }
}

fn meta(node: &Node) -> Meta {
    Meta::new(node.mode, node.uid, node.gid, (i64::try_from(node.mtime).unwrap_or(0), 0))
}

/// Puts what mkext4 writes into a region of the image; what is zero stays a hole.
struct ImageRegion<'a> {
    request: &'a WriteRequest<'a>,
    region: Region,
}

impl RegionSink for ImageRegion<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.region.size {
            return Err(io::Error::other("a write beyond the partition's end"));
        }
        // All of it is in the bitmaps, too, but for what is written of groups that have none.
        self.request.used.add(self.region.offset + offset, bytes.len() as u64);
        self.request.image.write_all_at(bytes, self.region.offset + offset)
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file's bytes from the spool.
struct SpoolReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
