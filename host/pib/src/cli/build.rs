//! `pib build`

use clap::Args;

use super::{LockArgs, print_as};
use crate::ops::{self, Error, Session};

/// Build the image
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Build every stage anew, whatever the engine has cached
    #[arg(long)]
    no_cache: bool,
    /// Emulate everything: no native program stands in for the target's
    #[arg(long)]
    no_native: bool,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Build) -> Result<(), Error> {
    let options = ops::build::BuildOptions {
        no_cache: args.no_cache,
        no_native: args.no_native,
        lock: args.lock.mode(),
    };
    let report = ops::build::build(session, &options).await?;
    print_as(json, &report, ops::build::BuildReport::to_text)
}
