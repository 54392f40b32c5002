//! Sorts the stages of a build.

use crate::id::StageName;
use crate::stage::Phase;

/// What decides a stage's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderInput {
    /// The stage.
    pub name: StageName,
    /// Its phase.
    pub phase: Phase,
    /// The stages that it needs: they come before it.
    pub dependencies: Vec<StageName>,
    /// Stages that come before it if they are in the build.
    pub after: Vec<StageName>,
    /// Stages that come after it if they are in the build.
    pub before: Vec<StageName>,
    /// Its position in `pib.toml`; `None` if it is there only because another stage needs it.
    pub listed: Option<usize>,
}
