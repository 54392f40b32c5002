//! `pib clean`

use clap::Args;

use super::print_as;
use crate::ops::{self, Error, Session};

/// Remove what builds of this project left
#[derive(Debug, Args)]
pub(super) struct Clean {
    /// Remove everything that pib made in the engine: of all projects, bases and native tools too
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Clean) -> Result<(), Error> {
    let report = ops::clean::clean(session, args.all).await?;
    print_as(json, &report, ops::clean::CleanReport::to_text)
}
