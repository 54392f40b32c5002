//! What all commands take that have stages built.

use clap::Args;

use super::options::LockArgs;
use crate::ops::{NoCache, StageOptions};

/// How stages are built.
#[derive(Debug, Args)]
pub(super) struct StageArgs {
    /// Emulate everything: no native program stands in for the target's
    #[arg(long)]
    no_native: bool,
    /// Give a value to an ARG that a part declares; without VALUE that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Take a secret of a stage from elsewhere than pib.toml says
    #[arg(long, value_name = "id=STAGE.KEY,src=FILE|env=VARIABLE")]
    secret: Vec<String>,
    #[command(flatten)]
    lock: LockArgs,
}

impl StageArgs {
    /// Returns the options, with the last stage that is to be built.
    pub(super) fn options(self, until: Option<String>) -> StageOptions {
        StageOptions {
            until,
            no_cache: NoCache::Nothing,
            no_native: self.no_native,
            build_args: self.build_arg,
            secrets: self.secret,
            trial: None,
            lock: self.lock.mode(),
        }
    }
}
