//! From the root file system's tar stream to a bootable image file, without root, loop device or mount.
//!
//! The stream is read once. File contents go to a spool, an unlinked file beside the image; what is kept in
//! memory is the tree: names, owners, modes, attributes. Then the tree is normalised, split over the
//! partitions, and each file system is written straight into its region of the image.
//!
//! | module | what it does |
//! |---|---|
//! | `pax` | reads tar streams with extended attributes |
//! | `tree` | the file tree in memory |
//! | `packs` | keeps tars that have most of their entries in common as packs of those, and puts them together again |
//! | `tar_records` | reads a tar as the bytes of one entry after the other |
//! | `read` | tar stream to tree and spool |
//! | `load` | reads and normalises in one step; what the writers of file systems are given |
//! | `normalise` | makes the tree the device's own: identity in, traces of the build out |
//! | `identity` | what makes an image this device's, and the identifiers that derive from it |
//! | `image` | writes the image file |
//! | `export` | writes the tree as a tar or a folder |
//! | `listing` | what it holds entry by entry, and what differs between two of them |
//! | `ext4`, `fat` | writes a tree as a file system |
//! | `ext4_tools` | the same for ext4, by programs of this machine |
//! | `squashfs`, `erofs` | makes a tree a compressed file system that is never written to |
//! | `made_filesystem` | copies such a one into the image |
//! | `swap` | writes an empty swap area |
//! | `slots` | fills the second slot of an image with what the first has |
//! | `mbr`, `gpt` | the partition tables |
//! | `reading` | opens images: partition tables, FAT, ext4, squashfs and EROFS, without mounting |
//! | `blocks`, `bmap` | which blocks of an image a card must get, and the map that says so |
//! | `compress` | compresses an image on all cores, so that a reader can begin in the middle |
//! | `device` | a card or a disk: the trait, and the real one |
//! | `flash` | writes an image to a device and reads it back |
//! | `mounts` | compares what the image's files say of its partitions with those it gets |
//!
//! Invariants: the same tree and identity give the same bytes; an earlier image is replaced only by a whole
//! one; file contents are never in memory; a device has a partition table only where it holds the whole image.

mod blocks;
mod bmap;
mod compress;
mod device;
mod erofs;
mod error;
mod export;
mod ext4;
mod ext4_tools;
mod fat;
mod flash;
mod gpt;
mod identity;
mod image;
mod listing;
mod load;
mod made_filesystem;
mod mbr;
mod mounts;
mod normalise;
mod packs;
pub mod pax;
mod read;
mod reading;
mod slots;
mod squashfs;
mod swap;
mod tar_records;
mod tree;

pub use bmap::{BlockMap, BlockMapError, Checksum, MAX_BLOCK_MAP, MappedRange};
pub use compress::compress;
pub use device::{BlockDevice, Device};
pub use error::DiskError;
pub use export::{Exported, check_file, check_folder, write_folder, write_tar};
pub use ext4_tools::version as ext4_tools_version;
pub use flash::{FlashError, FlashOptions, Flashed, ImageSource, Replacement, flash};
pub use identity::Identity;
pub use image::{ImageInfo, NewImage, PartitionInfo, write_empty, write_image};
pub use listing::{Aspect, Difference, Listing, listing};
pub use packs::{Joined, KnownRecords, OpenedPack, Packed, join, pack};
pub use read::STEP;
pub use reading::{
    DiskImage, FileKind, FilesReader, FoundFilesystem, FoundPartition, Handle, Metadata, PlacedFile,
    ReadingError, TableKind, Visit, walk,
};
