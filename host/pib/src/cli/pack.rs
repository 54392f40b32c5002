//! `pib package`

use std::path::PathBuf;

use clap::Args;

use super::output::print_as;
use crate::ops::pack::{PackedStage, pack};
use crate::ops::{Error, Session};

/// Make the archive of a stage, as a registry has it
#[derive(Debug, Args)]
pub(super) struct Package {
    /// The stage's folder
    #[arg(default_value = ".")]
    stage: PathBuf,
    /// Write the archive to this folder
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Write nothing; list the files that the archive has
    #[arg(short, long)]
    list: bool,
}

pub(super) fn run(session: &Session, json: bool, args: Package) -> Result<(), Error> {
    let output = Some(args.output.as_path()).filter(|_| !args.list);
    print_as(json, &pack(session, &args.stage, output)?, PackedStage::to_text)
}
