//! Numbers of squashfs 4.0 that its writer and its reader share.
//!
//! Format: Linux' Documentation/filesystems/squashfs.rst, and the structures in fs/squashfs/squashfs_fs.h. All numbers are
//! little-endian. After the superblock come the blocks of data, then tables: inodes, folders, fragments, owners, attributes.
//! A table is a run of metadata: blocks of at most 8 KiB, each compressed by itself behind two bytes with its length.

/// What a squashfs begins with.
pub(crate) const MAGIC: &[u8; 4] = b"hsqs";
/// The size of the superblock.
pub(crate) const SUPERBLOCK: u64 = 96;
/// The most that a block of metadata holds.
pub(crate) const METADATA: usize = 8192;
/// The bit of a metadata block's length by which it is not compressed.
pub(crate) const METADATA_PLAIN: u16 = 0x8000;
/// The bit of a data block's length by which it is not compressed.
pub(crate) const DATA_PLAIN: u32 = 1 << 24;
/// What stands for "none" where a number, or a place, is expected.
pub(crate) const NONE: u32 = u32::MAX;
pub(crate) const NOWHERE: u64 = u64::MAX;
/// Compressors.
pub(crate) const GZIP: u16 = 1;
pub(crate) const XZ: u16 = 4;
pub(crate) const ZSTD: u16 = 6;
/// The types of inodes. Each has an extended form, whose type is larger by seven.
pub(crate) const FOLDER: u16 = 1;
pub(crate) const FILE: u16 = 2;
pub(crate) const SYMLINK: u16 = 3;
pub(crate) const BLOCK_DEVICE: u16 = 4;
pub(crate) const CHAR_DEVICE: u16 = 5;
pub(crate) const FIFO: u16 = 6;
pub(crate) const SOCKET: u16 = 7;
pub(crate) const EXTENDED: u16 = 7;
/// A folder's size counts this many bytes more than its entries have: for `.` and `..`, which it does not hold.
pub(crate) const FOLDER_EXTRA: u32 = 3;
/// The most entries behind one header in a folder.
pub(crate) const MOST_ENTRIES: usize = 256;
/// The size of an entry in the tables of fragments and of attributes.
pub(crate) const FRAGMENT_ENTRY: u64 = 16;
pub(crate) const ATTRIBUTE_ENTRY: u64 = 16;
/// What the names' first parts are written as.
pub(crate) const PREFIXES: [(u16, &str); 3] = [(0, "user."), (1, "trusted."), (2, "security.")];
