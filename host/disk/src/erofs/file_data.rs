//! Writes the contents of files, and says where they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use lz4_flex::block::{compress_into, get_maximum_output_size};

use super::on_disk::BLOCK;
use crate::export::reader;
use crate::tree::{Content, Kind, Tree};

/// How much is compressed by itself: what a reader unpacks to get at one byte of it.
pub(super) const EXTENT: usize = 64 << 10;
/// The most blocks that an extent has.
pub(super) const EXTENT_BLOCKS: u16 = (EXTENT / BLOCK) as u16;
/// Smaller files, and ends of folders, stand behind their inodes.
pub(super) const MOST_INLINE: usize = 2048;
/// From this size on it is worth it to look for holes before anything is written.
const LARGE: u64 = 16 << 20;
/// The most chunks that a file with holes has; the larger it is, the larger they are.
const MOST_CHUNKS: u64 = 1 << 20;

/// Where a file's content is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packed {
    /// Behind its inode.
    Inline,
    /// In whole blocks from this one on.
    Plain(u32),
    /// In extents.
    Extents(Vec<Extent>),
    /// In chunks of two to this power of blocks, each from its block on. A hole is nowhere.
    Chunks(u8, Vec<u32>),
}

/// A part of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its first block.
    pub(super) block: u32,
    /// How many blocks it has.
    pub(super) blocks: u16,
    /// Whether it stands there as it is.
    pub(super) is_plain: bool,
}

/// The contents of all files.
pub(super) struct Contents {
    /// The files by the identity of their entries.
    pub(super) files: HashMap<usize, Packed>,
    /// The block behind them.
    pub(super) end: u32,
}

/// Writes the contents of a tree's files to `to`, from the second block on.
pub(super) fn write(tree: &Tree, spool: &File, to: &File) -> io::Result<Contents> {
    let contents = Contents { files: HashMap::new(), end: 1 };
    let mut writer = ContentWriter { to, contents, packed: vec![0; get_maximum_output_size(EXTENT)] };
    for (_, identity, node) in tree.entries() {
        if let Kind::File(content) = &node.kind
            && !writer.contents.files.contains_key(&identity)
        {
            let packed = writer.file(content, spool)?;
            writer.contents.files.insert(identity, packed);
        }
    }
    Ok(writer.contents)
}

struct ContentWriter<'a> {
    to: &'a File,
    contents: Contents,
    /// Room for what is compressed.
    packed: Vec<u8>,
}

impl ContentWriter<'_> {
    fn file(&mut self, content: &Content, spool: &File) -> io::Result<Packed> {
        let size = content.size();
        if size <= MOST_INLINE as u64 {
            return Ok(Packed::Inline);
        }
        let chunk = chunk_size(size);
        if size >= LARGE {
            let (zeros, all) = holes(reader(content, spool), size, chunk)?;
            if zeros * 2 > all {
                return self.chunks(reader(content, spool), size, chunk);
            }
        }
        self.extents(reader(content, spool), size)
    }

    /// Writes a file that has more holes than content, which stands there as it is.
    fn chunks(&mut self, mut from: impl Read, size: u64, chunk: usize) -> io::Result<Packed> {
        let mut places = Vec::new();
        let mut buffer = vec![0; chunk];
        for length in lengths(size, chunk) {
            from.read_exact(&mut buffer[..length])?;
            let is_hole = is_zeros(&buffer[..length]);
            places.push(if is_hole { super::on_disk::NOWHERE } else { self.put(&buffer[..length])? });
        }
        let bits = (chunk / BLOCK).trailing_zeros();
        Ok(Packed::Chunks(u8::try_from(bits).map_err(io::Error::other)?, places))
    }

    /// Writes a file in extents, each compressed where that saves a block.
    fn extents(&mut self, mut from: impl Read, size: u64) -> io::Result<Packed> {
        let (mut extents, mut buffer) = (Vec::new(), vec![0; EXTENT]);
        for length in lengths(size, EXTENT) {
            let block = &mut buffer[..length];
            from.read_exact(block)?;
            let packed = compress_into(block, &mut self.packed).map_err(io::Error::other)?;
            let (needs, saves) = (blocks(packed), blocks(packed) < blocks(length));
            let start = match saves {
                // A reader finds where compressed data begins by the zeros before it.
                true => {
                    let mut padded = vec![0; usize::from(needs) * BLOCK];
                    let at = padded.len() - packed;
                    padded[at..].copy_from_slice(&self.packed[..packed]);
                    self.put(&padded)?
                }
                false => self.put(&buffer[..length])?,
            };
            let count = if saves { needs } else { blocks(length) };
            extents.push(Extent { block: start, blocks: count, is_plain: !saves });
        }
        Ok(match extents.first() {
            // One stands behind the other.
            Some(first) if extents.iter().all(|extent| extent.is_plain) => Packed::Plain(first.block),
            _ => Packed::Extents(extents),
        })
    }

    /// Writes bytes from the next block on; returns which that is.
    fn put(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let at = self.contents.end;
        self.to.write_all_at(bytes, u64::from(at) * BLOCK as u64)?;
        let count = u32::try_from(bytes.len().div_ceil(BLOCK)).map_err(io::Error::other)?;
        let end = at.checked_add(count).filter(|end| *end < super::on_disk::NOWHERE);
        self.contents.end = end.ok_or_else(|| io::Error::other("an EROFS has at most 16 TiB"))?;
        Ok(at)
    }
}

/// Returns how many blocks so many bytes take, of an extent at most.
fn blocks(bytes: usize) -> u16 {
    u16::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u16::MAX)
}

/// Returns the sizes of the parts of a file, all of the same but the last.
fn lengths(size: u64, part: usize) -> impl Iterator<Item = usize> {
    let count = size.div_ceil(part as u64);
    (0..count).map(move |number| usize::try_from(size - number * part as u64).unwrap_or(part).min(part))
}

/// Returns the size of the chunks that a file of this size has.
fn chunk_size(size: u64) -> usize {
    let least = size.div_ceil(MOST_CHUNKS).max(EXTENT as u64);
    usize::try_from(least.next_power_of_two()).unwrap_or(EXTENT)
}

/// Returns how many chunks of a file are zeros, and how many there are.
fn holes(mut from: impl Read, size: u64, chunk: usize) -> io::Result<(u64, u64)> {
    let (mut zeros, mut all) = (0, 0);
    let mut buffer = vec![0; chunk];
    for length in lengths(size, chunk) {
        from.read_exact(&mut buffer[..length])?;
        all += 1;
        zeros += u64::from(is_zeros(&buffer[..length]));
    }
    Ok((zeros, all))
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
