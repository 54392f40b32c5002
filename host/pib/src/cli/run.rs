//! `pib run`

use clap::Args;

use super::completer;
use super::options::TargetArg;
use super::stages::StageArgs;
use super::tty::Console;
use crate::ops::{self, Error, Session};

/// Run a command in the system, after its last stage or any other
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    place: PlaceArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn run(session: &Session, args: Run) -> Result<u8, Error> {
    args.place.hand_over(session, args.command).await
}

/// Where in the system something runs, and what it sees of this machine.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// The stage after which; the last one otherwise
    #[arg(long, value_name = "STAGE", add = completer::listed_stage())]
    at: Option<String>,
    /// Mount a file or folder of this machine; with :ro it cannot be changed
    #[arg(long, value_name = "SOURCE:TARGET[:ro]")]
    mount: Vec<String>,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

impl PlaceArgs {
    /// Builds what is missing, and hands the terminal to a command, or to a shell where there is none.
    pub(super) async fn hand_over(self, session: &Session, command: Vec<String>) -> Result<u8, Error> {
        let session = &self.target.session(session);
        let (stages, mut console) = (self.stages.options(self.at), Console::new());
        let options =
            ops::run::RunOptions { stages, command, mounts: self.mount, terminal: console.is_terminal() };
        let place = ops::run::prepare(session, &options).await?;
        place.run(console.open()?).await
    }
}
