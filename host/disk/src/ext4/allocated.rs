//! Which blocks a file system that was just written has allocated: its own bitmaps say so.
//!
//! The writer tells of every zero byte alike, be it of the journal or of free room. What is free needs no write; all that
//! is allocated does, also zeros: a journal that kept the blocks of an earlier file system might replay them.
//! Format: the kernel's Documentation/filesystems/ext4, "Super Block" and "Block Group Descriptors".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use pib_plan::layout::Region;

use crate::blocks::BLOCK;

/// The incompatible feature by which descriptors have 64 bytes or more.
const WIDE: u32 = 0x80;
/// The group's flag by which its bitmap was never written.
const UNINIT: u16 = 2;

/// Calls `add` with the offset and length of each run of allocated blocks, in bytes of the region.
pub(crate) fn each_run(file: &File, region: Region, mut add: impl FnMut(u64, u64)) -> io::Result<()> {
    let mut superblock = [0; 1024];
    file.read_exact_at(&mut superblock, region.offset + 1024)?;
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|step| superblock[at + step]));
    let is_wide = u32_at(0x60) & WIDE != 0;
    let high = if is_wide { u64::from(u32_at(0x150)) << 32 } else { 0 };
    let (blocks, per_group) = (u64::from(u32_at(4)) | high, u64::from(u32_at(0x20)));
    let size = if is_wide { u64::from(u16::from_le_bytes([superblock[0xfe], superblock[0xff]])) } else { 32 };
    if u32_at(0x18) != 2 || per_group == 0 || per_group > BLOCK * 8 || !(32..=1024).contains(&size) {
        return Err(io::Error::other("the file system that was written has an unexpected superblock"));
    }
    // The superblock's own block, and the blocks of the descriptors, are in the first group's bitmap.
    for group in 0..blocks.div_ceil(per_group) {
        let mut descriptor = [0; 64];
        let wide = size.min(64) as usize;
        file.read_exact_at(&mut descriptor[..wide], region.offset + BLOCK + group * size)?;
        let word = |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|step| descriptor[at + step])));
        let flags = u16::from_le_bytes([descriptor[0x12], descriptor[0x13]]);
        let mut bitmap = vec![0; BLOCK as usize];
        if flags & UNINIT == 0 {
            file.read_exact_at(&mut bitmap, region.offset + (word(0) | word(0x20) << 32) * BLOCK)?;
        }
        let first = group * per_group;
        let count = per_group.min(blocks - first);
        let is_used = |bit: u64| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
        let mut bit = 0;
        while bit < count {
            let start = bit;
            while bit < count && is_used(bit) {
                bit += 1;
            }
            add((first + start) * BLOCK, (bit - start) * BLOCK);
            bit += 1;
        }
    }
    Ok(())
}
