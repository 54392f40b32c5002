//! `pib update`

use clap::Args;

use super::completer;
use super::options::report_missing_bases;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Move pib.lock to newer versions of all stages, or of some
#[derive(Debug, Args)]
pub(super) struct Update {
    /// The stages that may move; all, the base and the packages, where none is named
    #[arg(value_name = "STAGE", add = completer::listed_stage())]
    stages: Vec<String>,
    /// Take the packages of the base that the mirror has now; alone, no stage moves
    #[arg(long, conflicts_with = "precise")]
    base: bool,
    /// Begin a new snapshot of the packages that parts install; alone, no stage moves
    #[arg(long, conflicts_with = "precise")]
    packages: bool,
    /// Move the stage to exactly this version, or a stage from git to this commit
    #[arg(long, value_name = "VERSION", requires = "stages")]
    precise: Option<String>,
    /// Take another content of the stages for a version, or another commit for a tag, that is locked
    #[arg(long, requires = "stages")]
    accept_republished: bool,
    /// Show what would change and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Update) -> Result<(), Error> {
    let Update { stages, base, packages, precise, accept_republished, dry_run, offline } = args;
    let options =
        ops::update::UpdateOptions { stages, base, packages, precise, accept_republished, dry_run, offline };
    let updated = ops::update::update(session, &options).await?;
    print_as(json, &updated, ops::update::Updated::to_text)?;
    report_missing_bases(session, updated.without_base, offline)
}
