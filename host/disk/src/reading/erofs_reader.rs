//! Reads EROFS; see [`on_disk`](crate::erofs::on_disk).
//!
//! What is compressed is read where LZ4 did it and its index is a full one, as pib writes it. The other ways are told.

use std::io::Write;

use super::erofs_extents::Extents;
use super::erofs_inode::{Inode, damaged};
use super::error::ReadingError;
use super::files::{FileKind, FilesReader, Handle, Metadata};
use super::section::{Section, text_of, u16_at, u32_at, u64_at};
use crate::erofs::on_disk::{
    CHUNK_BITS, CHUNKED, CHUNKS, ENTRY, HAS_CHECKSUM, INDEXED, INLINE, MAGIC, NOWHERE, PACKED_INDEX, PADDED,
    PLAIN, SETTINGS, SLOT, SUPERBLOCK, SUPERBLOCK_AT, WIDE_CHUNKS, round_up,
};
use crate::identity::uuid_text;

/// The largest folder that is read; a million files with long names have half of that.
const MAX_FOLDER: u64 = 128 << 20;
/// How much is copied in one step.
const STEP: u64 = 1 << 20;

/// An EROFS that is open for reading.
#[derive(Debug)]
pub(crate) struct ErofsReader {
    section: Section,
    block: u64,
    /// Where the metadata begins, and where attributes are that inodes share.
    metadata_at: u64,
    shared_at: u64,
    root: u64,
    /// The time of inodes that have none of their own.
    time: u64,
    size: u64,
    is_padded: bool,
    label: Option<String>,
    uuid: String,
}

pub(super) fn unsupported(feature: impl Into<String>) -> ReadingError {
    ReadingError::Unsupported { what: "the EROFS", feature: feature.into() }
}

