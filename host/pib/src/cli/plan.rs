//! `pib plan`

use std::path::PathBuf;

use clap::Args;

use super::{LockArgs, print, print_as};
use crate::ops::{self, Error, Session};

/// Show the stages in the order in which they are built
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Print the assembled Dockerfile
    #[arg(long, conflicts_with = "context")]
    dockerfile: bool,
    /// Write a folder that a plain `docker build DIR` accepts
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Plan) -> Result<(), Error> {
    if let Some(folder) = &args.context {
        let written = ops::plan::write_context(session, args.lock.mode(), folder).await?;
        return print_as(json, &written, ops::plan::WrittenContext::to_text);
    }
    let plan = ops::plan::plan(session, args.lock.mode()).await?;
    if args.dockerfile {
        print(plan.dockerfile)
    } else {
        print_as(json, &plan, ops::plan::PlanSummary::to_text)
    }
}
