//! `pib fetch`

use clap::Args;

use super::options::{LockArgs, report_missing_bases};
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Fetch stages, bases and tools, for builds without network
#[derive(Debug, Args)]
pub(super) struct Fetch {
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Fetch) -> Result<(), Error> {
    let mode = args.lock.mode();
    let summary = ops::fetch::fetch(session, mode).await?;
    print_as(json, &summary, ops::fetch::FetchSummary::to_text)?;
    report_missing_bases(session, summary.without_base, mode.offline)
}
