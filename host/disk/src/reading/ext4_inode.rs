//! An inode of ext4 (Linux' Documentation/filesystems/ext4/inodes.rst).

use super::error::ReadingError;
use super::section::{u16_at, u32_at};

/// What an inode is, by the high bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InodeKind {
    Folder,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// An inode's flags that matter to a reader.
const HAS_EXTENTS: u32 = 0x8_0000;
const HAS_VALUE_INODE: u32 = 0x20_0000;
const HAS_INLINE_DATA: u32 = 0x1000_0000;
const IS_ENCRYPTED: u32 = 0x800;

/// An inode.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) number: u64,
    pub(crate) kind: InodeKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) links: u32,
    /// The block that holds attributes; 0 for none.
    pub(crate) attribute_block: u64,
    pub(crate) has_extents: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Returns the error of a file system that contradicts itself.
pub(crate) fn damaged(found: impl Into<String>) -> ReadingError {
    ReadingError::Damaged { what: "the ext4 file system", found: found.into() }
}

impl Inode {
    pub(crate) fn parse(number: u64, bytes: Vec<u8>) -> Result<Self, ReadingError> {
        let mode = u16_at(&bytes, 0);
        let kind = match mode >> 12 {
            0o01 => InodeKind::Fifo,
            0o02 => InodeKind::CharDevice,
            0o04 => InodeKind::Folder,
            0o06 => InodeKind::BlockDevice,
            0o10 => InodeKind::File,
            0o12 => InodeKind::Symlink,
            0o14 => InodeKind::Socket,
            _ => return Err(damaged(format!("inode {number} has the mode {mode:o}"))),
        };
        let flags = u32_at(&bytes, 32);
        for (flag, feature) in [
            (HAS_INLINE_DATA, "data in inodes"),
            (IS_ENCRYPTED, "encryption"),
            (HAS_VALUE_INODE, "attributes in inodes of their own"),
        ] {
            if flags & flag != 0 {
                let feature = format!("{feature} (inode {number})");
                return Err(ReadingError::Unsupported { what: "the ext4 file system", feature });
            }
        }
        let wide =
            |low: usize, high: usize| u32::from(u16_at(&bytes, low)) | u32::from(u16_at(&bytes, high)) << 16;
        let has_size_high = matches!(kind, InodeKind::File | InodeKind::Folder);
        let size_high = if has_size_high { u64::from(u32_at(&bytes, 108)) << 32 } else { 0 };
        let attributes_high = u64::from(u16_at(&bytes, 118)) << 32;
        Ok(Self {
            number,
            kind,
            mode: mode & 0o7777,
            uid: wide(2, 120),
            gid: wide(24, 122),
            mtime: time(&bytes, 16, 136),
            size: size_high | u64::from(u32_at(&bytes, 4)),
            links: u16_at(&bytes, 26).into(),
            attribute_block: attributes_high | u64::from(u32_at(&bytes, 104)),
            has_extents: flags & HAS_EXTENTS != 0,
            bytes,
        })
    }

    /// Returns the 60 bytes that say where the content is, or are it.
    pub(crate) fn block(&self) -> &[u8] {
        self.bytes.get(40..100).unwrap_or_default()
    }

    /// Returns the target of a link that is short enough to stand in the inode.
    pub(crate) fn short_target(&self) -> Option<&[u8]> {
        let size = usize::try_from(self.size).ok().filter(|size| *size < 60 && !self.has_extents)?;
        self.block().get(..size)
    }

    /// Returns the numbers of a device: in the old form where they fit, else in the new one (`new_decode_dev` in
    /// linux/kdev_t.h).
    pub(crate) fn device(&self) -> (u32, u32) {
        let (old, new) = (u32_at(self.block(), 0), u32_at(self.block(), 4));
        match old {
            0 => ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00)),
            old => ((old >> 8) & 0xff, old & 0xff),
        }
    }
}

/// Returns a time in seconds: the low two bits of its extra field say which 136 years it is in.
fn time(bytes: &[u8], at: usize, extra_at: usize) -> i64 {
    let seconds = i64::from(u32_at(bytes, at).cast_signed());
    let extra_end = 128 + usize::from(u16_at(bytes, 128));
    let extra = if bytes.len() > 128 && extra_at + 4 <= extra_end { u32_at(bytes, extra_at) & 3 } else { 0 };
    seconds + (i64::from(extra) << 32)
}
