//! Reads what EROFS has compressed: extents by their index, unpacked by LZ4.

use std::io::Write;

use lz4_flex::block::decompress_into;

use super::erofs_inode::{Inode, damaged};
use super::error::ReadingError;
use super::section::{Section, u16_at, u32_at};
use crate::erofs::on_disk::{
    BEGINS, BEGINS_PLAIN, BLOCK_COUNT, GOES_ON, INDEX_ENTRY, INDEX_HEADER, LARGE_EXTENTS, round_up,
};

/// How many entries of an index are read in one step.
const STEP: u64 = 4096;
/// The most blocks' bytes that an extent has, as in Linux, and the most that come of it.
const MAX_PACKED: u64 = 1 << 20;
const MAX_EXTENT: u64 = 64 << 20;

/// The extents of a file.
pub(super) struct Extents<'a> {
    section: &'a Section,
    block: u64,
    size: u64,
    /// Where the index's entries are.
    index_at: u64,
}

/// An extent whose end is not known yet.
struct Begun {
    /// Where in the file it begins, and in which block of it.
    start: u64,
    number: u64,
    /// Where it is.
    block: u32,
    blocks: u64,
    is_plain: bool,
}

impl<'a> Extents<'a> {
    /// Opens the index of an inode.
    pub(super) fn open(section: &'a Section, block: u64, inode: &Inode) -> Result<Self, ReadingError> {
        let at = round_up(inode.end, 8);
        let header = section.bytes(at, 8)?;
        let (advice, algorithm, bits) = (u16_at(&header, 4), header[6], header[7]);
        if advice & !LARGE_EXTENTS != 0 || algorithm & 0xf != 0 || bits != 0 {
            let feature = format!("compression {algorithm} with the advice {advice:#x} and {bits:#x}");
            return Err(ReadingError::Unsupported { what: "the EROFS", feature });
        }
        Ok(Self { section, block, size: inode.size, index_at: at + INDEX_HEADER as u64 })
    }

    /// Writes the content.
    pub(super) fn copy(&self, to: &mut dyn Write) -> Result<(), ReadingError> {
        let count = self.size.div_ceil(self.block);
        let mut begun: Option<Begun> = None;
        let mut entries = Vec::new();
        for number in 0..count {
            let place = usize::try_from(number % STEP).unwrap_or(0) * INDEX_ENTRY;
            if place == 0 {
                let length = (count - number).min(STEP) * INDEX_ENTRY as u64;
                entries = self.section.bytes(self.index_at + number * INDEX_ENTRY as u64, length)?;
            }
            let entry = &entries[place..place + INDEX_ENTRY];
            match u16_at(entry, 0) & 3 {
                kind @ (BEGINS_PLAIN | BEGINS) => {
                    let start = number * self.block + u64::from(u16_at(entry, 2));
                    let is_plain = kind == BEGINS_PLAIN;
                    let next = Begun { start, number, block: u32_at(entry, 4), blocks: 1, is_plain };
                    match begun.replace(next) {
                        Some(begun) => self.extent(&begun, start, to)?,
                        None if start == 0 => {}
                        None => return Err(damaged("a file begins in the middle")),
                    }
                }
                GOES_ON => {
                    let begun = begun.as_mut().ok_or_else(|| damaged("a file begins in the middle"))?;
                    let first = u16_at(entry, 4);
                    if number == begun.number + 1 && first & BLOCK_COUNT != 0 {
                        begun.blocks = u64::from(first & !BLOCK_COUNT);
                    }
                }
                _ => return Err(damaged("an index has an unknown entry")),
            }
        }
        begun.map_or(Ok(()), |begun| self.extent(&begun, self.size, to))
    }

    /// Writes the content of one extent, which ends where the next begins.
    fn extent(&self, extent: &Begun, end: u64, to: &mut dyn Write) -> Result<(), ReadingError> {
        let size = end.checked_sub(extent.start).filter(|size| (1..=MAX_EXTENT).contains(size));
        let size = size.ok_or_else(|| damaged("an extent has an impossible size"))?;
        let packed = extent.blocks * self.block;
        if packed == 0 || packed > MAX_PACKED || size > packed.saturating_mul(256) {
            return Err(damaged(format!("an extent of {size} bytes has {} blocks", extent.blocks)));
        }
        let bytes = self.section.bytes(u64::from(extent.block) * self.block, packed)?;
        let length = usize::try_from(size).unwrap_or(0);
        if extent.is_plain {
            let bytes = bytes.get(..length).ok_or_else(|| damaged("an extent ends early"))?;
            return to.write_all(bytes).map_err(ReadingError::Write);
        }
        let begin = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
        let mut content = vec![0; length];
        match decompress_into(&bytes[begin..], &mut content) {
            Ok(found) if found == length => to.write_all(&content).map_err(ReadingError::Write),
            Ok(found) => Err(damaged(format!("an extent of {size} bytes has {found}"))),
            Err(error) => Err(damaged(format!("an extent cannot be unpacked: {error}"))),
        }
    }
}
