//! `pib run`

use clap::Args;

use super::TargetArg;
use super::stages::StageArgs;
use super::tty::Console;
use crate::ops::{self, Error, Session, StageOptions};

/// Run a command in the system, after its last stage or any other
#[derive(Debug, Args)]
pub(super) struct Run {
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
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn run(session: &Session, args: Run) -> Result<u8, Error> {
    let session = &args.target.session(session);
    in_place(session, args.stages.options(args.at), args.command, args.mount).await
}

/// Builds what is missing, and hands the terminal to a command, or to a shell where there is none.
pub(super) async fn in_place(
    session: &Session,
    stages: StageOptions,
    command: Vec<String>,
    mounts: Vec<String>,
) -> Result<u8, Error> {
    let mut console = Console::new();
    let options = ops::run::RunOptions { stages, command, mounts, terminal: console.is_terminal() };
    let place = ops::run::prepare(session, &options).await?;
    place.run(console.open()?).await
}
