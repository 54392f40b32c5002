//! How stages are built.

use pib_plan::manifest::project::ProjectManifest;

use crate::project::LockMode;

/// How stages are built.
#[derive(Debug, Clone, Default)]
pub struct StageOptions {
    /// The last stage to be built; all of them otherwise.
    pub until: Option<String>,
    /// What is built again, whatever the engine has of it.
    pub no_cache: NoCache,
    /// Emulate everything.
    pub no_native: bool,
    /// Values for the `ARG`s that parts declare, as `NAME=VALUE`, or `NAME` for the environment's.
    pub build_args: Vec<String>,
    /// Where secrets come from instead of what `pib.toml` says: `id=ID,src=FILE` or `id=ID,env=VARIABLE`.
    pub secrets: Vec<String>,
    /// What the containers of the build are called, where the engine can: a name that another build does not have.
    pub host_name: Option<String>,
    /// How the lock is treated.
    pub lock: LockMode,
}

/// Which stages are built again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None without need.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// This one and those after it.
    From(String),
}

impl StageOptions {
    /// Returns whether native tools are to stand in for the target's.
    pub(crate) fn wants_native(&self, manifest: &ProjectManifest) -> bool {
        manifest.build.native && !self.no_native
    }
}
