//! Writes a tree as an EROFS, compressed by LZ4.
//!
//! It keeps ACLs, which a squashfs cannot, and is read with less work; it is larger. Its size is known when it is made, so it
//! is made in a file of its own and copied into the image after that. The same tree gives the same bytes.
//!
//! | module | what it does |
//! |---|---|
//! | `on_disk` | the numbers that writer and reader share |
//! | `file_data` | writes the contents of files |
//! | `attributes` | writes attributes; what the format cannot say |
//! | `folder`, `inode_record` | a folder's entries, and an inode, as bytes |
//! | `metadata` | places and writes inodes |

mod attributes;
mod file_data;
mod folder;
mod inode_record;
mod metadata;
pub(crate) mod on_disk;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use pib_plan::layout::PartitionSpec;

use crate::error::DiskError;
use crate::identity::Identity;
use crate::made_filesystem::MadeFilesystem;
use crate::tree::Tree;
use file_data::EXTENT_BLOCKS;
use metadata::WrittenMetadata;
use on_disk::{
    BLOCK, BLOCK_BITS, CHUNKS, HAS_CHECKSUM, HAS_TIMES, MAGIC, PADDED, SETTINGS, SUPERBLOCK, SUPERBLOCK_AT,
};

const NAME: &str = "erofs";
/// The farthest that LZ4 refers back.
const FARTHEST: u16 = u16::MAX;
/// The sizes of LZ4's settings and of a label.
const LZ4_SETTINGS: u16 = 14;
const LABEL: usize = 16;

/// Makes an EROFS of a tree in `file`, which is empty.
///
/// # Errors
/// When the tree has what the format cannot say, or the file cannot be written.
pub(crate) fn make(
    tree: &Tree,
    spec: &PartitionSpec,
    spool: &File,
    identity: &Identity,
    file: File,
) -> Result<MadeFilesystem, DiskError> {
    attributes::check(tree).map_err(|(path, reason)| DiskError::Misplaced {
        path,
        label: spec.label.clone(),
        filesystem: NAME,
        reason,
    })?;
    let size = write_file(tree, spec, spool, identity, &file).map_err(DiskError::image)?;
    Ok(MadeFilesystem::new(file, size))
}

/// Returns the file system's UUID.
pub(crate) fn identifier(identity: &Identity, spec: &PartitionSpec) -> [u8; 16] {
    identity.derive("erofs uuid", &spec.label)
}

/// Writes an EROFS from the begin of a file; returns its size in bytes.
fn write_file(
    tree: &Tree,
    spec: &PartitionSpec,
    spool: &File,
    identity: &Identity,
    to: &File,
) -> io::Result<u64> {
    let contents = file_data::write(tree, spool, to)?;
    let metadata = metadata::write(tree, spool, &contents, to)?;
    let mut first = vec![0; BLOCK];
    let start = SUPERBLOCK_AT as usize;
    let superblock = superblock(spec, identity, &metadata);
    first[start..start + superblock.len()].copy_from_slice(&superblock);
    // Of the rest of the block, with the checksum's own place as zeros; the kernel leaves out the last step of a CRC-32C.
    let checksum = !crc32c::crc32c(&first[start..]);
    first[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    to.write_all_at(&first, 0)?;
    let size = u64::from(metadata.end) * BLOCK as u64;
    // The last block may have less content than a block.
    to.set_len(size)?;
    Ok(size)
}

fn superblock(spec: &PartitionSpec, identity: &Identity, metadata: &WrittenMetadata) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SUPERBLOCK + 16);
    let words =
        |bytes: &mut Vec<u8>, words: &[u32]| bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    words(&mut bytes, &[MAGIC, 0, HAS_CHECKSUM | HAS_TIMES]);
    bytes.extend([BLOCK_BITS, 0]);
    bytes.extend(metadata.root.to_le_bytes());
    bytes.extend(metadata.inodes.to_le_bytes());
    bytes.extend(identity.epoch.to_le_bytes());
    words(&mut bytes, &[0, metadata.end, metadata.start, 0]);
    bytes.extend(identifier(identity, spec));
    let mut label = [0; LABEL];
    let length = spec.label.len().min(LABEL);
    label[..length].copy_from_slice(&spec.label.as_bytes()[..length]);
    bytes.extend(label);
    words(&mut bytes, &[PADDED | SETTINGS | CHUNKS]);
    // The algorithms that there are, a bit each: LZ4 is the first.
    bytes.extend(1_u16.to_le_bytes());
    bytes.resize(SUPERBLOCK, 0);
    for half in [LZ4_SETTINGS, FARTHEST, EXTENT_BLOCKS] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.resize(SUPERBLOCK + 2 + usize::from(LZ4_SETTINGS), 0);
    bytes
}
