//! `pib build`

use std::path::PathBuf;

use clap::Args;
use pib_event::ReporterExt as _;

use super::completer;
use super::output::print_as;
use super::stages::StageArgs;
use crate::ops::report_page;
use crate::ops::targets::{Outcomes, Which};
use crate::ops::{self, Error, NoCache, Session, StageOptions};

/// Build the image
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Build the stages up to this one, and no image
    #[arg(long, value_name = "STAGE", add = completer::listed_stage())]
    until: Option<String>,
    /// Build every stage again, or this one and those after it, whatever the engine has cached
    #[arg(long, value_name = "STAGE", num_args = 0..=1, default_missing_value = "")]
    no_cache: Option<String>,
    /// Build everything twice with nothing cached, and fail if the two differ; with --target, of that one target
    #[arg(long, conflicts_with_all = ["until", "no_cache", "all"])]
    check: bool,
    /// Build these targets of the project instead of the project itself
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', conflicts_with = "all", add = completer::target())]
    target: Vec<String>,
    /// Build all targets of the project
    #[arg(long)]
    all: bool,
    /// Fail where parts may fetch what is not recorded
    #[arg(long)]
    strict: bool,
    /// Write a page of HTML that shows what is in the image, to FILE or beside the image
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["until", "check", "all", "target"])]
    report: Option<Option<PathBuf>>,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Build) -> Result<(), Error> {
    let no_cache = match args.no_cache {
        None => NoCache::Nothing,
        Some(stage) if stage.is_empty() => NoCache::All,
        Some(stage) => NoCache::From(stage),
    };
    let options = StageOptions { no_cache, strict: args.strict, ..args.stages.options(args.until) };
    if args.check {
        let session = match &*args.target {
            [] => session.clone(),
            [one] => session.for_target(Some(one)),
            _ => {
                return Err(Error::usage(
                    "--check takes one target at a time",
                    "Check them one after the other.",
                ));
            }
        };
        let built = ops::build::check(&session, &options).await?;
        return print_as(json, &built, ops::build::BuildOutcome::to_text);
    }
    let which = match (args.all, args.target) {
        (true, _) => Some(Which::All),
        (false, names) if !names.is_empty() => Some(Which::Named(names)),
        _ => None,
    };
    if let Some(which) = which {
        let outcomes = ops::targets::build(session, &options, &which).await?;
        print_as(json, &outcomes, Outcomes::to_text)?;
        return outcomes.into_result();
    }
    if let Some(file) = args.report {
        let (built, page) = report_page::build_with_report(session, &options, file.as_deref()).await?;
        session.reporter.note(format!("The report is {}", session.show(&page).display()));
        return print_as(json, &built, ops::build::BuildOutcome::to_text);
    }
    let built = ops::build::build(session, &options).await?;
    print_as(json, &built, ops::build::BuildOutcome::to_text)
}
