//! `pib tree`

use clap::Args;

use super::options::{LockArgs, TargetArg};
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Show which stage depends on which
#[derive(Debug, Args)]
pub(super) struct Tree {
    /// Show below each stage those that need it
    #[arg(long)]
    invert: bool,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Tree) -> Result<(), Error> {
    let session = &args.target.session(session);
    let tree = ops::tree::tree(session, args.lock.mode(), args.invert).await?;
    print_as(json, &tree, ops::tree::Tree::to_text)
}
