//! Numbers of EROFS that its writer and its reader share.
//!
//! Format: Linux' Documentation/filesystems/erofs.rst, and the structures in fs/erofs/erofs_fs.h. All numbers are little-endian.
//! A file system is a row of blocks. The superblock is in the first. An inode is called by its place, in steps of 32 bytes
//! from the begin of the metadata; behind it stand its attributes, and then the end of its content or where its content is.

/// The size of a block, and its logarithm.
pub(crate) const BLOCK: usize = 4096;
pub(crate) const BLOCK_BITS: u8 = 12;
/// Where the superblock is, and its size.
pub(crate) const SUPERBLOCK_AT: u64 = 1024;
pub(crate) const SUPERBLOCK: usize = 128;
pub(crate) const MAGIC: u32 = 0xe0f5_e1e2;
/// Features that a reader may leave aside: the superblock's block has a checksum, and inodes have times of their own.
pub(crate) const HAS_CHECKSUM: u32 = 1;
pub(crate) const HAS_TIMES: u32 = 2;
/// Features that a reader must know: compressed data stands at the end of its blocks; algorithms have settings behind the
/// superblock and extents have any number of blocks; files may have holes.
pub(crate) const PADDED: u32 = 1;
pub(crate) const SETTINGS: u32 = 2;
pub(crate) const CHUNKS: u32 = 4;
/// The steps in which inodes are called by their places.
pub(crate) const SLOT: u64 = 32;
/// The sizes of an inode's two forms. The short one has neither a time nor large numbers.
pub(crate) const SHORT_INODE: usize = 32;
pub(crate) const LONG_INODE: usize = 64;
/// How content is laid out: in whole blocks; compressed, with a full index; with its end behind the inode; compressed, with a
/// packed index; in chunks.
pub(crate) const PLAIN: u16 = 0;
pub(crate) const INDEXED: u16 = 1;
pub(crate) const INLINE: u16 = 2;
pub(crate) const PACKED_INDEX: u16 = 3;
pub(crate) const CHUNKED: u16 = 4;
/// The place of a block that there is not.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// The size of an entry in a folder, without its name.
pub(crate) const ENTRY: usize = 12;
/// The size of what stands before attributes.
pub(crate) const ATTRIBUTES_HEADER: usize = 12;
/// What the names of attributes begin with. Those of ACLs are nothing else.
pub(crate) const PREFIXES: [(u8, &str); 5] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
];
/// What an index begins with: eight bytes of facts, and as many that are of no use.
pub(crate) const INDEX_HEADER: usize = 16;
/// The size of an index's entry, which each block of content has.
pub(crate) const INDEX_ENTRY: usize = 8;
/// The fact by which extents may have more than one block.
pub(crate) const LARGE_EXTENTS: u16 = 2;
/// The kinds of an index's entries: an extent that is not compressed begins here; one that is; it goes on.
pub(crate) const BEGINS_PLAIN: u16 = 0;
pub(crate) const BEGINS: u16 = 1;
pub(crate) const GOES_ON: u16 = 2;
/// The bit by which the first entry of an extent that goes on has the number of its blocks.
pub(crate) const BLOCK_COUNT: u16 = 1 << 11;
/// The bit of a chunk's format by which each has eight bytes instead of four, and those by which its size is known.
pub(crate) const WIDE_CHUNKS: u16 = 1 << 5;
pub(crate) const CHUNK_BITS: u16 = 0x1f;

/// Returns a number that is rounded up to a multiple of `step`.
pub(crate) fn round_up(number: u64, step: u64) -> u64 {
    number.div_ceil(step).saturating_mul(step)
}
