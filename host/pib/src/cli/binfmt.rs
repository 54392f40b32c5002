//! `pib binfmt`

use clap::{Args, Subcommand};

use super::output::print_as;
use crate::ops::binfmt::{BinfmtAction, BinfmtReport};
use crate::ops::{self, Error, Session};

/// Register the emulators for ARM programs where the engine runs
///
/// On this machine that needs root. On another one, and in a virtual machine, it is done by a container that may mount.
#[derive(Debug, Args)]
pub(super) struct Binfmt {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register what is missing (what happens without a word, too)
    Install {
        /// Replace handlers that somebody else registered
        #[arg(long)]
        force: bool,
    },
    /// Show what is registered
    Status,
    /// Take away what pib registered
    Remove {
        /// Take away handlers that somebody else registered, too
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(session: &Session, json: bool, args: Binfmt) -> Result<(), Error> {
    let action = match args.command {
        None => BinfmtAction::Install { force: false },
        Some(Command::Install { force }) => BinfmtAction::Install { force },
        Some(Command::Status) => BinfmtAction::Status,
        Some(Command::Remove { force }) => BinfmtAction::Remove { force },
    };
    print_as(json, &ops::binfmt::binfmt(session, action).await?, BinfmtReport::to_text)
}
