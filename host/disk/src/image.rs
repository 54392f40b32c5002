//! Writes the image file: the tree normalised, split over the partitions, each file system into its region.

use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use pib_event::{Reporter, ReporterExt as _};
use pib_file::{NewFile, Output};
use pib_plan::id::Digest;
use pib_plan::layout::{
    Ext4Writer, Filesystem, Layout, PartitionSize, PartitionSpec, PartitionTable, Placement, Region, Slot,
};
use pib_plan::size::ByteSize;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::blocks::UsedBlocks;
use crate::bmap::BlockMap;
use crate::error::DiskError;
use crate::identity::Identity;
use crate::load::{WriteRequest, load};
use crate::made_filesystem::MadeFilesystem;
use crate::read::STEP;
use crate::tree::{Kind, Node, Tree};
use crate::{erofs, ext4, ext4_tools, fat, gpt, mbr, mounts, slots, squashfs, swap};

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its partitions, in the order of the table.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// Its label.
    pub label: String,
    /// Its file system.
    pub filesystem: Filesystem,
    /// Where it is mounted.
    pub mount: String,
    /// Its place.
    pub region: Region,
    /// How many bytes its files have.
    pub used: u64,
    /// How many files, folders and other entries it has.
    pub entries: u64,
}

/// An image that is written and safe on the disk, but has not taken its place: it vanishes unless it is kept.
#[derive(Debug)]
pub struct NewImage {
    /// What it consists of.
    pub info: ImageInfo,
    /// Which of its blocks have to be written to a card.
    pub map: BlockMap,
    /// The file.
    pub file: NewFile,
}

impl NewImage {
    /// Gives the image its place.
    ///
    /// # Errors
    /// When that is not possible; an earlier image is then as it was.
    pub fn keep(self) -> Result<ImageInfo, DiskError> {
        let out = self.file.path();
        self.file.keep(Permissions::from_mode(MODE)).map_err(DiskError::io("replace", &out))?;
        Ok(self.info)
    }
}

/// How many bytes are zeros at the begin of a partition without a file system, on every card.
const ERASED: u64 = 1 << 20;
/// The mode of an image, as of other files that are made.
const MODE: u32 = 0o644;

/// Writes an image that is to be at `out` from a root file system's tar stream.
///
/// # Errors
/// When the stream breaks or is no tar, something in it has no place in its file system, it does not fit, or
/// the disk is full.
pub fn write_image(
    rootfs: impl Read,
    layout: &Layout,
    identity: &Identity,
    out: &Output,
    reporter: &dyn Reporter,
) -> Result<NewImage, DiskError> {
    layout.check()?;
    let (tree, spool) = load(rootfs, identity, out.folder(), reporter)?;
    let mut trees = split(tree, layout, identity.epoch)?;
    slots::fill(&mut trees, layout, &spool, identity.epoch)?;
    mounts::check(layout, &trees, identity, &spool, reporter)?;
    let path = out.path();
    let unnamed = || out.folder().unnamed().map_err(DiskError::io("create a file in", out.folder().path()));
    let contents =
        pack(layout, trees, identity, &spool, &unnamed, reporter).map_err(|error| error.on_image(&path))?;
    let placement = place(layout, &contents)?;
    let file = out.create().map_err(DiskError::io("create", &path))?;
    let used = UsedBlocks::default();
    let writer = layout.writer;
    let request = WriteRequest { image: file.as_file(), spool: &spool, writer, identity, used: &used };
    let partitions =
        fill(&request, layout, &placement, &contents, reporter).map_err(|error| error.on_image(&path))?;
    reporter.detail(STEP, "checking and keeping the image");
    let fail = |error| DiskError::io("write", &path)(error);
    let (digest, map) = sums(file.as_file(), placement.size, &used.into_ranges()).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    Ok(NewImage { info: ImageInfo { size: placement.size, digest, partitions }, map, file })
}

