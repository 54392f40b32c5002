//! The blocks of an image that must be written to a device for the device to hold the image.
//!
//! The holes of the image file do not tell which those are. An inode table of zeros is a hole and must be written, since
//! the card may hold other bytes there; a free block need not be. So the writer of each file system reports the bytes that
//! it has allocated.

use std::cell::RefCell;

/// The size of a block in bytes. That of ext4, and what block maps usually have.
pub(crate) const BLOCK: u64 = 4096;

/// The blocks of an image that its partition table and file systems use.
#[derive(Debug, Default)]
pub(crate) struct UsedBlocks(RefCell<Vec<(u64, u64)>>);

impl UsedBlocks {
    /// Adds the blocks that hold `length` bytes at `offset` of the image.
    pub(crate) fn add(&self, offset: u64, length: u64) {
        if length == 0 {
            return;
        }
        let (first, end) = (offset / BLOCK, (offset + length).div_ceil(BLOCK));
        let mut ranges = self.0.borrow_mut();
        match ranges.last_mut() {
            Some((start, last)) if *start <= first && first <= *last => *last = end.max(*last),
            _ => ranges.push((first, end)),
        }
    }

    /// Returns the ranges of blocks in order, each its first block and the one after its last; none touches another.
    pub(crate) fn into_ranges(self) -> Vec<(u64, u64)> {
        let mut ranges = self.0.into_inner();
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (first, end) in ranges {
            match merged.last_mut() {
                Some((_, last)) if first <= *last => *last = end.max(*last),
                _ => merged.push((first, end)),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_blocks_and_neighbours_become_one_range() {
        let used = UsedBlocks::default();
        used.add(0, 512);
        used.add(40_960, 1);
        used.add(40_961, 4095);
        used.add(45_056, 4096);
        used.add(4096, 4096);
        used.add(20_480, 0);
        assert_eq!(used.into_ranges(), [(0, 2), (10, 12)]);
    }
}
