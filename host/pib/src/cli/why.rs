//! `pib why`

use clap::Args;

use super::completer;
use super::options::{LockArgs, TargetArg};
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Show who asks for a stage, and why they are in the build
#[derive(Debug, Args)]
pub(super) struct Why {
    /// The stage
    #[arg(add = completer::listed_stage())]
    stage: String,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Why) -> Result<(), Error> {
    let session = &args.target.session(session);
    let why = ops::why::why(session, args.lock.mode(), &args.stage).await?;
    print_as(json, &why, ops::why::Why::to_text)
}
