//! A card or a disk that an image is written to.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The alignment of buffers and offsets that every device takes past the page cache, in bytes.
pub(crate) const ALIGN: usize = 4096;

/// What an image is written to and read back from, past any cache of this machine.
///
/// Offsets and lengths are multiples of `block`, and buffers are aligned to 4096 bytes.
pub trait Device: Sync {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Returns the size of the least that can be written, in bytes.
    fn block(&self) -> u64;

    /// Fills the buffer with what the device holds at `offset`.
    ///
    /// # Errors
    /// When the device does not give all of it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of the bytes at `offset`.
    ///
    /// # Errors
    /// When the device does not take all of them.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Waits until what was written is safe on the device.
    ///
    /// # Errors
    /// When the device lost some of it.
    fn sync(&self) -> io::Result<()>;
}

/// A block device of this machine, open for this process alone.
#[derive(Debug)]
pub struct BlockDevice {
    file: File,
    size: u64,
    block: u64,
}

impl BlockDevice {
    /// Opens the device; it stays this one, whatever its name leads to later.
    ///
    /// # Errors
    /// When it cannot be opened, is in use, or is not a block device.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut file = pib_file::open_device_to_write(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let block = rustix::fs::ioctl_blksszget(&file)?;
        Ok(Self { file, size, block: u64::from(block) })
    }

    /// Returns the device's major and minor number.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn number(&self) -> io::Result<(u32, u32)> {
        let device = rustix::fs::fstat(&self.file)?.st_rdev;
        Ok((rustix::fs::major(device), rustix::fs::minor(device)))
    }

    /// Returns the size that the device has now, in bytes: none where it was unplugged.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn size_now(&self) -> io::Result<u64> {
        (&self.file).seek(SeekFrom::End(0))
    }
}

impl Device for BlockDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Bytes at an address that devices take past the page cache.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    size: usize,
}

impl Buffer {
    /// Makes a buffer of zeros.
    pub(crate) fn new(size: usize) -> Self {
        let bytes = vec![0; size + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start, size }
    }

    /// Returns the first bytes.
    pub(crate) fn head(&self, count: usize) -> &[u8] {
        &self.bytes[self.start..self.start + count.min(self.size)]
    }

    /// Returns the first bytes, to be written to.
    pub(crate) fn head_mut(&mut self, count: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + count.min(self.size)]
    }
}
