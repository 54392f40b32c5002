//! An inode, and what stands behind it.

use std::io;

use super::attributes;
use super::file_data::{EXTENT_BLOCKS, Extent, MOST_INLINE, Packed};
use super::folder::Listing;
use super::on_disk::{
    BEGINS, BEGINS_PLAIN, BLOCK, BLOCK_COUNT, CHUNKED, GOES_ON, INDEX_ENTRY, INDEX_HEADER, INDEXED, INLINE,
    LARGE_EXTENTS, LONG_INODE, NOWHERE, PLAIN, SLOT, round_up,
};
use crate::tree::{Content, Node};

/// An inode that is not written yet.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    pub(super) node: &'a Node,
    pub(super) links: u32,
    pub(super) attributes: Vec<u8>,
    pub(super) body: Body<'a>,
}

/// What an inode is of.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Folder(Listing<'a>),
    File { content: &'a Content, packed: &'a Packed },
    Symlink(&'a str),
    Device(u32),
    Fifo,
}

impl Body<'_> {
    /// Returns the size that the inode has.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Folder(listing) => listing.size() as u64,
            Self::File { content, .. } => content.size(),
            Self::Symlink(target) => target.len() as u64,
            Self::Device(_) | Self::Fifo => 0,
        }
    }

    /// Returns how many bytes of content stand behind the inode, all in one block.
    pub(super) fn tail(&self) -> usize {
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        match self {
            Self::File { packed: Packed::Inline, .. } => size,
            Self::Folder(_) | Self::Symlink(_) => {
                let last = size - (size.saturating_sub(1)) / BLOCK * BLOCK;
                if last <= MOST_INLINE { last } else { 0 }
            }
            _ => 0,
        }
    }

    /// Returns how many blocks behind the metadata its content has.
    pub(super) fn blocks(&self) -> u32 {
        match self {
            Self::Folder(_) | Self::Symlink(_) => {
                let rest = usize::try_from(self.size()).unwrap_or(usize::MAX) - self.tail();
                u32::try_from(rest.div_ceil(BLOCK)).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    fn layout(&self) -> u16 {
        match self {
            Self::File { packed: Packed::Extents(_), .. } => INDEXED,
            Self::File { packed: Packed::Chunks(..), .. } => CHUNKED,
            _ if self.tail() > 0 => INLINE,
            _ => PLAIN,
        }
    }

    /// Returns the word that says where the content is; `outside` is its first block behind the metadata.
    fn place(&self, outside: u32) -> u32 {
        match self {
            Self::File { packed, .. } => match packed {
                // An empty file is nowhere.
                Packed::Inline => NOWHERE,
                Packed::Plain(block) => *block,
                Packed::Extents(extents) => extents.iter().map(|extent| u32::from(extent.blocks)).sum(),
                Packed::Chunks(bits, _) => u32::from(*bits),
            },
            Self::Folder(_) | Self::Symlink(_) => outside,
            Self::Device(number) => *number,
            Self::Fifo => 0,
        }
    }
}

impl Inode<'_> {
    /// Returns where the inode is placed when the metadata before it ends at `at`, and where its own end.
    pub(super) fn place(&self, at: u64) -> (u64, u64) {
        let block = BLOCK as u64;
        let head = (LONG_INODE + self.attributes.len()) as u64;
        let mut at = round_up(at, SLOT);
        let tail = self.body.tail() as u64;
        if (at + head) % block + tail > block {
            // The tail must not reach into the next block, so it begins there.
            at = round_up(round_up(at + head, block) - head, SLOT);
        }
        let end = at + head;
        let end = match &self.body {
            Body::File { packed: Packed::Extents(_), .. } => {
                let entries = self.body.size().div_ceil(block);
                round_up(end, 8) + INDEX_HEADER as u64 + INDEX_ENTRY as u64 * entries
            }
            Body::File { packed: Packed::Chunks(_, places), .. } => {
                round_up(end, 4) + 4 * places.len() as u64
            }
            _ => end + tail,
        };
        (at, end)
    }

    /// Returns the inode with its attributes; `number` is its own, and `outside` its first block behind the metadata.
    pub(super) fn head(&self, number: u32, outside: u32) -> Vec<u8> {
        let node = self.node;
        let mut bytes = Vec::with_capacity(LONG_INODE + self.attributes.len());
        let kind = node.kind.mode_bits();
        // The first bit says that it is a long one.
        for half in [1 | self.body.layout() << 1, attributes::count(&self.attributes), kind | node.mode, 0] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(self.body.size().to_le_bytes());
        for word in [self.body.place(outside), number, node.uid, node.gid] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(node.mtime.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(self.links.to_le_bytes());
        bytes.resize(LONG_INODE, 0);
        bytes.extend(&self.attributes);
        bytes
    }
}

/// Returns the index of a file's extents: an entry for each block of its content.
pub(super) fn index(extents: &[Extent], size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; INDEX_HEADER];
    bytes[4..6].copy_from_slice(&LARGE_EXTENTS.to_le_bytes());
    let mut left = usize::try_from(size.div_ceil(BLOCK as u64)).map_err(io::Error::other)?;
    let mut entry = |kind: u16, offset: usize, place: [u8; 4]| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((offset as u16).to_le_bytes());
        bytes.extend(place);
    };
    for extent in extents {
        let count = left.min(usize::from(EXTENT_BLOCKS));
        left -= count;
        if extent.is_plain {
            // Each of its blocks is an extent by itself.
            (extent.block..).take(count).for_each(|block| entry(BEGINS_PLAIN, 0, block.to_le_bytes()));
            continue;
        }
        entry(BEGINS, 0, extent.block.to_le_bytes());
        for back in 1..count as u16 {
            let first = if back == 1 { extent.blocks | BLOCK_COUNT } else { back };
            let ahead = count as u16 - back;
            let [a, b] = first.to_le_bytes();
            let [c, d] = ahead.to_le_bytes();
            entry(GOES_ON, BLOCK, [a, b, c, d]);
        }
    }
    Ok(bytes)
}
