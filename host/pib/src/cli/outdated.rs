//! `pib outdated`

use clap::Args;

use super::{TargetArg, print_as};
use crate::ops::{self, Error, Session};

/// Show the stages that have a newer version than the locked one
#[derive(Debug, Args)]
pub(super) struct Outdated {
    /// Use no network
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    target: TargetArg,
}

pub(super) async fn run(session: &Session, json: bool, args: Outdated) -> Result<(), Error> {
    let session = &args.target.session(session);
    let list = ops::browse::outdated(session, args.offline).await?;
    print_as(json, &list, |list| ops::browse::outdated_text(list))
}