impl ErofsReader {
    pub(crate) fn open(section: Section) -> Result<Self, ReadingError> {
        let bytes = section.bytes(SUPERBLOCK_AT, SUPERBLOCK as u64)?;
        let word = |at: usize| u64::from(u32_at(&bytes, at));
        if u32_at(&bytes, 0) != MAGIC {
            return Err(damaged("its superblock is not one of an EROFS"));
        }
        if !(9..=16).contains(&bytes[12]) || bytes[90] != 0 {
            return Err(unsupported(format!("blocks of two to the power of {} bytes", bytes[12])));
        }
        check_sum(&section, &bytes)?;
        let features = u32_at(&bytes, 80);
        if features & !(PADDED | SETTINGS | CHUNKS) != 0 {
            return Err(unsupported(format!("the features {features:#x}")));
        }
        let block = 1_u64 << bytes[12];
        let size = word(36) * block;
        if size > section.size() {
            return Err(damaged("it is larger than its partition"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[48..64]);
        let label = text_of(bytes[64..80].split(|byte| *byte == 0).next().unwrap_or_default());
        Ok(Self {
            block,
            metadata_at: word(40) * block,
            shared_at: word(44) * block,
            root: u16_at(&bytes, 14).into(),
            time: u64_at(&bytes, 24),
            size,
            is_padded: features & PADDED != 0,
            label: Some(label).filter(|label| !label.is_empty()),
            uuid: uuid_text(uuid),
            section,
        })
    }

    /// Returns its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    fn inode(&self, place: u64) -> Result<Inode, ReadingError> {
        let at = place.checked_mul(SLOT).and_then(|at| at.checked_add(self.metadata_at));
        Inode::read(&self.section, at.ok_or_else(|| damaged("an inode is beyond the end"))?)
    }

    /// Returns an inode's content, which must not be larger than `most`.
    fn bytes(&self, inode: &Inode, most: u64) -> Result<Vec<u8>, ReadingError> {
        if inode.size > most {
            return Err(ReadingError::TooLarge { size: inode.size, most });
        }
        let mut bytes = Vec::new();
        self.content(inode, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes an inode's content.
    fn content(&self, inode: &Inode, to: &mut dyn Write) -> Result<(), ReadingError> {
        let at = u64::from(inode.place) * self.block;
        match inode.layout {
            _ if inode.size == 0 => Ok(()),
            PLAIN => self.copy(at, inode.size, to),
            INLINE => {
                let whole = (inode.size - 1) / self.block * self.block;
                self.copy(at, whole, to)?;
                self.copy(inode.end, inode.size - whole, to)
            }
            CHUNKED => self.chunks(inode, to),
            INDEXED if self.is_padded => Extents::open(&self.section, self.block, inode)?.copy(to),
            INDEXED => Err(unsupported("compression of its first versions")),
            PACKED_INDEX => Err(unsupported("compression with a packed index")),
            other => Err(unsupported(format!("the layout {other}"))),
        }
    }

    /// Copies bytes.
    fn copy(&self, at: u64, size: u64, to: &mut dyn Write) -> Result<(), ReadingError> {
        let mut done = 0;
        while done < size {
            let length = (size - done).min(STEP);
            let place = at.checked_add(done).ok_or_else(|| damaged("a file is beyond the end"))?;
            to.write_all(&self.section.bytes(place, length)?).map_err(ReadingError::Write)?;
            done += length;
        }
        Ok(())
    }

    /// Copies a file in chunks, of which some are holes.
    fn chunks(&self, inode: &Inode, to: &mut dyn Write) -> Result<(), ReadingError> {
        let format = (inode.place & 0xffff) as u16;
        let bits = u32::from(format & CHUNK_BITS);
        let chunk = self.block.checked_shl(bits).filter(|chunk| *chunk > 0);
        let chunk = chunk.ok_or_else(|| damaged("a file has impossible chunks"))?;
        let wide = u64::from(format & WIDE_CHUNKS != 0);
        let entry = 4 + 4 * wide;
        let mut at = round_up(inode.end, entry);
        let mut left = inode.size;
        while left > 0 {
            let length = left.min(chunk);
            let bytes = self.section.bytes(at, entry)?;
            if wide == 1 && u16_at(&bytes, 2) != 0 {
                return Err(unsupported("files on other devices"));
            }
            match u32_at(&bytes, if wide == 1 { 4 } else { 0 }) {
                NOWHERE => zeros(length, to)?,
                block => self.copy(u64::from(block) * self.block, length, to)?,
            }
            (at, left) = (at + entry, left - length);
        }
        Ok(())
    }
}

/// Compares the checksum of the superblock's block, where there is one: of the rest of the block from the superblock on, with zeros in
/// the checksum's own place, and without the last step of a CRC-32C.
fn check_sum(section: &Section, superblock: &[u8]) -> Result<(), ReadingError> {
    if u32_at(superblock, 8) & HAS_CHECKSUM == 0 {
        return Ok(());
    }
    let block = 1_u64 << superblock[12];
    // In smaller blocks the superblock is the first of a block.
    let end = if block > SUPERBLOCK_AT { block } else { SUPERBLOCK_AT + block };
    let mut bytes = section.bytes(SUPERBLOCK_AT, end - SUPERBLOCK_AT)?;
    bytes[4..8].fill(0);
    match !crc32c::crc32c(&bytes) == u32_at(superblock, 4) {
        true => Ok(()),
        false => Err(damaged("the checksum of its superblock is another one")),
    }
}

fn zeros(size: u64, to: &mut dyn Write) -> Result<(), ReadingError> {
    let zeros = vec![0; usize::try_from(size.min(STEP)).unwrap_or(0)];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
        to.write_all(&zeros[..length]).map_err(ReadingError::Write)?;
        left -= length as u64;
    }
    Ok(())
}

/// Returns the entries of one block of a folder.
fn entries(block: &[u8]) -> Result<Vec<(String, Handle)>, ReadingError> {
    let broken = || damaged("a folder has a broken entry");
    let names_at = usize::from(u16_at(block, 8));
    if names_at == 0 || !names_at.is_multiple_of(ENTRY) || names_at > block.len() {
        return Err(broken());
    }
    let mut found = Vec::new();
    for at in (0..names_at).step_by(ENTRY) {
        let start = usize::from(u16_at(block, at + 8));
        let is_last = at + ENTRY == names_at;
        let end = if is_last { block.len() } else { usize::from(u16_at(block, at + ENTRY + 8)) };
        let name = block.get(start..end).filter(|_| start >= names_at).ok_or_else(broken)?;
        // What is behind the last name is zeros.
        let name = name.split(|byte| *byte == 0).next().filter(|_| is_last).unwrap_or(name);
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(damaged("a folder has an impossible name"));
        }
        if !matches!(name, b"." | b"..") {
            found.push((text_of(name), Handle(u64_at(block, at))));
        }
    }
    Ok(found)
}

impl FilesReader for ErofsReader {
    fn root(&self) -> Handle {
        Handle(self.root)
    }

    fn ignores_case(&self) -> bool {
        false
    }

    fn children(&mut self, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError> {
        let inode = self.inode(folder.0)?;
        if inode.mode & 0o170_000 != 0o040_000 {
            return Err(damaged("what is read as a folder is none"));
        }
        let bytes = self.bytes(&inode, MAX_FOLDER)?;
        let mut found = Vec::new();
        for block in bytes.chunks(usize::try_from(self.block).unwrap_or(usize::MAX)) {
            found.extend(entries(block)?);
        }
        Ok(found)
    }

    fn metadata(&mut self, entry: Handle) -> Result<Metadata, ReadingError> {
        let inode = self.inode(entry.0)?;
        Ok(Metadata {
            kind: inode.kind(|most| self.bytes(&inode, most))?,
            mode: inode.mode & 0o7777,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime.unwrap_or(self.time).try_into().unwrap_or(i64::MAX),
            size: inode.size,
            links: inode.links,
            xattrs: inode.attributes(&self.section, self.shared_at)?,
        })
    }

    fn copy_entry(&mut self, entry: Handle, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError> {
        let inode = self.inode(entry.0)?;
        if !matches!(inode.kind(|_| Ok(Vec::new()))?, FileKind::File) {
            return Err(damaged("what is read as a file is none"));
        }
        if inode.size > most {
            return Err(ReadingError::TooLarge { size: inode.size, most });
        }
        self.content(&inode, to)?;
        Ok(inode.size)
    }
}
