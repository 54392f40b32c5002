//! Writes a tree as a squashfs, compressed by zstd.
//!
//! Its size is known when it is made, so it is made in a file of its own and copied into the image after that. The same
//! tree gives the same bytes, on any number of cores.
//!
//! | module | what it does |
//! |---|---|
//! | `format` | the numbers that writer and reader share |
//! | `packer` | compresses blocks on all cores, in order |
//! | `content` | writes the contents of files |
//! | `table_writer` | writes tables, whose blocks are compressed one by one |
//! | `owners` | users, groups and attributes; what the format cannot say |
//! | `inode`, `folders` | writes inodes and folders |

mod content;
mod folders;
pub(crate) mod format;
mod inode;
mod owners;
mod packer;
mod table_writer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::thread::available_parallelism;

use pib_plan::layout::PartitionSpec;

use crate::error::DiskError;
use crate::made_filesystem::MadeFilesystem;
use crate::tree::Tree;
use content::{BLOCK, PackedFiles};
use folders::Folders;
use format::{MAGIC, NOWHERE, SUPERBLOCK, ZSTD};
use owners::Owners;
use table_writer::TableWriter;

const NAME: &str = "squashfs";
/// The superblock's flag by which nothing has attributes.
const NO_ATTRIBUTES: u16 = 0x200;

/// Makes a squashfs of a tree in `file`, which is empty.
///
/// # Errors
/// When the tree has what the format cannot say, or the file cannot be written.
pub(crate) fn make(
    tree: &Tree,
    spec: &PartitionSpec,
    spool: &File,
    epoch: u64,
    file: File,
) -> Result<MadeFilesystem, DiskError> {
    owners::check(tree).map_err(|(path, reason)| DiskError::Misplaced {
        path,
        label: spec.label.clone(),
        filesystem: NAME,
        reason,
    })?;
    let threads = available_parallelism().map_or(1, usize::from);
    let size = write_file(tree, spool, epoch, &file, threads).map_err(DiskError::image)?;
    Ok(MadeFilesystem::new(file, size))
}

/// Writes a squashfs from the begin of a file; returns its size in bytes.
fn write_file(tree: &Tree, spool: &File, epoch: u64, to: &File, threads: usize) -> io::Result<u64> {
    let files = content::write(tree, spool, to, threads)?;
    let owners = Owners::of(tree);
    let Folders { inodes, entries, attributes, count, root } = folders::write(tree, &files, &owners)?;
    let PackedFiles { fragments, end, .. } = files;
    let mut out = Tables { to, at: end };
    let inodes_at = out.put(&inodes.finish()?.0)?;
    let entries_at = out.put(&entries.finish()?.0)?;
    let mut records = Vec::new();
    for (start, size) in &fragments {
        records.extend(start.to_le_bytes());
        records.extend(u64::from(*size).to_le_bytes());
    }
    let fragments_at = out.indexed(&records, &[])?;
    let records: Vec<u8> = owners.0.iter().flat_map(|id| id.to_le_bytes()).collect();
    let owners_at = out.indexed(&records, &[])?;
    let has_attributes = !attributes.sets.is_empty();
    let attributes_at = if has_attributes {
        let values_at = out.put(&attributes.table.finish()?.0)?;
        let mut records = Vec::new();
        for (place, count, size) in &attributes.sets {
            records.extend(place.to_le_bytes());
            records.extend(count.to_le_bytes());
            records.extend(size.to_le_bytes());
        }
        let header = [values_at, attributes.sets.len() as u64].map(u64::to_le_bytes).concat();
        out.indexed(&records, &header)?
    } else {
        NOWHERE
    };
    let mut superblock = MAGIC.to_vec();
    let number = |count: usize| u32::try_from(count).map_err(io::Error::other);
    let time = u32::try_from(epoch).unwrap_or(u32::MAX);
    for word in [count, time, number(BLOCK)?, number(fragments.len())?] {
        superblock.extend(word.to_le_bytes());
    }
    let flags = if has_attributes { 0 } else { NO_ATTRIBUTES };
    let log = u16::try_from(BLOCK.ilog2()).map_err(io::Error::other)?;
    let owners = u16::try_from(owners.0.len()).map_err(io::Error::other)?;
    for half in [ZSTD, log, flags, owners, 4, 0] {
        superblock.extend(half.to_le_bytes());
    }
    // Nothing is exported over NFS, which alone needs a table of inodes by their numbers.
    let places =
        [root.reference(), out.at, owners_at, attributes_at, inodes_at, entries_at, fragments_at, NOWHERE];
    superblock.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    debug_assert_eq!(superblock.len() as u64, SUPERBLOCK);
    to.write_all_at(&superblock, 0)?;
    Ok(out.at)
}

/// The part of a squashfs that comes after the contents.
struct Tables<'a> {
    to: &'a File,
    at: u64,
}

impl Tables<'_> {
    /// Writes bytes; returns where they begin.
    fn put(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.at;
        self.to.write_all_at(bytes, at)?;
        self.at += bytes.len() as u64;
        Ok(at)
    }

    /// Writes a table, then a header, then a list of where the table's blocks begin; returns where the header is.
    fn indexed(&mut self, records: &[u8], header: &[u8]) -> io::Result<u64> {
        let mut table = TableWriter::new()?;
        table.put(records)?;
        let (bytes, blocks) = table.finish()?;
        let start = self.put(&bytes)?;
        let at = self.put(header)?;
        let list: Vec<u8> = blocks.iter().flat_map(|block| (start + block).to_le_bytes()).collect();
        self.put(&list)?;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Kind, Node};

    fn bytes(tree: &Tree, threads: usize) -> Vec<u8> {
        let (spool, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let size = write_file(tree, &spool, 7, &to, threads).unwrap();
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        to.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        let mut tree = Tree::new();
        for number in 0..40_u32 {
            let content: Vec<u8> = (0..number * 20_000).map(|at| (at % (number + 3)) as u8).collect();
            tree.put(
                &format!("d{}/f{number}", number % 5),
                Node::new(Kind::File(Content::Bytes(content)), 0o644),
            );
        }
        let one = bytes(&tree, 1);
        assert_eq!(one[..4], *MAGIC);
        assert!(one == bytes(&tree, 5));
    }

    #[test]
    fn what_the_format_cannot_say_is_refused() {
        let refused = |edit: fn(&mut Node)| {
            let mut node = Node::new(Kind::Fifo, 0o600);
            edit(&mut node);
            let mut tree = Tree::new();
            tree.put("a/b", node);
            owners::check(&tree)
        };
        assert_eq!(refused(|_| {}), Ok(()));
        let outcome = refused(|node| drop(node.xattrs.insert("system.posix_acl_access".to_owned(), vec![])));
        let (path, reason) = outcome.unwrap_err();
        assert!(path == "a/b" && reason.contains("has an ACL"), "{reason}");
        assert!(refused(|node| drop(node.xattrs.insert("system.nfs4_acl".to_owned(), vec![]))).is_err());
        let outcome = refused(|node| drop(node.xattrs.insert("system.posix_acl_default".to_owned(), vec![])));
        assert_eq!(outcome, Ok(()), "of no use where no file is new");
    }
}
