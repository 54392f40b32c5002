//! What tells a file or folder from all others that were or will be at its path.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// What a file system says of a file or folder that stays, also where it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The number of its inode: ext4 gives that of a removed folder to the next one.
    pub inode: u64,
    /// The numbers of its device.
    pub device: (u32, u32),
    /// When it was made, in seconds since 1970 and nanoseconds; `None` where the file system does not know.
    pub born: Option<(i64, u32)>,
}

/// Returns what tells a file or folder from others; a link is followed.
///
/// `std::fs::Metadata::created` never knows when it was made in a program for musl, as released ones are.
///
/// # Errors
/// When there is nothing at the path, or it cannot be asked.
pub fn identity(path: &Path) -> io::Result<Identity> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BTIME | StatxFlags::INO)?;
    let knows_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Ok(Identity {
        inode: found.stx_ino,
        device: (found.stx_dev_major, found.stx_dev_minor),
        born: knows_birth.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec)),
    })
}
