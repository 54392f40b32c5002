//! `pib fetch`

use clap::Args;

use super::options::LockArgs;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Fetch all stages into the cache, for builds without network
#[derive(Debug, Args)]
pub(super) struct Fetch {
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Fetch) -> Result<(), Error> {
    let summary = ops::fetch::fetch(session, args.lock.mode()).await?;
    print_as(json, &summary, ops::fetch::FetchSummary::to_text)
}
