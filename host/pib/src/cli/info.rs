//! `pib info`

use clap::Args;

use super::completer;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Show the versions, support, dependencies and config of a stage
#[derive(Debug, Args)]
pub(super) struct Info {
    /// The stage
    #[arg(add = completer::stage())]
    stage: String,
    /// The registry, by its name in pib.toml; the bundled one otherwise
    #[arg(long, value_name = "NAME", add = completer::registry())]
    registry: Option<String>,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Info) -> Result<(), Error> {
    let info = ops::browse::info(session, &args.stage, args.registry.as_deref(), args.offline).await?;
    print_as(json, &info, ops::browse::Info::to_text)
}
