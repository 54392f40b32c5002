//! `pib why`

use clap::Args;

use super::{LockArgs, print_as};
use crate::ops::{self, Error, Session};

/// Show who asks for a stage, and why they are in the build
#[derive(Debug, Args)]
pub(super) struct Why {
    /// The stage
    stage: String,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Why) -> Result<(), Error> {
    let why = ops::why::why(session, args.lock.mode(), &args.stage).await?;
    print_as(json, &why, ops::why::Why::to_text)
}
