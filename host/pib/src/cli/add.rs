//! `pib add`

use clap::Args;

use super::output::print_as;
use super::{completer, picker};
use crate::ops::{self, Error, Session};
use crate::ui::one_line;
use pib_event::ReporterExt as _;

/// Add stages to the project, or change how they are configured
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Stages, as NAME or NAME@REQUIREMENT
    /// [default: choose from a list, on a terminal]
    #[arg(add = completer::stage())]
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
    #[arg(long, conflicts_with = "git", add = completer::registry())]
    registry: Option<String>,
    /// Set a config key: STAGE.KEY=VALUE; lists are separated by commas. For a secret, say where
    /// it comes from: env:NAME, file:PATH or command:PROGRAM ARGUMENT...
    #[arg(long, value_name = "STAGE.KEY=VALUE", add = completer::config_key())]
    config: Vec<String>,
    /// Add them to this target of the project, and to nothing else
    #[arg(long, value_name = "NAME", add = completer::target())]
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
    let is_named =
        !args.stages.is_empty() || args.path.is_some() || args.git.is_some() || !args.config.is_empty();
    let stages = match is_named {
        true => args.stages,
        false => chosen(session, json).await?,
    };
    if !is_named && stages.is_empty() {
        session.reporter.note("nothing was added");
        return Ok(());
    }
    let options = ops::add::AddOptions {
        stages,
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

/// Returns the stage that a person chooses from those that can be searched.
///
/// # Errors
/// When there is nobody to choose: the message lists the stages.
async fn chosen(session: &Session, json: bool) -> Result<Vec<String>, Error> {
    let mut found = ops::browse::search(session, &[]).await?;
    // Every build has these.
    found.retain(|stage| !stage.name.starts_with("__"));
    let width = found.iter().map(|stage| stage.name.len()).max().unwrap_or_default();
    let line =
        |stage: &ops::browse::Found| format!("{:width$}  {}", stage.name, one_line(&stage.description));
    let lines: Vec<String> = found.iter().map(line).collect();
    if json || !picker::is_possible() {
        let help =
            format!("Name them: pib add NAME, or NAME@REQUIREMENT. The stages are:\n{}", lines.join("\n"));
        return Err(Error::usage("no stage is named", help));
    }
    let picked = picker::pick("Stage to add", lines).await?;
    Ok(picked.and_then(|at| found.get(at)).map(|stage| stage.name.clone()).into_iter().collect())
}
