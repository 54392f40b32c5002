//! `pib remove`

use clap::Args;

use super::print_as;
use crate::ops::{self, Error, Session};

/// Remove stages from the project
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The stages
    #[arg(required = true)]
    stages: Vec<String>,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Remove) -> Result<(), Error> {
    let removed = ops::add::remove(session, &args.stages, args.offline).await?;
    print_as(json, &removed, ops::add::Removed::to_text)
}
