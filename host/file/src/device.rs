//! Opens block devices: cards and disks, which are written as a whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

/// Opens a block device to write to it past the page cache, for this process alone: the kernel refuses while it, or a
/// partition of it, is mounted, used as swap, or part of another device, and nothing of that begins while it is open.
///
/// # Errors
/// When it cannot be opened, is in use (`EBUSY`), or is not a block device.
pub fn open_device_to_write(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), true, OFlags::EXCL | OFlags::DIRECT)
}

/// Opens a block device for reading.
///
/// # Errors
/// When it cannot be opened, or is not a block device.
pub fn open_device(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), false, OFlags::empty())
}

fn open(path: &Path, write: bool, flags: OFlags) -> io::Result<File> {
    use std::os::unix::fs::FileTypeExt as _;
    // Looked at first, since opening some other devices does something, e.g. rewinds a tape.
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_block_device() {
        return Err(not_a_device());
    }
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::BlockDevice => Ok(file),
        _ => Err(not_a_device()),
    }
}

fn not_a_device() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a block device")
}
