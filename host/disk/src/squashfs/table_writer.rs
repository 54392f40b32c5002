//! Writes a table: a run of metadata, whose blocks are compressed one by one.

use std::io;

use zstd::bulk::Compressor;

use super::format::{METADATA, METADATA_PLAIN};
use super::packer;

/// A place in a table: where its block begins in the table, and where in the block it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TablePlace {
    pub(super) block: u64,
    pub(super) offset: u16,
}

impl TablePlace {
    /// Returns the place in the form in which the superblock and attributes name it.
    pub(super) fn reference(self) -> u64 {
        self.block << 16 | u64::from(self.offset)
    }
}

/// A table that is being written.
pub(super) struct TableWriter {
    compressor: Compressor<'static>,
    bytes: Vec<u8>,
    /// Where each block begins.
    blocks: Vec<u64>,
    /// What the next block holds; never a whole one.
    open: Vec<u8>,
}

impl TableWriter {
    pub(super) fn new() -> io::Result<Self> {
        let compressor = packer::compressor()?;
        Ok(Self { compressor, bytes: Vec::new(), blocks: Vec::new(), open: Vec::with_capacity(METADATA) })
    }

    /// Returns where the next byte will stand.
    pub(super) fn place(&self) -> TablePlace {
        let offset = u16::try_from(self.open.len()).unwrap_or(u16::MAX);
        TablePlace { block: self.bytes.len() as u64, offset }
    }

    /// Adds bytes; returns where they begin.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> io::Result<TablePlace> {
        let place = self.place();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() == METADATA {
                self.close()?;
            }
        }
        Ok(place)
    }

    fn close(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.open, Vec::with_capacity(METADATA));
        let packed = packer::pack(&mut self.compressor, block)?;
        let plain = if packed.is_plain { METADATA_PLAIN } else { 0 };
        let length = u16::try_from(packed.bytes.len()).map_err(io::Error::other)? | plain;
        self.blocks.push(self.bytes.len() as u64);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(packed.bytes);
        Ok(())
    }

    /// Returns the table, and where each of its blocks begins in it.
    pub(super) fn finish(mut self) -> io::Result<(Vec<u8>, Vec<u64>)> {
        if !self.open.is_empty() {
            self.close()?;
        }
        Ok((self.bytes, self.blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_full_but_for_the_last() {
        let mut table = TableWriter::new().unwrap();
        assert_eq!(table.put(&[1; METADATA]).unwrap(), TablePlace::default());
        let second = table.place();
        assert!(second.block > 0 && second.offset == 0);
        table.put(b"xy").unwrap();
        assert_eq!(table.place().offset, 2);
        let (bytes, blocks) = table.finish().unwrap();
        assert_eq!(blocks, [0, second.block]);
        assert_eq!(bytes[second.block as usize..], [2, 0x80, b'x', b'y']);
        assert_eq!(second.reference(), second.block << 16);
    }
}
