//! A file system whose size is known only when it is made: it is made in a file of its own and copied into the image.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use pib_plan::layout::Region;

use crate::error::DiskError;
use crate::load::WriteRequest;

/// How much is copied in one step.
const STEP: usize = 1 << 20;

/// A file system that is made.
#[derive(Debug)]
pub(crate) struct MadeFilesystem {
    file: File,
    size: u64,
}

impl MadeFilesystem {
    /// Returns the file system of which a file has `size` bytes.
    pub(crate) fn new(file: File, size: u64) -> Self {
        Self { file, size }
    }

    /// Returns its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Copies it into its region of the image.
    pub(crate) fn write(&self, request: &WriteRequest<'_>, region: Region) -> Result<(), DiskError> {
        let mut buffer = vec![0; STEP];
        let mut at = 0;
        while at < self.size {
            let length = usize::try_from(self.size - at).unwrap_or(STEP).min(STEP);
            self.file.read_exact_at(&mut buffer[..length], at).map_err(DiskError::image)?;
            request.image.write_all_at(&buffer[..length], region.offset + at).map_err(DiskError::image)?;
            at += length as u64;
        }
        request.used.add(region.offset, self.size);
        Ok(())
    }
}
