//! Opens an image and finds the system in it.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pib_debian::decompress::{self, Format};
use pib_disk::{DiskImage, FilesReader, FoundFilesystem, FoundPartition, ReadingError};
use pib_plan::boot::chain::{self, Chain};
use pib_plan::boot::model;

use super::boot_files::BootFiles;
use super::error::InspectionError;

/// The most that a compressed image may have when it is unpacked: the largest SD cards have 2 TB.
const MAX_UNPACKED: u64 = 2 << 40;

/// An image that is open for reading.
#[derive(Debug)]
pub struct OpenedImage {
    path: PathBuf,
    disk: DiskImage,
    /// Raised when nobody waits for what is read any more.
    stopped: Arc<AtomicBool>,
}

impl OpenedImage {
    /// Opens an image, also one that is compressed with gzip, xz or zstd: that is unpacked into a temporary file first.
    ///
    /// # Errors
    /// When there is no such file, it cannot be unpacked, its partition table is damaged, or `stopped` is raised
    /// meanwhile.
    pub fn open(path: &Path, stopped: Arc<AtomicBool>) -> Result<Self, InspectionError> {
        let fail = |source| InspectionError::Open { path: path.to_owned(), source };
        let file = pib_file::open(path).map_err(fail)?;
        Self::of(file, path, stopped)
    }

    /// Takes an image that is open already; `path` is what to call it.
    ///
    /// # Errors
    /// When it cannot be unpacked, or its partition table is damaged.
    pub fn of(file: File, path: &Path, stopped: Arc<AtomicBool>) -> Result<Self, InspectionError> {
        let file = unpacked(file, path, &stopped)?;
        let reading = |source| InspectionError::Reading { path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), disk: DiskImage::open(file).map_err(reading)?, stopped })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the image.
    pub fn disk(&self) -> &DiskImage {
        &self.disk
    }

    /// Returns what is raised when nobody waits any more.
    pub(super) fn stopped(&self) -> &AtomicBool {
        &self.stopped
    }

    /// Returns the error for something in it that could not be read.
    pub(super) fn fail(&self, source: ReadingError) -> InspectionError {
        InspectionError::Reading { path: self.path.clone(), source }
    }

    /// Returns the partition that has the root file system: the first that has `/etc/os-release` or `/etc/fstab`.
    ///
    /// # Errors
    /// When a file system that could be it cannot be read.
    pub fn root(&self) -> Result<Option<&FoundPartition>, InspectionError> {
        for partition in self.disk.partitions() {
            if partition.filesystem != FoundFilesystem::Ext4 {
                continue;
            }
            let mut files = self.files(partition)?;
            for path in ["/etc/os-release", "/etc/fstab", "/usr/lib/os-release"] {
                if files.find(path).map_err(|error| self.fail(error))?.is_some() {
                    return Ok(Some(partition));
                }
            }
        }
        Ok(None)
    }

    /// Opens a partition's files.
    pub(super) fn files(&self, partition: &FoundPartition) -> Result<Box<dyn FilesReader>, InspectionError> {
        self.disk.files(partition.number).map_err(|error| self.fail(error))
    }

    /// Follows the boot chain as each model of a board does. `foreign_root` says that the root may be on another disk.
    pub fn chains(&self, board: &str, foreign_root: bool) -> Vec<Chain> {
        let mut files = BootFiles::new(&self.disk);
        model::models(board).flat_map(|model| chain::check(model, &mut files, foreign_root)).collect()
    }
}

/// Returns an image as it is on a card: the file itself, or a temporary one where it is compressed.
///
/// # Errors
/// When it cannot be read or unpacked, or `stopped` is raised.
pub fn unpacked(mut file: File, path: &Path, stopped: &AtomicBool) -> Result<File, InspectionError> {
    let unpack = |source| InspectionError::Unpack { path: path.to_owned(), source };
    let mut start = Vec::new();
    file.rewind().and_then(|()| (&file).take(8).read_to_end(&mut start)).map_err(unpack)?;
    file.rewind().map_err(unpack)?;
    let format = Format::of(&start);
    if format == Format::Plain {
        return Ok(file);
    }
    let mut decoder = decompress::decoder(format, BufReader::with_capacity(1 << 20, file)).map_err(unpack)?;
    let to = tempfile::tempfile().map_err(unpack)?;
    copy_sparse(&mut *decoder, &to, path, stopped)?;
    Ok(to)
}

/// Returns a temporary copy of an image as large as a card of `size` bytes, or of the next power of two: emulated slots take
/// no others.
///
/// # Errors
/// When it cannot be read or written, is larger than the card, or `stopped` is raised.
pub fn as_card(
    mut file: &File,
    path: &Path,
    size: Option<u64>,
    stopped: &AtomicBool,
) -> Result<File, InspectionError> {
    let unpack = |source| InspectionError::Unpack { path: path.to_owned(), source };
    file.rewind().map_err(unpack)?;
    let to = tempfile::tempfile().map_err(unpack)?;
    copy_sparse(&mut file, &to, path, stopped)?;
    let least = to.metadata().map_err(unpack)?.len();
    let card = size.unwrap_or_else(|| least.next_power_of_two());
    if card > MAX_UNPACKED {
        return Err(InspectionError::TooLarge { path: path.to_owned(), limit: MAX_UNPACKED });
    }
    if card < least {
        return Err(InspectionError::SmallCard { path: path.to_owned(), image: least, card });
    }
    to.set_len(card).map_err(unpack)?;
    Ok(to)
}

/// Copies a stream into a file, with holes where there are zeros.
fn copy_sparse(
    from: &mut dyn std::io::Read,
    mut to: &File,
    path: &Path,
    stopped: &AtomicBool,
) -> Result<(), InspectionError> {
    let fail = |source| InspectionError::Unpack { path: path.to_owned(), source };
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]).map_err(fail)? {
                0 => break,
                read => filled += read,
            }
        }
        if stopped.load(Ordering::Relaxed) {
            return Err(fail(std::io::Error::other("stopped by the user")));
        }
        if filled == 0 {
            return to.set_len(size).map_err(fail);
        }
        size += filled as u64;
        if size > MAX_UNPACKED {
            return Err(InspectionError::TooLarge { path: path.to_owned(), limit: MAX_UNPACKED });
        }
        let bytes = &buffer[..filled];
        match bytes.iter().all(|byte| *byte == 0) {
            true => to.seek_relative(filled as i64).map_err(fail)?,
            false => to.write_all(bytes).map_err(fail)?,
        }
    }
}
