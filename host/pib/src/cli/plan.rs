//! `pib plan`

use std::path::PathBuf;

use clap::Args;

use super::options::TargetArg;
use super::output::{print_as, print_shown};
use super::stages::StageArgs;
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
    /// Tell why one of two stages is built before the other
    #[arg(long, num_args = 2, value_names = ["STAGE", "STAGE"], conflicts_with_all = ["dockerfile", "context"])]
    why: Option<Vec<String>>,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Plan) -> Result<(), Error> {
    let session = &args.target.session(session);
    let options = args.stages.options(None);
    if let Some(folder) = &args.context {
        let written = ops::plan::write_context(session, &options, folder).await?;
        return print_as(json, &written, ops::plan::WrittenContext::to_text);
    }
    if let Some([one, other]) = args.why.as_deref() {
        let reason = ops::plan::why(session, options.lock, [one, other]).await?;
        return print_as(json, &reason, ops::plan::OrderReason::to_text);
    }
    let plan = ops::plan::plan(session, &options).await?;
    if args.dockerfile {
        print_shown(session, &plan.dockerfile)
    } else {
        print_as(json, &plan, ops::plan::PlanSummary::to_text)
    }
}
