//! `pib lock`

use clap::Args;

use super::options::LockArgs;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Choose one version of each stage and write pib.lock
#[derive(Debug, Args)]
pub(super) struct Lock {
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Lock) -> Result<(), Error> {
    let summary = ops::lock::lock(session, args.lock.mode()).await?;
    print_as(json, &summary, ops::lock::LockSummary::to_text)
}
