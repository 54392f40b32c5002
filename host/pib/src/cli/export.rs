//! `pib export`

use std::path::PathBuf;

use clap::Args;

use super::completer;
use super::options::TargetArg;
use super::output::print_as;
use super::stages::StageArgs;
use crate::ops::{self, Error, Session};

/// Take the root file system out, as it would be in the image
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write a tar file; by default one in target/
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Write a new folder; as another user than root without owners and devices
    #[arg(long, value_name = "DIR", conflicts_with = "tar")]
    dir: Option<PathBuf>,
    /// The stage after which; the last one otherwise
    #[arg(long, value_name = "STAGE", add = completer::listed_stage())]
    at: Option<String>,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Export) -> Result<(), Error> {
    let session = &args.target.session(session);
    let options =
        ops::export::ExportOptions { stages: args.stages.options(args.at), tar: args.tar, dir: args.dir };
    let report = ops::export::export(session, &options).await?;
    print_as(json, &report, ops::export::ExportReport::to_text)
}
