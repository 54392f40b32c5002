//! `pib lock`

use clap::Args;

use super::options::{LockArgs, report_missing_bases};
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Choose one version of each stage and write pib.lock
#[derive(Debug, Args)]
pub(super) struct Lock {
    #[command(flatten)]
    lock: LockArgs,
    /// Take the packages that Debian's archive had on a day of the past, or at a moment of it (2026-03-01T12:00:00Z)
    #[arg(long, value_name = "DATE", conflicts_with_all = ["locked", "frozen"])]
    as_of: Option<String>,
}

pub(super) async fn run(session: &Session, json: bool, args: Lock) -> Result<(), Error> {
    let mode = args.lock.mode();
    let summary = ops::lock::lock(session, mode, args.as_of.as_deref()).await?;
    print_as(json, &summary, ops::lock::LockSummary::to_text)?;
    report_missing_bases(session, summary.without_base, mode.offline && !mode.locked)
}
