//! `pib shell`

use clap::Args;

use super::TargetArg;
use super::run::in_place;
use super::stages::StageArgs;
use crate::ops::{Error, Session};

/// Open a shell in the system, after its last stage or any other
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// The stage after which; the last one otherwise
    #[arg(long, value_name = "STAGE")]
    at: Option<String>,
    /// Mount a file or folder of this machine; with :ro it cannot be changed
    #[arg(long, value_name = "SOURCE:TARGET[:ro]")]
    mount: Vec<String>,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, args: Shell) -> Result<u8, Error> {
    let session = &args.target.session(session);
    in_place(session, args.stages.options(args.at), Vec::new(), args.mount).await
}