/// Writes an image of empty file systems: what an empty card is laid out by. The file is filled from its begin; returns
/// which of its blocks have to be written.
///
/// # Errors
/// When the partitions do not fit into the layout's size, or the file cannot be written.
pub fn write_empty(
    layout: &Layout,
    identity: &Identity,
    file: &File,
    reporter: &dyn Reporter,
) -> Result<(BlockMap, Vec<PartitionInfo>), DiskError> {
    layout.check()?;
    let root = Node { mtime: identity.epoch, ..Node::new(Kind::Folder, 0o755) };
    let mut tree = Tree::new();
    tree.put("", root);
    let trees: Vec<Tree> = layout.partitions.iter().map(|_| tree.clone()).collect();
    // Nothing has content, and so nothing is read from the spool.
    let unnamed = || tempfile::tempfile().map_err(DiskError::image);
    let contents = pack(layout, trees, identity, file, &unnamed, reporter)?;
    let placement = place(layout, &contents)?;
    let used = UsedBlocks::default();
    let request = WriteRequest { image: file, spool: file, writer: layout.writer, identity, used: &used };
    let partitions = fill(&request, layout, &placement, &contents, reporter)?;
    let read = |buffer: &mut [u8], at: u64| file.read_exact_at(buffer, at);
    let map = BlockMap::of(placement.size, &used.into_ranges(), read).map_err(DiskError::image)?;
    Ok((map, partitions))
}

/// What goes into a partition.
struct Content {
    tree: Tree,
    /// The file system, where only making it tells its size.
    made: Option<MadeFilesystem>,
}

/// Makes the file systems whose size is not known before, each in a file of its own that `unnamed` makes.
fn pack(
    layout: &Layout,
    trees: Vec<Tree>,
    identity: &Identity,
    spool: &File,
    unnamed: &dyn Fn() -> Result<File, DiskError>,
    reporter: &dyn Reporter,
) -> Result<Vec<Content>, DiskError> {
    let content = |(spec, tree): (&PartitionSpec, Tree)| -> Result<Content, DiskError> {
        if !spec.filesystem.is_read_only() {
            return Ok(Content { tree, made: None });
        }
        reporter.detail(STEP, format!("compressing {}", spec.label));
        let made = match spec.filesystem {
            Filesystem::Erofs => erofs::make(&tree, spec, spool, identity, unnamed()?)?,
            _ => squashfs::make(&tree, spec, spool, identity.epoch, unnamed()?)?,
        };
        Ok(Content { tree, made: Some(made) })
    };
    layout.partitions.iter().zip(trees).map(content).collect()
}

/// Returns where the partitions are that hold these contents.
fn place(layout: &Layout, contents: &[Content]) -> Result<Placement, DiskError> {
    let sizes: Vec<u64> = layout
        .partitions
        .iter()
        .zip(contents)
        .map(|(spec, content)| needed(spec, content, spec.free))
        .collect();
    let placement = layout.place(&sizes)?;
    for ((spec, content), region) in layout.partitions.iter().zip(contents).zip(&placement.regions) {
        let least = needed(spec, content, Some(ByteSize(0)));
        if spec.size != PartitionSize::Auto && region.size < least {
            let label = spec.label.clone();
            return Err(DiskError::TooSmall { label, size: region.size, needed: least });
        }
    }
    Ok(placement)
}

/// Writes the table and all partitions.
fn fill(
    request: &WriteRequest<'_>,
    layout: &Layout,
    placement: &Placement,
    contents: &[Content],
    reporter: &dyn Reporter,
) -> Result<Vec<PartitionInfo>, DiskError> {
    request.image.set_len(placement.size).map_err(DiskError::image)?;
    let tables = match layout.table {
        PartitionTable::Mbr => mbr::tables(layout, placement, request.identity),
        PartitionTable::Gpt => gpt::tables(layout, placement, request.identity),
    };
    for (offset, table) in tables {
        request.image.write_all_at(&table, offset).map_err(DiskError::image)?;
        request.used.add(offset, table.len() as u64);
    }
    let mut partitions = Vec::with_capacity(contents.len());
    for ((spec, content), region) in layout.partitions.iter().zip(contents).zip(&placement.regions) {
        reporter.detail(STEP, format!("writing {}", spec.label));
        write_partition(request, spec, content, *region)?;
        let tree = &content.tree;
        partitions.push(PartitionInfo {
            label: spec.label.clone(),
            filesystem: spec.filesystem,
            mount: spec.mount.clone(),
            region: *region,
            used: tree.bytes(),
            entries: tree.len() as u64,
        });
    }
    Ok(partitions)
}

