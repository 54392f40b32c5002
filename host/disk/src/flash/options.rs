//! What is written, and how.

use std::time::Duration;

use pib_plan::id::Digest;

use super::replacement::Replacement;
use crate::bmap::BlockMap;

/// How much is written at once, in bytes.
pub(super) const CHUNK: usize = 4 << 20;
/// How much of the image is written last, in bytes: its partition table, and what older boards boot from.
pub(super) const HEAD: u64 = 1 << 20;
/// The size of the blocks that are compared, in bytes.
pub(super) const BLOCK: usize = 4096;

/// What is written, and how.
#[derive(Debug, Clone, Copy)]
pub struct FlashOptions<'a> {
    /// Which blocks of the image are to be written; all of them without a map.
    pub map: Option<&'a BlockMap>,
    /// The size of the image in bytes, where that is known before it is read.
    pub size: Option<u64>,
    /// What the device gets in the place of some of the image's bytes.
    pub replacement: Option<&'a Replacement>,
    /// The digest that stands for the image, the map and the replacement: what was written of another one does not count.
    pub identity: Digest,
    /// The image's name, for a person who looks at an incomplete card.
    pub name: &'a str,
    /// Whether only what differs from what the device holds is written.
    pub delta: bool,
    /// Whether what was written is read back.
    pub verify: bool,
    /// How much time there is between two moments at which what was written is made safe and marked so.
    pub sync_every: Duration,
}
