//! A region of an image's file, read by position, and numbers out of bytes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use pib_plan::layout::Region;

use super::error::ReadingError;

/// A region of a file. Nothing outside of it is read.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    file: Arc<File>,
    region: Region,
}

/// The most that is read in one step.
const MOST: u64 = 64 << 20;

impl Section {
    pub(crate) fn new(file: Arc<File>, region: Region) -> Self {
        Self { file, region }
    }

    /// Returns a part of this section; what of it is beyond the end is left out.
    pub(crate) fn part(&self, region: Region) -> Self {
        let offset = region.offset.min(self.region.size);
        let size = region.size.min(self.region.size - offset);
        Self { file: Arc::clone(&self.file), region: Region { offset: self.region.offset + offset, size } }
    }

    pub(crate) fn size(&self) -> u64 {
        self.region.size
    }

    /// Fills `buffer` with the bytes at `at`.
    pub(crate) fn read_exact(&self, buffer: &mut [u8], at: u64) -> Result<(), ReadingError> {
        let length = buffer.len() as u64;
        let fail = |source| ReadingError::Io { at: self.region.offset.saturating_add(at), length, source };
        if at.checked_add(length).is_none_or(|end| end > self.region.size) {
            return Err(fail(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.file.read_exact_at(buffer, self.region.offset + at).map_err(fail)
    }

    /// Returns `length` bytes at `at`.
    pub(crate) fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, ReadingError> {
        if length > MOST {
            return Err(ReadingError::TooLarge { size: length, most: MOST });
        }
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_exact(&mut buffer, at)?;
        Ok(buffer)
    }
}

/// Returns the little-endian number of 16 bits at `at`; 0 beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// Returns the little-endian number of 32 bits at `at`; 0 beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Returns the little-endian number of 64 bits at `at`; 0 beyond the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Returns `N` bytes at `at`; zeros beyond the end.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(at..at.saturating_add(N)) {
        array.copy_from_slice(found);
    }
    array
}

/// Returns a name as text: what is not UTF-8 in it as `\xNN`, so that two names stay two.
pub(crate) fn text_of(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
