//! Reads a device back and compares it with the image.

use std::os::unix::fs::FileExt as _;

use super::error::FlashError;
use super::options::BLOCK;
use super::pieces::{BlockDigest, digests};
use super::replacement::Replacement;
use super::source::ImageSource;
use crate::device::{Buffer, Device};

/// The image, with what a device gets in the place of some of its bytes.
#[derive(Clone, Copy)]
pub(super) struct Original<'a> {
    pub(super) source: &'a ImageSource,
    pub(super) replacement: Option<&'a Replacement>,
}

/// A run of bytes that the device must hold.
pub(super) struct Expected {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// How many bytes it has.
    pub(super) length: usize,
    /// The digests of its blocks, where the image cannot be read again.
    pub(super) digests: Vec<BlockDigest>,
}

/// Reads back some of the device.
pub(super) fn read_back(device: &dyn Device, bytes: &mut [u8], offset: u64) -> Result<(), FlashError> {
    device.read_at(bytes, offset).map_err(|source| {
        // The exact place is where the first block fails on its own.
        let step = (device.block() as usize).max(512);
        let first = (0..bytes.len()).step_by(step).find(|at| {
            let end = bytes.len().min(at + step);
            let mut block = Buffer::new(end - at);
            device.read_at(block.head_mut(end - at), offset + *at as u64).is_err()
        });
        FlashError::Device { action: "read back", offset: offset + first.unwrap_or(0) as u64, source }
    })
}

/// Compares one run; `theirs` and `ours` are buffers for it.
///
/// # Errors
/// When the device or the image cannot be read, or they differ.
pub(super) fn verify(
    device: &dyn Device,
    image: Original<'_>,
    expected: &Expected,
    theirs: &mut Buffer,
    ours: &mut Buffer,
) -> Result<(), FlashError> {
    let theirs = theirs.head_mut(expected.length);
    read_back(device, theirs, expected.offset)?;
    let ImageSource::Plain(file, size) = image.source else {
        let found = digests(theirs);
        let first = found.iter().zip(&expected.digests).position(|(found, wanted)| found != wanted);
        return first.map_or(Ok(()), |block| {
            let offset = expected.offset + (block * BLOCK) as u64;
            Err(FlashError::Differs { offset, within: BLOCK as u64 })
        });
    };
    let ours = ours.head_mut(expected.length);
    let there = usize::try_from(size - expected.offset).unwrap_or(usize::MAX).min(expected.length);
    let fail = |source| FlashError::Image { offset: expected.offset, source };
    file.read_exact_at(&mut ours[..there], expected.offset).map_err(fail)?;
    ours[there..].fill(0);
    if let Some(replacement) = image.replacement
        && replacement.apply(&mut ours[..there], expected.offset).is_none()
    {
        return Err(FlashError::Changed);
    }
    compare(ours, theirs, expected.offset)
}

/// Compares bytes; `offset` is where they are.
///
/// # Errors
/// When they differ, with the first byte that does.
pub(super) fn compare(ours: &[u8], theirs: &[u8], offset: u64) -> Result<(), FlashError> {
    if ours == theirs {
        return Ok(());
    }
    let first = ours.iter().zip(theirs).position(|(our, their)| our != their).unwrap_or(0);
    Err(FlashError::Differs { offset: offset + first as u64, within: 1 })
}