fn write_partition(
    request: &WriteRequest<'_>,
    spec: &PartitionSpec,
    content: &Content,
    region: Region,
) -> Result<(), DiskError> {
    match spec.filesystem {
        Filesystem::Ext4 => match request.writer {
            Ext4Writer::Mkext4 => ext4::write(request, spec, &content.tree, region),
            Ext4Writer::Mke2fs => ext4_tools::write(request, spec, &content.tree, region),
        },
        Filesystem::Vfat => fat::write(request, spec, &content.tree, region),
        Filesystem::Squashfs | Filesystem::Erofs => {
            content.made.iter().try_for_each(|made| made.write(request, region))
        }
        Filesystem::Swap => swap::write(request, spec, region),
        Filesystem::None => {
            // So that nothing is found there that an earlier use of the card has left.
            request.used.add(region.offset, region.size.min(ERASED));
            Ok(())
        }
    }
}

/// Gives each partition the part of the tree that is mounted from it; deeper mounts take theirs first. Where the tree
/// has no folder to mount a partition on, one is made.
pub(crate) fn split(mut tree: Tree, layout: &Layout, epoch: u64) -> Result<Vec<Tree>, DiskError> {
    for spec in layout.partitions.iter().filter(|spec| !spec.mount.is_empty()) {
        make_mount_point(&mut tree, spec, epoch)?;
    }
    let mut order: Vec<usize> = (0..layout.partitions.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(layout.partitions[*index].mount.len()));
    let mut trees: Vec<Tree> = layout.partitions.iter().map(|_| Tree::new()).collect();
    for index in order {
        let spec = &layout.partitions[index];
        trees[index] = match spec.mount.trim_start_matches('/') {
            _ if spec.mount.is_empty() || matches!(spec.slot, Some(Slot::Start | Slot::B)) => {
                let mut empty = Tree::new();
                empty.put("", Node { mtime: epoch, ..Node::new(Kind::Folder, 0o755) });
                empty
            }
            "" => std::mem::take(&mut tree),
            mount => tree.cut(mount),
        };
        // Every ext4 has one of its own; what a base brought along was another file system's.
        trees[index].remove("lost+found");
    }
    Ok(trees)
}

/// Makes the folder that a partition is mounted on, with those that lead to it.
///
/// # Errors
/// When something that is no folder is in the way: a link would have the partition mounted at another place than the
/// one whose content it got.
fn make_mount_point(tree: &mut Tree, spec: &PartitionSpec, epoch: u64) -> Result<(), DiskError> {
    let mount = spec.mount.trim_matches('/');
    let ends = mount.match_indices('/').map(|(at, _)| at).chain([mount.len()]);
    for path in ends.map(|end| &mount[..end]) {
        match tree.get(path).map(|node| &node.kind) {
            Some(Kind::Folder) => {}
            Some(kind) => {
                let is = if matches!(kind, Kind::Symlink(_)) { "a symbolic link" } else { "not a folder" };
                let (label, path) = (spec.label.clone(), format!("/{path}"));
                return Err(DiskError::MountPoint { label, mount: spec.mount.clone(), path, is });
            }
            None => tree.put(path, Node { mtime: epoch, ..Node::new(Kind::Folder, 0o755) }),
        }
    }
    Ok(())
}

/// Returns what a partition with this content needs, with `free` bytes of room or as much as is usual.
fn needed(spec: &PartitionSpec, content: &Content, free: Option<ByteSize>) -> u64 {
    let free = free.map(|free| free.0);
    match spec.filesystem {
        Filesystem::Ext4 => ext4::needed(&content.tree, free),
        Filesystem::Vfat => fat::needed(&content.tree, free),
        Filesystem::Squashfs | Filesystem::Erofs => content.made.as_ref().map_or(0, MadeFilesystem::size),
        Filesystem::Swap => swap::LEAST,
        Filesystem::None => 0,
    }
}

/// Returns the digest of the whole image and its map, whose checksums another thread takes meanwhile.
fn sums(file: &File, size: u64, used: &[(u64, u64)]) -> std::io::Result<(Digest, BlockMap)> {
    std::thread::scope(|scope| {
        let mapping = scope
            .spawn(|| BlockMap::of(size, used, |buffer: &mut [u8], at: u64| file.read_exact_at(buffer, at)));
        let digest = digest(file, size)?;
        let map = mapping.join().map_err(|_| std::io::Error::other("the thread of the checksums died"))??;
        Ok((digest, map))
    })
}

fn digest(file: &File, size: u64) -> std::io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(buffer.len()).min(buffer.len());
        file.read_exact_at(&mut buffer[..want], at)?;
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}
