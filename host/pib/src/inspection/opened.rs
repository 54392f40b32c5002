//! Opens an image and finds the system in it.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use pib_debian::decompress::{self, Format};
use pib_disk::{DiskImage, FilesReader, FoundFilesystem, FoundPartition, ReadingError};
use pib_plan::boot::chain::{self, Chain};
use pib_plan::boot::model;

use super::boot_files::BootFiles;
use super::error::InspectionError;
use super::ramdisk;
use super::watch::Watch;

/// The most that a compressed image may have when it is unpacked: the largest SD cards have 2 TB.
const MAX_UNPACKED: u64 = 2 << 40;
/// How much room is left to others in the folder for temporary files, and after how many bytes that is looked at.
const LEAST_ROOM: u64 = 256 << 20;
const CHECKED: u64 = 64 << 20;

/// An image that is open for reading.
#[derive(Debug)]
pub struct OpenedImage {
    path: PathBuf,
    disk: DiskImage,
    /// Who waits for what is read.
    watch: Watch,
}

impl OpenedImage {
    /// Opens an image, also one that is compressed with gzip, xz or zstd: that is unpacked into a temporary file first.
    ///
    /// # Errors
    /// When there is no such file, it cannot be unpacked, its partition table is damaged, or nobody waits any more.
    pub fn open(path: &Path, watch: Watch) -> Result<Self, InspectionError> {
        let fail = |source| InspectionError::Open { path: path.to_owned(), source };
        let file = pib_file::open(path).map_err(fail)?;
        Self::of(file, path, watch)
    }

    /// Takes an image that is open already; `path` is what to call it.
    ///
    /// # Errors
    /// When it cannot be unpacked, or its partition table is damaged.
    pub fn of(file: File, path: &Path, watch: Watch) -> Result<Self, InspectionError> {
        let file = unpacked(file, path, &watch)?;
        let reading = |source| InspectionError::Reading { path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), disk: DiskImage::open(file).map_err(reading)?, watch })
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
        self.watch.stopped()
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
        let mut unreadable = None;
        for partition in self.disk.partitions() {
            match partition.filesystem {
                FoundFilesystem::Ext4 => {}
                FoundFilesystem::Squashfs | FoundFilesystem::Erofs => {
                    // It is damaged, or packed in a way that is not read here, and may be anything.
                    if let Some(fault) = &partition.fault {
                        unreadable.get_or_insert((partition, fault));
                        continue;
                    }
                }
                _ => continue,
            }
            let mut files = self.files(partition)?;
            for path in ["/etc/os-release", "/etc/fstab", "/usr/lib/os-release"] {
                if files.find(path).map_err(|error| self.fail(error.of_file(path)))?.is_some() {
                    return Ok(Some(partition));
                }
            }
        }
        match unreadable {
            None => Ok(None),
            Some((partition, fault)) => Err(InspectionError::Unreadable {
                path: self.path.clone(),
                number: partition.number,
                filesystem: partition.filesystem.text(),
                fault: fault.clone(),
            }),
        }
    }

    /// Opens a partition's files.
    pub(super) fn files(&self, partition: &FoundPartition) -> Result<Box<dyn FilesReader>, InspectionError> {
        self.disk.files(partition.number).map_err(|error| self.fail(error))
    }

    /// Opens the files that a chain has read kernel and all that goes with it from: those of a partition, or of a file of it
    /// that stands for the partition. An error is the end of a sentence.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn boot_files(&self, partition: u32, file: Option<&str>) -> Result<Box<dyn FilesReader>, String> {
        let mut files = self.disk.files(partition).map_err(|error| error.to_string())?;
        match file {
            Some(path) => ramdisk::open(&mut *files, path).map_err(|reason| format!("`{path}` {reason}")),
            None => Ok(files),
        }
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
/// When it cannot be read or unpacked, there is no room for it, or nobody waits any more.
pub fn unpacked(mut file: File, path: &Path, watch: &Watch) -> Result<File, InspectionError> {
    let unpack = |source| InspectionError::Unpack { path: path.to_owned(), source };
    let mut start = Vec::new();
    file.rewind().and_then(|()| (&file).take(8).read_to_end(&mut start)).map_err(unpack)?;
    file.rewind().map_err(unpack)?;
    let format = Format::of(&start);
    if format == Format::Plain {
        return Ok(file);
    }
    // The clone has the same position: how much of the compressed file was read tells how far the work is.
    let mut position = file.try_clone().map_err(unpack)?;
    let mut progress = watch.progress(file.metadata().map_err(unpack)?.len());
    let mut decoder = decompress::decoder(format, BufReader::with_capacity(1 << 20, file)).map_err(unpack)?;
    let to = tempfile::tempfile().map_err(unpack)?;
    copy_sparse(&mut *decoder, &to, path, watch, &mut |_| {
        progress.moved(position.stream_position().unwrap_or(0));
    })?;
    Ok(to)
}

/// Returns a temporary copy of an image as large as a card of `size` bytes, or of the next power of two: emulated slots take
/// no others.
///
/// # Errors
/// When it cannot be read or written, is larger than the card, there is no room for it, or nobody waits any more.
pub fn as_card(
    mut file: &File,
    path: &Path,
    size: Option<u64>,
    watch: &Watch,
) -> Result<File, InspectionError> {
    let unpack = |source| InspectionError::Unpack { path: path.to_owned(), source };
    file.rewind().map_err(unpack)?;
    let to = tempfile::tempfile().map_err(unpack)?;
    let mut progress = watch.progress(file.metadata().map_err(unpack)?.len());
    copy_sparse(&mut file, &to, path, watch, &mut |done| progress.moved(done))?;
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

/// Fails before a disk is full: others need some of it.
fn check_room(file: &File) -> std::io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) >= LEAST_ROOM {
        return Ok(());
    }
    let message = "the folder for temporary files has less than 256 MiB left; TMPDIR names another one";
    Err(std::io::Error::new(std::io::ErrorKind::StorageFull, message))
}

/// Copies a stream into a file, with holes where there are zeros.
fn copy_sparse(
    from: &mut dyn std::io::Read,
    mut to: &File,
    path: &Path,
    watch: &Watch,
    moved: &mut dyn FnMut(u64),
) -> Result<(), InspectionError> {
    let fail = |source| InspectionError::Unpack { path: path.to_owned(), source };
    let mut buffer = vec![0; 1 << 16];
    let (mut size, mut written) = (0, 0);
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]).map_err(fail)? {
                0 => break,
                read => filled += read,
            }
        }
        if watch.is_over() {
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
            false => {
                written += filled as u64;
                if written >= CHECKED {
                    written = 0;
                    check_room(to).map_err(fail)?;
                }
                to.write_all(bytes).map_err(fail)?;
            }
        }
        moved(size);
    }
}
