//! `pib add`

use clap::Args;

use super::print_as;
use crate::ops::{self, Error, Session};

/// Add stages to the project, or change how they are configured
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Stages, as NAME or NAME@REQUIREMENT
    #[arg(required_unless_present = "path")]
    stages: Vec<String>,
    /// Add the stage in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["registry"])]
    path: Option<String>,
    /// Take the stages from this registry of the project
    #[arg(long)]
    registry: Option<String>,
    /// Set a config key: STAGE.KEY=VALUE; lists are separated by commas, @FILE reads the value from a file
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    config: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Add) -> Result<(), Error> {
    let options = ops::add::AddOptions {
        stages: args.stages,
        path: args.path,
        registry: args.registry,
        config: args.config,
        dry_run: args.dry_run,
        offline: args.offline,
    };
    let added = ops::add::add(session, &options).await?;
    print_as(json, &added, ops::add::Added::to_text)
}
