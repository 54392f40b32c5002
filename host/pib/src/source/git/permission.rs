//! Whether a project may have what its repositories lead to: what the user has for git, and folders of this machine.

use std::error::Error;
use std::sync::Arc;

/// The reason why a project may not have something. The caller that gave the [`Permission`] knows the error's type.
pub type Denied = Box<dyn Error + Send + Sync>;

/// Is asked before a repository is reached with what is the user's, or where it is on this machine.
pub trait Permission: Send + Sync {
    /// Is asked before the user's ssh is started for the repository at `url`, or a password of theirs is sent there, and
    /// before something is used that was fetched in this way earlier.
    ///
    /// # Errors
    /// When the user has not allowed it.
    fn log_in(&self, url: &str) -> Result<(), Denied>;

    /// Is asked before the repository at `url`, which a repository of this machine has as a submodule, is opened.
    ///
    /// # Errors
    /// When it is outside of the project, and the user has not allowed it.
    fn open(&self, url: &str) -> Result<(), Denied>;
}

/// The permission of a run; without one everything that is asked for is the user's own word.
pub(super) type Permitted = Option<Arc<dyn Permission>>;
