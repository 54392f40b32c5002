//! Why a stage could not be had from its repository.

use super::GitError;
use super::address::Address;
use crate::source::SourceError;

/// Why a stage could not be had from its repository.
pub(super) enum Fault {
    /// The copy in the cache is damaged.
    Damaged { address: Address, source: git2::Error },
    /// Anything else.
    Source(Box<SourceError>),
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self::Source(Box::new(error))
    }
}

impl From<GitError> for Fault {
    fn from(error: GitError) -> Self {
        SourceError::from(error).into()
    }
}
