//! `pib registry`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::print_as;
use crate::ops::registry_admin::{self, MadeRegistry, NewIndex, WholeRegistry};
use crate::ops::{Error, Session};

/// Make a registry of your own, and look after it
#[derive(Debug, Args)]
pub(super) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Init),
    Index(Index),
    Verify(Verify),
}

/// Make a folder a registry without stages
#[derive(Debug, Args)]
struct Init {
    /// The folder
    folder: PathBuf,
}

/// Write the index anew from the archives; what was yanked stays so
#[derive(Debug, Args)]
struct Index {
    /// The registry's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Check that every line of the index has its archive, and says what the archive says
#[derive(Debug, Args)]
struct Verify {
    /// The registry's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) async fn run(session: &Session, json: bool, args: Registry) -> Result<(), Error> {
    match args.command {
        Command::Init(args) => {
            print_as(json, &registry_admin::init(session, &args.folder)?, MadeRegistry::to_text)
        }
        Command::Index(args) => {
            print_as(json, &registry_admin::index(session, &args.folder)?, NewIndex::to_text)
        }
        Command::Verify(args) => {
            print_as(json, &registry_admin::verify(session, &args.folder).await?, WholeRegistry::to_text)
        }
    }
}
