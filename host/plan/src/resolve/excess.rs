//! How far the indexes of registries may lead, and the error for one that leads on.

use std::fmt;

use crate::id::StageName;
use crate::index::SourceId;

/// The most stages that one resolution asks for: more than any build has, with all of their versions' needs.
pub const MAX_STAGES: usize = 10_000;
/// The longest chain of stages each of which needs the next.
pub const MAX_DEPTH: usize = 200;
/// The most bytes of indexes that one resolution reads.
pub const MAX_BYTES: u64 = 32 << 20;

/// What a registry has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Stages that lead to others.
    Stages,
    /// Stages in one chain.
    Depth,
    /// Bytes of index files.
    Bytes,
}

/// Says that indexes lead on further than any build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// In what.
    pub measure: Measure,
    /// Where it was found to be too much.
    pub source_id: SourceId,
    /// The way from a stage of the project's to the last one that was met; never empty.
    pub chain: Vec<StageName>,
}

/// How many stages of a long chain are shown at each end.
const ENDS: usize = 3;

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.measure {
            Measure::Stages => format!("the stages lead to more than {MAX_STAGES} others"),
            Measure::Depth => {
                format!("the stages lead to a chain of more than {MAX_DEPTH}, each of which needs the next")
            }
            Measure::Bytes => format!("the stages lead to more than {} MiB of index files", MAX_BYTES >> 20),
        };
        let names: Vec<String> = self.chain.iter().map(|name| format!("`{name}`")).collect();
        let way = match names.len() {
            0..=7 => names.join(" -> "),
            count => {
                let (first, last) = (&names[..ENDS], &names[count - ENDS..]);
                format!("{} -> ({} more) -> {}", first.join(" -> "), count - 2 * ENDS, last.join(" -> "))
            }
        };
        write!(f, "{what}; {} has the last of them: {way}", self.source_id.describe())
    }
}

impl std::error::Error for Excess {}
