//! The table of disk regions: which partitions an image has, and where each begins and ends.
//!
//! | module | what it does |
//! |---|---|
//! | `partition` | what is asked for: partitions, their sizes, the whole layout |
//! | `soundness` | what keeps a layout from being written or mounted |
//! | `placement` | where each partition begins and ends |
//! | `disk_file` | reads the disk files of pi-builder |
//! | `slots` | boot partition and root twice, which updates alternate between |

mod disk_file;
mod partition;
mod placement;
mod slots;
mod soundness;
#[cfg(test)]
mod tests;

pub use disk_file::{DiskFile, DiskFileError};
pub use partition::{
    Ext4Writer, Filesystem, Layout, LayoutError, PartitionSize, PartitionSpec, PartitionTable, Percent, Slot,
};
pub use placement::{ALIGNMENT, GPT_SECTORS, LOGICAL_TABLE, Placement, Region, SECTOR};
pub use soundness::MAX_PARTITIONS;
