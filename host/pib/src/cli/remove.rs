//! `pib remove`

use clap::Args;

use super::completer;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Remove stages from the project
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The stages
    #[arg(required = true, add = completer::listed_stage())]
    stages: Vec<String>,
    /// Remove them from this target of the project only; it leaves out what the project has
    #[arg(long, value_name = "NAME", add = completer::target())]
    target: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Remove) -> Result<(), Error> {
    let Remove { stages, target, dry_run, offline } = args;
    let options = ops::add::RemoveOptions { stages, target, dry_run, offline };
    let removed = ops::add::remove(session, &options).await?;
    print_as(json, &removed, ops::add::Removed::to_text)
}
