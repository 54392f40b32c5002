//! `pib outdated`

use clap::Args;

use super::completer;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Show the stages that have a newer version than the locked one
#[derive(Debug, Args)]
pub(super) struct Outdated {
    /// Show instead the packages of which mirrors have a newer version than the lock or its recording names
    #[arg(long, conflicts_with = "offline")]
    packages: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
    /// Look only at this target of the project, not at the project and all of them
    #[arg(long, value_name = "NAME", add = completer::target())]
    target: Option<String>,
}

pub(super) async fn run(session: &Session, json: bool, args: Outdated) -> Result<(), Error> {
    let session = &session.for_target(args.target.as_deref());
    let (list, what) = match args.packages {
        true => (ops::newer_packages::outdated_packages(session).await?, "package"),
        false => (ops::browse::outdated(session, args.offline).await?, "stage"),
    };
    print_as(json, &list, |list| super::text::outdated_text(list, what))
}
