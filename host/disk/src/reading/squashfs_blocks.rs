//! Reads the compressed blocks of a squashfs: of data, and of metadata.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use liblzma::stream::Stream;

use super::error::ReadingError;
use super::section::{Section, array_at, u16_at};
use crate::squashfs::format::{DATA_PLAIN, GZIP, METADATA, METADATA_PLAIN, XZ, ZSTD};

/// The most memory that unpacking xz may take; its dictionary is no larger than a block.
const XZ_MEMORY: u64 = 16 << 20;
/// How many blocks of metadata are kept: what a walk goes back to.
const KEPT: usize = 512;

/// Returns the error of a file system that contradicts itself.
pub(crate) fn damaged(found: impl Into<String>) -> ReadingError {
    ReadingError::Damaged { what: "the squashfs", found: found.into() }
}

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compressor {
    Gzip,
    Xz,
    Zstd,
}

/// The blocks of a squashfs.
#[derive(Debug)]
pub(crate) struct Blocks {
    section: Section,
    compressor: Compressor,
    block: usize,
    /// Blocks of metadata by where they begin, each with where the next one does.
    kept: HashMap<u64, (Arc<[u8]>, u64)>,
    /// The last block of data, by where it begins: many small files are in one.
    last: Option<(u64, Arc<[u8]>)>,
}

/// A place in a run of metadata.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    /// Where the block begins in the file system.
    block: u64,
    offset: usize,
}

impl Blocks {
    pub(crate) fn new(section: Section, compressor: u16, block: usize) -> Result<Self, ReadingError> {
        let compressor = match compressor {
            GZIP => Compressor::Gzip,
            XZ => Compressor::Xz,
            ZSTD => Compressor::Zstd,
            other => {
                let name = match other {
                    2 => "lzma".to_owned(),
                    3 => "lzo".to_owned(),
                    5 => "lz4".to_owned(),
                    other => format!("number {other}"),
                };
                let feature = format!("the compression {name}");
                return Err(ReadingError::Unsupported { what: "the squashfs", feature });
            }
        };
        Ok(Self { section, compressor, block, kept: HashMap::new(), last: None })
    }

    /// Returns the little-endian number of 64 bits at `at`.
    pub(crate) fn number(&self, at: u64) -> Result<u64, ReadingError> {
        Ok(u64::from_le_bytes(array_at(&self.section.bytes(at, 8)?, 0)))
    }

    /// Reads `length` bytes of metadata and goes on to what follows them.
    pub(crate) fn read(&mut self, cursor: &mut Cursor, length: usize) -> Result<Vec<u8>, ReadingError> {
        let mut found = Vec::with_capacity(length.min(METADATA));
        while found.len() < length {
            let (block, next) = self.metadata(cursor.block)?;
            let rest = block.get(cursor.offset..).unwrap_or_default();
            let taken = rest.len().min(length - found.len());
            // A block that is not full is the last of its run.
            if taken == 0 && block.len() < METADATA {
                return Err(damaged("a table ends early"));
            }
            found.extend_from_slice(&rest[..taken]);
            cursor.offset += taken;
            if cursor.offset >= METADATA {
                *cursor = Cursor { block: next, offset: cursor.offset - METADATA };
            }
        }
        Ok(found)
    }

    /// Returns the block of metadata at `at`, and where the next one begins.
    fn metadata(&mut self, at: u64) -> Result<(Arc<[u8]>, u64), ReadingError> {
        if let Some((block, next)) = self.kept.get(&at) {
            return Ok((Arc::clone(block), *next));
        }
        let header = u16_at(&self.section.bytes(at, 2)?, 0);
        let length = u64::from(header & !METADATA_PLAIN);
        if length == 0 || length > METADATA as u64 {
            return Err(damaged(format!("the metadata at {at} has {length} bytes")));
        }
        let bytes = self.section.bytes(at + 2, length)?;
        let block = if header & METADATA_PLAIN != 0 { bytes } else { self.unpack(&bytes, METADATA)? };
        let found: (Arc<[u8]>, u64) = (block.into(), at + 2 + length);
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(at, found.clone());
        Ok(found)
    }

    /// Returns the block of data at `at`, whose size is as it stands in an inode.
    pub(crate) fn data(&mut self, at: u64, size: u32) -> Result<Arc<[u8]>, ReadingError> {
        if let Some((known, block)) = &self.last
            && *known == at
        {
            return Ok(Arc::clone(block));
        }
        let length = (size & !DATA_PLAIN) as usize;
        if length == 0 || length > self.block {
            return Err(damaged(format!("the block at {at} has {length} bytes")));
        }
        let bytes = self.section.bytes(at, length as u64)?;
        let block: Arc<[u8]> =
            if size & DATA_PLAIN != 0 { bytes } else { self.unpack(&bytes, self.block)? }.into();
        self.last = Some((at, Arc::clone(&block)));
        Ok(block)
    }

    /// Unpacks a block, which has at most `most` bytes then.
    fn unpack(&self, bytes: &[u8], most: usize) -> Result<Vec<u8>, ReadingError> {
        let fail = |error: std::io::Error| damaged(format!("a block cannot be unpacked: {error}"));
        let mut block = Vec::new();
        let limit = most as u64 + 1;
        match self.compressor {
            Compressor::Zstd => block = zstd::bulk::decompress(bytes, most).map_err(fail)?,
            Compressor::Gzip => {
                flate2::read::ZlibDecoder::new(bytes).take(limit).read_to_end(&mut block).map_err(fail)?;
            }
            Compressor::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, 0);
                let stream = stream.map_err(|error| fail(error.into()))?;
                let decoder = liblzma::read::XzDecoder::new_stream(bytes, stream);
                decoder.take(limit).read_to_end(&mut block).map_err(fail)?;
            }
        }
        if block.len() > most {
            return Err(damaged(format!("a block has more than {most} bytes")));
        }
        Ok(block)
    }
}

impl Cursor {
    /// Returns a place: `block` is where its block begins in the file system.
    pub(crate) fn new(block: u64, offset: usize) -> Self {
        Self { block, offset }
    }

    /// Returns the place that a reference names in a table that begins at `table`.
    pub(crate) fn of(table: u64, reference: u64) -> Result<Self, ReadingError> {
        let beyond = || damaged("a place beyond the end is named");
        let block = table.checked_add(reference >> 16).ok_or_else(beyond)?;
        let offset = usize::from((reference & 0xffff) as u16);
        if offset >= METADATA {
            return Err(damaged("a place beyond the end of its block is named"));
        }
        Ok(Self { block, offset })
    }
}
