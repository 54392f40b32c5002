//! What the repositories of a project are reached with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use pib_plan::index::GitReference;

use super::permission::{Permission, Permitted};
use crate::source::stage_cache::StageCache;
use pib_event::{Reporter, Silent};
use pib_net::Http;

/// What the user's environment says about git, and what this run of the program has fetched.
#[derive(Clone)]
pub struct GitOptions {
    /// The command that stands for ssh, where the user has set one.
    pub(super) ssh: Option<String>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) fetched: Fetched,
    pub(super) permitted: Permitted,
}

impl GitOptions {
    /// Returns the options of a run whose user has perhaps set a command that stands for ssh; `reporter` takes
    /// how far transfers are.
    pub fn new(ssh: Option<String>, reporter: Arc<dyn Reporter>) -> Self {
        Self { ssh, reporter, fetched: Fetched::default(), permitted: None }
    }

    /// Sets who is asked whether repositories may be reached with what is the user's.
    #[must_use]
    pub fn permitted_by(self, permission: Arc<dyn Permission>) -> Self {
        Self { permitted: Some(permission), ..self }
    }
}

impl Default for GitOptions {
    fn default() -> Self {
        Self::new(None, Arc::new(Silent))
    }
}

impl fmt::Debug for GitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitOptions").field("ssh", &self.ssh).finish_non_exhaustive()
    }
}

/// What references stood for when this run fetched them: it asks each only once, and so gets one answer.
pub(super) type Fetched = Arc<Mutex<BTreeMap<(String, GitReference), String>>>;

/// The git repositories of a project.
pub(in crate::source) struct Git {
    pub(in crate::source) root: PathBuf,
    pub(in crate::source) stages: StageCache,
    pub(in crate::source) offline: bool,
    pub(in crate::source) options: GitOptions,
    pub(in crate::source) http: Arc<OnceLock<Http>>,
}
