//! Where each partition of an image begins and ends.

use serde::{Deserialize, Serialize};

use super::partition::{Layout, LayoutError, PartitionSize, PartitionSpec, PartitionTable};
use crate::size::ByteSize;

/// Partitions begin at multiples of this where nothing else is asked for: the erase blocks of common SD cards.
pub const ALIGNMENT: u64 = 4 << 20;
/// A sector, the unit of the partition table.
pub const SECTOR: u64 = 512;
/// The sectors of a GPT beside the first of the disk: a header, and 128 entries of 128 bytes. They are there twice, at the
/// disk's begin and end.
pub const GPT_SECTORS: u64 = 33;
/// How far before a logical partition its own table is.
pub const LOGICAL_TABLE: u64 = 4096;
/// The first byte that a partition may begin at: before it are the table, and the marker of an unfinished flash.
pub(super) const FIRST: u64 = 1 << 20;
/// The most that is addressed: by 32 bits of sectors, and as far as the numbers of files on this machine go.
const MOST_MBR: u64 = u32::MAX as u64 * SECTOR;
const MOST_GPT: u64 = i64::MAX as u64;
/// How many partitions a master boot record has itself.
const PRIMARY: usize = 4;

/// A partition's place in the image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub size: u64,
}

/// Where everything in an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The partitions, in the order of the table.
    pub regions: Vec<Region>,
    /// The partition that has the logical ones, where a master boot record has more than four.
    pub extended: Option<Region>,
    /// The size of the whole image.
    pub size: u64,
}

impl Region {
    /// Returns the first byte after it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

impl PartitionSpec {
    pub(super) fn alignment(&self) -> u64 {
        self.align.map_or(ALIGNMENT, |align| align.0.max(1))
    }
}

impl Layout {
    /// Returns whether a partition, counted from 0, is a logical one: the fourth and all after it, where a master boot
    /// record has more than four.
    pub fn is_logical(&self, index: usize) -> bool {
        self.table == PartitionTable::Mbr && self.partitions.len() > PRIMARY && index >= PRIMARY - 1
    }

    /// Returns the number by which Linux calls a partition, counted from 0. Logical ones count from 5.
    pub fn number(&self, index: usize) -> u32 {
        let number = if self.is_logical(index) { index + 2 } else { index + 1 };
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Returns the layout of a card of this size that is laid out empty: all of the card is used. Where no partition takes the
    /// rest, it is the one that would grow, or else the last whose size follows its content.
    pub fn for_card(&self, size: u64) -> Self {
        let size = Some(ByteSize(size / SECTOR * SECTOR));
        let mut layout = Self { size, ..self.clone() };
        let partitions = &mut layout.partitions;
        if partitions.iter().all(|part| part.size != PartitionSize::Rest) {
            let follows =
                |part: &PartitionSpec| part.size == PartitionSize::Auto && !part.filesystem.is_read_only();
            let last = partitions.iter().rposition(follows);
            if let Some(last) = partitions.iter().position(|part| part.grow).or(last) {
                partitions[last].size = PartitionSize::Rest;
                partitions[last].free = None;
            }
        }
        layout
    }

    /// Places the partitions one after the other, aligned. `contents` has what each needs whose size follows its content.
    ///
    /// # Errors
    /// When they do not fit into the image, or the table cannot address their end.
    pub fn place(&self, contents: &[u64]) -> Result<Placement, LayoutError> {
        let at_end = if self.table == PartitionTable::Gpt { GPT_SECTORS * SECTOR } else { 0 };
        let limit = self.size.map(|size| size.0.saturating_sub(at_end));
        let mut sizes = self.sizes(contents, limit.unwrap_or(0));
        if let Some(rest) = self.partitions.iter().position(|part| part.size == PartitionSize::Rest) {
            let (_, end) = self.line_up(&sizes);
            // A multiple of all alignments, so that what comes after it moves by that much and no more.
            let align = self.partitions.iter().map(PartitionSpec::alignment).max().unwrap_or(ALIGNMENT);
            sizes[rest] = limit.unwrap_or(0).saturating_sub(end) / align * align;
        }
        let (regions, end) = self.line_up(&sizes);
        if let (Some(limit), Some(size)) = (limit, self.size) {
            let is_empty = |index: usize| {
                let size = self.partitions[index].size;
                sizes[index] == 0 && matches!(size, PartitionSize::Share(_) | PartitionSize::Rest)
            };
            let beyond = (0..regions.len()).find(|index| regions[*index].end() > limit || is_empty(*index));
            if let Some(partition) = beyond {
                let least = if is_empty(partition) { self.partitions[partition].alignment() } else { 0 };
                let needed = end.saturating_add(least).saturating_add(at_end);
                return Err(LayoutError::Full { partition, needed, size: size.0 });
            }
        }
        let whole = end.saturating_add(at_end).checked_next_multiple_of(FIRST).unwrap_or(u64::MAX);
        let needed = self.size.map_or(if at_end == 0 { end } else { whole }, |ByteSize(size)| size);
        let most = if self.table == PartitionTable::Gpt { MOST_GPT } else { MOST_MBR };
        if needed.max(end) > most {
            return Err(LayoutError::TooLarge { needed: needed.max(end), most });
        }
        let logical = regions.iter().enumerate().filter(|(index, _)| self.is_logical(*index));
        let extended = logical
            .map(|(_, region)| region.offset - LOGICAL_TABLE)
            .min()
            .map(|offset| Region { offset, size: end - offset });
        Ok(Placement { regions, extended, size: needed })
    }

    /// Returns the sizes of all partitions but of one that takes the rest, for which it is 0.
    fn sizes(&self, contents: &[u64], limit: u64) -> Vec<u64> {
        let first = self.partitions.first().map_or(FIRST, |part| FIRST.next_multiple_of(part.alignment()));
        let room = limit.saturating_sub(first);
        let size = |(part, content): (&PartitionSpec, &u64)| {
            let align = part.alignment();
            let up = |size: u64| size.checked_next_multiple_of(align).unwrap_or(u64::MAX);
            match part.size {
                PartitionSize::Auto => up(*content),
                PartitionSize::Fixed(size) => up(size.0),
                PartitionSize::Share(percent) => percent.of(room) / align * align,
                PartitionSize::Rest => 0,
            }
        };
        self.partitions.iter().zip(contents).map(size).collect()
    }

    /// Returns the regions of partitions of these sizes, and the end of the last.
    fn line_up(&self, sizes: &[u64]) -> (Vec<Region>, u64) {
        let mut at = FIRST;
        let mut regions = Vec::with_capacity(sizes.len());
        for (index, (part, size)) in self.partitions.iter().zip(sizes).enumerate() {
            let from = if self.is_logical(index) { at.saturating_add(LOGICAL_TABLE) } else { at };
            let offset = from.checked_next_multiple_of(part.alignment()).unwrap_or(u64::MAX);
            regions.push(Region { offset, size: *size });
            at = offset.saturating_add(*size);
        }
        (regions, at)
    }
}
