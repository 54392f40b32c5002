//! What one stage asks of another's place.

use std::fmt;

use crate::id::StageName;

/// "This one comes before that one, because".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The earlier stage.
    pub first: StageName,
    /// The later stage.
    pub second: StageName,
    /// Who asks for it.
    pub reason: Reason,
}

/// Who asks for an order, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The later stage depends on the earlier.
    Dependency,
    /// The later stage names the earlier in its `order.after`.
    After,
    /// The earlier stage names the later in its `order.before`.
    Before,
    /// The project's manifest asks for it in `[order]`.
    Project,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, reason } = self;
        match reason {
            Reason::Dependency => write!(f, "`{second}` depends on `{first}`"),
            Reason::After => write!(f, "`{second}` says that it comes after `{first}`"),
            Reason::Project => write!(f, "pib.toml has `{second}` come after `{first}`"),
            Reason::Before => write!(f, "`{first}` says that it comes before `{second}`"),
        }
    }
}
