//! `pib add`

use clap::Args;

use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Add stages to the project, or change how they are configured
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Stages, as NAME or NAME@REQUIREMENT
    #[arg(required_unless_present_any = ["path", "git", "config"])]
    stages: Vec<String>,
    /// Add the stage in this folder; with --git, the folder inside the repository
    #[arg(long, value_name = "DIR", conflicts_with_all = ["registry"])]
    path: Option<String>,
    /// Add the stage of this git repository: https://, ssh://, USER@HOST:PATH, or a folder
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// Take this tag of the repository
    #[arg(long, requires = "git", conflicts_with_all = ["branch", "rev"])]
    tag: Option<String>,
    /// Take the tip of this branch of the repository
    #[arg(long, requires = "git", conflicts_with = "rev")]
    branch: Option<String>,
    /// Take this commit of the repository
    #[arg(long, requires = "git", value_name = "COMMIT")]
    rev: Option<String>,
    /// Take the stages from this registry of the project
    #[arg(long, conflicts_with = "git")]
    registry: Option<String>,
    /// Set a config key: STAGE.KEY=VALUE; lists are separated by commas. For a secret, say where
    /// it comes from: env:NAME, file:PATH or command:PROGRAM ARGUMENT...
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    config: Vec<String>,
    /// Add them to this target of the project, and to nothing else
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Add) -> Result<(), Error> {
    let reference = match (args.tag, args.branch, args.rev) {
        (Some(tag), ..) => ops::add::GitReference::Tag(tag),
        (_, Some(branch), _) => ops::add::GitReference::Branch(branch),
        (_, _, Some(rev)) => ops::add::GitReference::Rev(rev),
        _ => ops::add::GitReference::Default,
    };
    let options = ops::add::AddOptions {
        stages: args.stages,
        path: args.path,
        git: args.git.map(|url| (url, reference)),
        registry: args.registry,
        config: args.config,
        target: args.target,
        dry_run: args.dry_run,
        offline: args.offline,
    };
    let added = ops::add::add(session, &options).await?;
    print_as(json, &added, ops::add::Added::to_text)
}
