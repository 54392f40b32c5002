//! `pib publish`

use std::path::PathBuf;

use clap::Args;

use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Pack stages and add them to a registry's folder
#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The stages' folders
    #[arg(required = true)]
    stages: Vec<PathBuf>,
    /// The registry's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// Publish nothing; fail where a folder is not published or differs from what is
    #[arg(long)]
    check: bool,
}

pub(super) fn run(session: &Session, json: bool, args: Publish) -> Result<(), Error> {
    let published = ops::publish::publish(session, &args.stages, &args.index, args.check)?;
    print_as(json, &published, ops::publish::Published::to_text)
}
