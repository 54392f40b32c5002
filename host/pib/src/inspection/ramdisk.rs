//! Opens the file system in a `boot.img`, which firmware reads in the place of the boot partition.

use std::io::Write as _;

use pib_disk::{DiskImage, FilesReader, FoundFilesystem};

/// The largest file that is read; the firmware takes less.
const MOST: u64 = 128 << 20;

/// Opens the FAT file system in a file: the file is one, or a disk image that has one. An error is the end of a sentence
/// about the file.
pub(super) fn open(files: &mut dyn FilesReader, path: &str) -> Result<Box<dyn FilesReader>, String> {
    let bytes = files.read(path, MOST).map_err(|error| format!("cannot be read: {error}"))?;
    let written = tempfile::tempfile().and_then(|mut file| file.write_all(&bytes).map(|()| file));
    let file = written.map_err(|error| format!("cannot be unpacked into a temporary file: {error}"))?;
    let unreadable = |reason: String| format!("cannot be read: {reason}");
    let image = DiskImage::open(file).map_err(|error| unreadable(error.to_string()))?;
    let fat = image.partitions().iter().find(|found| found.filesystem == FoundFilesystem::Vfat);
    let fat = fat.ok_or("has no FAT file system, which is all that the firmware reads")?;
    if let Some(fault) = &fat.fault {
        return Err(unreadable(fault.clone()));
    }
    image.files(fat.number).map_err(|error| unreadable(error.to_string()))
}
