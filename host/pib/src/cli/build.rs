//! `pib build`

use clap::Args;

use super::print_as;
use super::stages::StageArgs;
use crate::ops::{self, Error, NoCache, Session, StageOptions};

/// Build the image
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Build the stages up to this one, and no image
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Build every stage anew, or this one and those after it, whatever the engine has cached
    #[arg(long, value_name = "STAGE", num_args = 0..=1, default_missing_value = "")]
    no_cache: Option<String>,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Build) -> Result<(), Error> {
    let no_cache = match args.no_cache {
        None => NoCache::Nothing,
        Some(stage) if stage.is_empty() => NoCache::All,
        Some(stage) => NoCache::From(stage),
    };
    let options = StageOptions { no_cache, ..args.stages.options(args.until) };
    let built = ops::build::build(session, &options).await?;
    print_as(json, &built, ops::build::Built::to_text)
}
