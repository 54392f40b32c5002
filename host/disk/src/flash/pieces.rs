//! Reads the image on a thread of its own, in pieces of which several may wait, and checks it against its map.

use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use sha2::{Digest as _, Sha256};

use super::error::FlashError;
use super::options::{BLOCK, CHUNK, HEAD};
use super::replacement::Replacement;
use super::source::ImageSource;
use crate::bmap::{BlockMap, Summing};
use crate::device::Buffer;

/// The digest of a block, cut short: it tells a block that was not kept, not one that somebody made.
pub(super) type BlockDigest = [u8; 16];

/// Some of the image.
pub(super) struct Chunk {
    /// Where it begins in the image, in bytes.
    pub(super) offset: u64,
    /// How many bytes it has, a multiple of what the device writes at once; zeros follow the end of the image.
    pub(super) length: usize,
    /// Its bytes, the first ones of the buffer.
    pub(super) buffer: Buffer,
    /// The digests of its blocks, where the image cannot be read again.
    pub(super) digests: Vec<BlockDigest>,
}

/// Where pieces go, and where their buffers come back from.
pub(super) struct Pipe {
    pub(super) pieces: SyncSender<Chunk>,
    pub(super) buffers: Receiver<Buffer>,
}

/// What bounds the reading.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// The size of the device in bytes.
    pub(super) device: u64,
    /// What the device writes at once, in bytes.
    pub(super) block: u64,
    /// What the device gets in the place of some of the image's bytes.
    pub(super) replacement: Option<&'a Replacement>,
    /// Raised when nobody wants the image any more.
    pub(super) stopped: &'a AtomicBool,
}

/// Returns the blocks' digests of a piece.
pub(super) fn digests(bytes: &[u8]) -> Vec<BlockDigest> {
    let digest = |block: &[u8]| {
        let whole: [u8; 32] = Sha256::digest(block).into();
        let mut cut = BlockDigest::default();
        cut.copy_from_slice(&whole[..16]);
        cut
    };
    bytes.chunks(BLOCK).map(digest).collect()
}

/// Reads all that is to be written, and returns the size of the image in bytes.
///
/// # Errors
/// When it cannot be read, does not fit its map, or is larger than the device.
pub(super) fn read(
    source: &mut ImageSource,
    map: Option<&BlockMap>,
    bounds: Bounds<'_>,
    pipe: &Pipe,
) -> Result<u64, FlashError> {
    let known = match (&*source, map) {
        (ImageSource::Plain(_, size), _) => Some(*size),
        (_, map) => map.map(|map| map.image_size),
    };
    if known.is_some_and(|size| size.next_multiple_of(bounds.block) > bounds.device) {
        return Err(FlashError::TooLarge { image: known, device: bounds.device });
    }
    let mut input = Input { source, at: 0, replaced: 0 };
    let Some(map) = map else {
        let end = known.unwrap_or(u64::MAX);
        let size = send_range(&mut input, (0, end), bounds, pipe, &mut None)?;
        return input.check_replaced(bounds).map(|()| size);
    };
    let size_of = |found| FlashError::MapSize { mapped: map.image_size, found };
    if let ImageSource::Plain(_, size) = input.source
        && *size != map.image_size
    {
        return Err(size_of(*size));
    }
    for ((start, end), range) in map.byte_ranges().zip(&map.ranges) {
        let mut summing = range.checksum.map(Summing::new);
        let reached = send_range(&mut input, (start, end), bounds, pipe, &mut summing)?;
        if bounds.stopped.load(Ordering::Relaxed) {
            return Ok(map.image_size);
        }
        if reached < end {
            return Err(size_of(reached));
        }
        if !summing.is_none_or(Summing::fits) {
            return Err(FlashError::Checksum { start, end });
        }
    }
    input.check_replaced(bounds)?;
    let fail = |source| FlashError::Image { offset: map.image_size, source };
    match input.size_up_to(map.image_size).map_err(fail)? {
        found if found == map.image_size => Ok(found),
        found => Err(size_of(found)),
    }
}

/// Sends a range of the image; returns where it ends, or the image before that.
fn send_range(
    input: &mut Input<'_>,
    (start, end): (u64, u64),
    bounds: Bounds<'_>,
    pipe: &Pipe,
    summing: &mut Option<Summing>,
) -> Result<u64, FlashError> {
    let mut at = start;
    while at < end && !bounds.stopped.load(Ordering::Relaxed) {
        let chunk = CHUNK as u64;
        // What is written last is not mixed with anything else.
        let limit = if at < HEAD { HEAD } else { (at / chunk + 1) * chunk };
        let count = (limit.min(end) - at) as usize;
        // The writing thread has failed, and returns its own error.
        let Ok(mut buffer) = pipe.buffers.recv() else { return Ok(at) };
        let bytes = buffer.head_mut(count);
        let read = input.fill(bytes, at).map_err(|source| FlashError::Image { offset: at, source })?;
        if read == 0 {
            return Ok(at);
        }
        if let Some(summing) = summing {
            summing.update(&bytes[..read]);
        }
        if let Some(replacement) = bounds.replacement {
            input.replaced += replacement.apply(&mut bytes[..read], at).ok_or(FlashError::Changed)?;
        }
        let length = read.next_multiple_of(bounds.block as usize);
        buffer.head_mut(length)[read..].fill(0);
        if at + length as u64 > bounds.device {
            return Err(FlashError::TooLarge { image: None, device: bounds.device });
        }
        let digests = match input.source {
            ImageSource::Plain(..) => Vec::new(),
            ImageSource::Stream(_) => digests(buffer.head(length)),
        };
        let piece = Chunk { offset: at, length, buffer, digests };
        at += read as u64;
        if pipe.pieces.send(piece).is_err() || read < count {
            return Ok(at);
        }
    }
    Ok(at)
}

/// The image as it is read.
struct Input<'a> {
    source: &'a mut ImageSource,
    /// How much of a stream has been read.
    at: u64,
    /// How many bytes were replaced by others.
    replaced: u64,
}

impl Input<'_> {
    /// Checks that all was replaced that was to be: the image may be another one now.
    fn check_replaced(&self, bounds: Bounds<'_>) -> Result<(), FlashError> {
        let wanted = bounds.replacement.map_or(0, Replacement::size);
        let is_whole = self.replaced == wanted || bounds.stopped.load(Ordering::Relaxed);
        if is_whole { Ok(()) } else { Err(FlashError::Changed) }
    }

    /// Fills the buffer with what is at `offset`, which lies after all that was read; returns how much there was.
    fn fill(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let stream = match self.source {
            ImageSource::Plain(file, _) => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], offset + done as u64)? {
                        0 => break,
                        count => done += count,
                    }
                }
                return Ok(done);
            }
            ImageSource::Stream(stream) => stream,
        };
        let between = offset.saturating_sub(self.at);
        self.at += io::copy(&mut stream.by_ref().take(between), &mut io::sink())?;
        let mut done = 0;
        while done < buffer.len() {
            match stream.read(&mut buffer[done..])? {
                0 => break,
                count => done += count,
            }
        }
        self.at += done as u64;
        Ok(done)
    }

    /// Returns the size of the image, or one byte more than `most` where it is larger.
    fn size_up_to(&mut self, most: u64) -> io::Result<u64> {
        match self.source {
            ImageSource::Plain(_, size) => Ok(*size),
            ImageSource::Stream(stream) => {
                let left = (most + 1).saturating_sub(self.at);
                Ok(self.at + io::copy(&mut stream.by_ref().take(left), &mut io::sink())?)
            }
        }
    }
}
