//! Writes the pieces of an image to a device, and keeps the marker that says how far that is.

use std::time::Instant;

use super::error::FlashError;
use super::marker::{MARKER, Marker};
use super::options::{BLOCK, CHUNK, FlashOptions, HEAD};
use super::pieces::Chunk;
use super::verify::{Expected, read_back};
use crate::device::{Buffer, Device};

/// How many equal bytes between two that differ are written again rather than left: one write is quicker than two.
const GAP: usize = 64 << 10;

/// What the header of a GPT begins with (UEFI Specification 2.10, section 5.3.2).
const GPT_SIGNATURE: &[u8] = b"EFI PART";
/// How many sectors the copy of a GPT has at the end of a disk: the header, and entries of 16 KiB.
const BACKUP_SECTORS: u64 = 33;

/// A device that is being written.
pub(super) struct Writer<'a> {
    device: &'a dyn Device,
    options: &'a FlashOptions<'a>,
    /// The last record on the device, and the block that holds it.
    marker: Option<Marker>,
    block: Buffer,
    /// What comes last: the beginning of the image, and which of its bytes are the image's.
    head: Vec<u8>,
    head_ranges: Vec<(usize, usize)>,
    /// What the device holds, for comparing.
    held: Buffer,
    /// Up to where the device was written before.
    pub(super) resumed: u64,
    /// What the device must hold now, but for the head.
    pub(super) expected: Vec<Expected>,
    /// How many bytes were written.
    pub(super) written: u64,
    synced: Instant,
}

impl<'a> Writer<'a> {
    /// Looks at what the device holds; nothing is written yet.
    pub(super) fn new(device: &'a dyn Device, options: &'a FlashOptions<'a>) -> Result<Self, FlashError> {
        let mut block = Buffer::new(MARKER);
        read_back(device, block.head_mut(MARKER), 0)?;
        let found = Marker::parse(block.head(MARKER));
        let own = found.filter(|marker| marker.image == options.identity);
        let resumed = own.filter(|_| !options.delta).map_or(0, |marker| marker.position);
        let compares = options.delta || resumed > 0;
        Ok(Self {
            device,
            options,
            marker: None,
            block,
            head: vec![0; usize::try_from(HEAD.min(device.size())).unwrap_or(MARKER)],
            head_ranges: Vec::new(),
            held: Buffer::new(if compares { CHUNK } else { 0 }),
            resumed,
            expected: Vec::new(),
            written: 0,
            synced: Instant::now(),
        })
    }

    /// Takes a piece: writes it, or what of it is new to the device.
    pub(super) fn take(&mut self, piece: &mut Chunk) -> Result<(), FlashError> {
        let (offset, length) = (piece.offset, piece.length);
        if offset < HEAD {
            let start = offset as usize;
            self.head[start..start + length].copy_from_slice(piece.buffer.head(length));
            self.head_ranges.push((start, start + length));
            return Ok(());
        }
        let digests = std::mem::take(&mut piece.digests);
        // What an earlier run wrote is compared, not believed: it may have been given another image by the same name, whose
        // digest was not known to be wrong by then.
        if self.options.delta || offset + length as u64 <= self.resumed {
            return self.write_what_differs(piece, &digests);
        }
        self.mark_first(offset)?;
        self.write(piece.buffer.head(length), offset)?;
        self.expected.push(Expected { offset, length, digests });
        self.mark_sometimes(offset + length as u64)
    }

    fn write_what_differs(&mut self, piece: &Chunk, digests: &[[u8; 16]]) -> Result<(), FlashError> {
        let bytes = piece.buffer.head(piece.length);
        read_back(self.device, self.held.head_mut(piece.length), piece.offset)?;
        let mut runs: Vec<(usize, usize)> = Vec::new();
        if self.held.head(piece.length) != bytes {
            for start in (0..piece.length).step_by(BLOCK) {
                let end = (start + BLOCK).min(piece.length);
                if self.held.head(piece.length)[start..end] != bytes[start..end] {
                    match runs.last_mut() {
                        Some((_, last)) if start - *last <= GAP => *last = end,
                        _ => runs.push((start, end)),
                    }
                }
            }
        }
        for (start, end) in runs {
            let offset = piece.offset + start as u64;
            self.mark_first(piece.offset)?;
            self.write(&bytes[start..end], offset)?;
            let digests = digests.get(start / BLOCK..end.div_ceil(BLOCK)).unwrap_or_default().to_vec();
            self.expected.push(Expected { offset, length: end - start, digests });
        }
        self.mark_sometimes(piece.offset + piece.length as u64)
    }

