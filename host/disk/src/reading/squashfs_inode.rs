//! An inode of squashfs; see [`format`](crate::squashfs::format).

use super::error::ReadingError;
use super::section::{u16_at, u32_at, u64_at};
use super::squashfs_blocks::{Blocks, Cursor, damaged};
use crate::squashfs::format::{
    BLOCK_DEVICE, CHAR_DEVICE, EXTENDED, FIFO, FILE, FOLDER, FOLDER_EXTRA, NONE, SOCKET, SYMLINK,
};

/// The longest target of a link.
const MAX_TARGET: u32 = 4096;

/// An inode.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    /// The owners, by their places in the table of owners.
    pub(crate) user: u16,
    pub(crate) group: u16,
    pub(crate) mtime: u32,
    pub(crate) links: u32,
    /// The number of its set of attributes; none where that is [`NONE`].
    pub(crate) attributes: u32,
    pub(crate) content: InodeContent,
}

/// What an inode is of.
#[derive(Debug, Clone)]
pub(crate) enum InodeContent {
    /// A folder, whose entries begin at the place `block` and `offset` of their table, and have `size` bytes.
    Folder { block: u32, offset: u16, size: u32 },
    /// A file; what follows the inode is the sizes of its blocks.
    File { start: u64, size: u64, fragment: u32, offset: u32, blocks: Cursor },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device, in the form of the kernel's new_encode_dev.
    CharDevice(u32),
    /// A block device.
    BlockDevice(u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Inode {
    /// Reads the inode at a place.
    pub(crate) fn read(blocks: &mut Blocks, mut cursor: Cursor) -> Result<Self, ReadingError> {
        let header = blocks.read(&mut cursor, 16)?;
        let kind = u16_at(&header, 0);
        let is_extended = kind > EXTENDED;
        let mut words = |count: usize| blocks.read(&mut cursor, 4 * count);
        let mut inode = Self {
            mode: u16_at(&header, 2) & 0o7777,
            user: u16_at(&header, 4),
            group: u16_at(&header, 6),
            mtime: u32_at(&header, 8),
            links: 1,
            attributes: NONE,
            content: InodeContent::Fifo,
        };
        inode.content = match (if is_extended { kind - EXTENDED } else { kind }, is_extended) {
            (FOLDER, false) => {
                let body = words(4)?;
                inode.links = u32_at(&body, 4);
                folder(u32_at(&body, 0), u16_at(&body, 10), u16_at(&body, 8).into())
            }
            (FOLDER, true) => {
                let body = words(6)?;
                inode.links = u32_at(&body, 0);
                inode.attributes = u32_at(&body, 20);
                folder(u32_at(&body, 8), u16_at(&body, 18), u32_at(&body, 4))
            }
            (FILE, false) => {
                let body = words(4)?;
                let (fragment, offset) = (u32_at(&body, 4), u32_at(&body, 8));
                let (start, size) = (u32_at(&body, 0).into(), u32_at(&body, 12).into());
                InodeContent::File { start, size, fragment, offset, blocks: cursor }
            }
            (FILE, true) => {
                let body = words(10)?;
                inode.links = u32_at(&body, 24);
                inode.attributes = u32_at(&body, 36);
                let (fragment, offset) = (u32_at(&body, 28), u32_at(&body, 32));
                let (start, size) = (u64_at(&body, 0), u64_at(&body, 8));
                InodeContent::File { start, size, fragment, offset, blocks: cursor }
            }
            (kind, _) => {
                let (links, content) = other(kind, blocks, &mut cursor)?;
                inode.links = links;
                if is_extended {
                    inode.attributes = u32_at(&blocks.read(&mut cursor, 4)?, 0);
                }
                content
            }
        };
        Ok(inode)
    }
}

/// Reads what comes after the header of an inode that is neither a folder nor a file: the number of its names, and what it is.
fn other(kind: u16, blocks: &mut Blocks, cursor: &mut Cursor) -> Result<(u32, InodeContent), ReadingError> {
    let mut word = || Ok::<_, ReadingError>(u32_at(&blocks.read(cursor, 4)?, 0));
    let links = word()?;
    let content = match kind {
        SYMLINK => {
            let length = word()?;
            if length > MAX_TARGET {
                return Err(damaged(format!("a link's target has {length} bytes")));
            }
            InodeContent::Symlink(blocks.read(cursor, length as usize)?)
        }
        BLOCK_DEVICE => InodeContent::BlockDevice(word()?),
        CHAR_DEVICE => InodeContent::CharDevice(word()?),
        FIFO => InodeContent::Fifo,
        SOCKET => InodeContent::Socket,
        other => return Err(damaged(format!("an inode has the type {other}"))),
    };
    Ok((links, content))
}

fn folder(block: u32, offset: u16, size: u32) -> InodeContent {
    InodeContent::Folder { block, offset, size: size.saturating_sub(FOLDER_EXTRA) }
}

/// Returns the numbers of a device.
pub(crate) fn device(number: u32) -> (u32, u32) {
    ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00))
}
