//! Where the content of an inode is: its extents, or the lists of blocks that ext2 and ext3 have.

use super::error::ReadingError;
use super::ext4_inode::{Inode, damaged};
use super::section::{Section, u16_at, u32_at};

/// Blocks that follow one another in a file and on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first block in the file.
    pub(crate) logical: u64,
    /// How many blocks there are.
    pub(crate) length: u64,
    /// The first block on the disk; none for blocks that are reserved and were never written.
    pub(crate) physical: Option<u64>,
}

/// What an extent tree's nodes begin with.
const MAGIC: u16 = 0xf30a;
/// The deepest tree that Linux makes.
const MAX_DEPTH: u16 = 5;
/// The longest run that was written; a longer one stands for reserved blocks.
const MAX_WRITTEN: u16 = 32_768;
/// The most runs that are kept: a file of a terabyte in pieces of a hundred kilobytes.
const MAX_RUNS: usize = 10_000_000;

/// Returns the runs of an inode, in the order of the file.
pub(crate) fn of(section: &Section, block: u64, inode: &Inode) -> Result<Vec<Run>, ReadingError> {
    let mut reader = Reader { section, block, blocks: section.size() / block, runs: Vec::new(), nodes: 0 };
    if inode.has_extents {
        reader.extents(inode.block(), None)?;
    } else {
        reader.lists(inode)?;
    }
    let mut end = 0;
    for run in &reader.runs {
        if run.logical < end || run.physical.is_some_and(|first| first + run.length > reader.blocks) {
            return Err(damaged(format!(
                "the content of inode {} overlaps or is beyond the end",
                inode.number
            )));
        }
        end = run.logical + run.length;
    }
    Ok(reader.runs)
}

struct Reader<'a> {
    section: &'a Section,
    /// The size of a block in bytes, and how many there are.
    block: u64,
    blocks: u64,
    runs: Vec<Run>,
    /// How many nodes were read: a tree that leads around ends.
    nodes: u64,
}

impl Reader<'_> {
    fn node(&mut self, number: u64) -> Result<Vec<u8>, ReadingError> {
        self.nodes += 1;
        if number >= self.blocks || self.nodes > self.blocks {
            return Err(damaged(format!("a tree of blocks leads to block {number}")));
        }
        self.section.bytes(number * self.block, self.block)
    }

    fn push(&mut self, run: Run) -> Result<(), ReadingError> {
        if self.runs.len() >= MAX_RUNS {
            return Err(damaged("a file has more pieces than a file can have"));
        }
        if let Some(last) = self.runs.last_mut()
            && last.logical + last.length == run.logical
            && last.physical.map(|first| first + last.length) == run.physical
            && run.physical.is_some()
        {
            last.length += run.length;
            return Ok(());
        }
        self.runs.push(run);
        Ok(())
    }

    fn extents(&mut self, node: &[u8], depth: Option<u16>) -> Result<(), ReadingError> {
        let (entries, found) = (usize::from(u16_at(node, 2)), u16_at(node, 6));
        let is_sound = u16_at(node, 0) == MAGIC && 12 + 12 * entries <= node.len();
        if !is_sound || found > MAX_DEPTH || depth.is_some_and(|depth| depth != found) {
            return Err(damaged("a node of an extent tree is not one"));
        }
        for at in (1..=entries).map(|entry| 12 * entry) {
            if found > 0 {
                let number = u64::from(u32_at(node, at + 4)) | u64::from(u16_at(node, at + 8)) << 32;
                let child = self.node(number)?;
                self.extents(&child, Some(found - 1))?;
                continue;
            }
            let length = u16_at(node, at + 4);
            let first = u64::from(u32_at(node, at + 8)) | u64::from(u16_at(node, at + 6)) << 32;
            let is_written = length <= MAX_WRITTEN;
            self.push(Run {
                logical: u32_at(node, at).into(),
                length: u64::from(if is_written { length } else { length - MAX_WRITTEN }),
                physical: is_written.then_some(first),
            })?;
        }
        Ok(())
    }

    /// Reads twelve blocks, then lists of blocks one, two and three levels deep.
    fn lists(&mut self, inode: &Inode) -> Result<(), ReadingError> {
        let count = inode.size.div_ceil(self.block);
        let mut logical = 0;
        for entry in 0..15 {
            if logical >= count {
                break;
            }
            let number = u32_at(inode.block(), 4 * entry);
            let level = u32::try_from(entry.saturating_sub(11)).unwrap_or(0);
            self.list(number.into(), level, &mut logical, count)?;
        }
        Ok(())
    }

    fn list(&mut self, number: u64, level: u32, logical: &mut u64, count: u64) -> Result<(), ReadingError> {
        let per_block = self.block / 4;
        if number == 0 || level == 0 {
            if number != 0 {
                self.push(Run { logical: *logical, length: 1, physical: Some(number) })?;
            }
            *logical += per_block.pow(level);
            return Ok(());
        }
        let node = self.node(number)?;
        for entry in node.chunks_exact(4) {
            if *logical >= count {
                break;
            }
            self.list(u32_at(entry, 0).into(), level - 1, logical, count)?;
        }
        Ok(())
    }
}