    /// Writes bytes; where the device refuses, finds the first block that it does not take.
    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), FlashError> {
        if let Err(source) = self.device.write_at(bytes, offset) {
            let step = (self.device.block() as usize).max(512);
            let mut block = Buffer::new(step);
            let first = (0..bytes.len()).step_by(step).find(|at| {
                let part = &bytes[*at..bytes.len().min(at + step)];
                block.head_mut(part.len()).copy_from_slice(part);
                self.device.write_at(block.head(part.len()), offset + *at as u64).is_err()
            });
            let offset = offset + first.unwrap_or(0) as u64;
            return Err(FlashError::Device { action: "write to", offset, source });
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self, offset: u64) -> Result<(), FlashError> {
        self.device.sync().map_err(|source| FlashError::Device {
            action: "finish writing to",
            offset,
            source,
        })
    }

    /// Marks the device before anything else is written to it.
    fn mark_first(&mut self, position: u64) -> Result<(), FlashError> {
        if self.marker.is_some() { Ok(()) } else { self.mark(position.max(HEAD.min(self.device.size()))) }
    }

    /// Makes safe what was written, and says so on the device, where the last time is a while ago.
    fn mark_sometimes(&mut self, position: u64) -> Result<(), FlashError> {
        if self.marker.is_none() || self.synced.elapsed() < self.options.sync_every {
            return Ok(());
        }
        if position <= self.resumed {
            return Ok(());
        }
        self.sync(position)?;
        self.mark(position)
    }

    fn mark(&mut self, position: u64) -> Result<(), FlashError> {
        let before = self.marker.or_else(|| Marker::parse(self.block.head(MARKER)));
        let number = before.map_or(1, |marker| marker.number.wrapping_add(1));
        let marker = Marker { image: self.options.identity, position, number };
        if before.is_none_or(|before| before.image != marker.image) {
            self.block.head_mut(MARKER).fill(0);
        }
        marker.put(self.block.head_mut(MARKER), self.options.name);
        let device = self.device;
        let fail = |source| FlashError::Device { action: "write to", offset: 0, source };
        device.write_at(self.block.head(MARKER), 0).map_err(fail)?;
        self.sync(0)?;
        self.marker = Some(marker);
        self.synced = Instant::now();
        Ok(())
    }

    /// Makes all but the head safe on the device, and says so there.
    pub(super) fn finish_body(&mut self, end: u64) -> Result<(), FlashError> {
        match self.marker {
            Some(_) => {
                self.sync(end)?;
                self.mark(end.max(HEAD.min(self.device.size())))
            }
            None => Ok(()),
        }
    }

    /// Clears the copy of a GPT that an earlier, larger image left at the end of the device: programs would mend the new
    /// table by it.
    pub(super) fn clear_old_table(&mut self, image_end: u64) -> Result<(), FlashError> {
        let (sector, end) = (self.device.block(), self.device.size());
        let image_end = image_end.next_multiple_of(sector);
        let Some(last) = end.checked_sub(sector).filter(|last| *last >= image_end.max(HEAD)) else {
            return Ok(());
        };
        let start = end.saturating_sub(BACKUP_SECTORS * sector).max(image_end).max(HEAD);
        let length = usize::try_from(end - start).unwrap_or(0);
        let mut held = Buffer::new(length);
        read_back(self.device, held.head_mut(length), start)?;
        if !held.head(length)[(last - start) as usize..].starts_with(GPT_SIGNATURE) {
            return Ok(());
        }
        self.mark_first(image_end)?;
        held.head_mut(length).fill(0);
        self.write(held.head(length), start)?;
        self.sync(start)?;
        let mut found = Buffer::new(length);
        read_back(self.device, found.head_mut(length), start)?;
        super::verify::compare(held.head(length), found.head(length), start)
    }

    /// Returns whether the device holds the head already, and nothing else was to be written.
    pub(super) fn is_unchanged(&mut self) -> Result<bool, FlashError> {
        if self.marker.is_some() || !self.options.delta {
            return Ok(false);
        }
        let mut held = Buffer::new(self.head.len());
        read_back(self.device, held.head_mut(self.head.len()), 0)?;
        let held = held.head(self.head.len());
        Ok(self.head_ranges.iter().all(|(start, end)| held[*start..*end] == self.head[*start..*end]))
    }

    /// Writes the head: all but its first block, and that last, so that there is a partition table only on a device that
    /// is complete.
    pub(super) fn write_head(&mut self) -> Result<(), FlashError> {
        self.mark_first(0)?;
        let head = self.head_buffer();
        let length = self.head.len();
        if length > MARKER {
            let mut rest = Buffer::new(length - MARKER);
            rest.head_mut(length - MARKER).copy_from_slice(&head.head(length)[MARKER..]);
            self.write(rest.head(length - MARKER), MARKER as u64)?;
            self.sync(MARKER as u64)?;
        }
        self.write(head.head(length.min(MARKER)), 0)?;
        self.sync(0)
    }

    fn head_buffer(&self) -> Buffer {
        let mut head = Buffer::new(self.head.len());
        head.head_mut(self.head.len()).copy_from_slice(&self.head);
        head
    }

    /// Reads the head back.
    pub(super) fn verify_head(&self) -> Result<(), FlashError> {
        let mut held = Buffer::new(self.head.len());
        read_back(self.device, held.head_mut(self.head.len()), 0)?;
        super::verify::compare(&self.head, held.head(self.head.len()), 0)
    }

    /// Makes the device one that nothing boots from again, after its head was found wrong.
    pub(super) fn unmake(&mut self) {
        // The device is failing, so this may fail, too; the error that is told says that the device is not good.
        _ = self.mark(HEAD.min(self.device.size()));
    }
}
