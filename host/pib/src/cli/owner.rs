//! `pib owner`

use clap::{Args, Subcommand};
use pib_plan::id::StageName;

use super::completer;
use super::output::print_as;
use crate::ops::stage_owners::{ChangedOwner, StageOwners, change_owner, owners};
use crate::ops::{Error, Session};

/// Show and change who may publish versions of a stage
///
/// A registry that has a server keeps the owners of each stage: who publishes it first is the first of them. Owners are the names that
/// tokens have. A stage without owners takes versions from everybody whose token allows it.
#[derive(Debug, Args)]
pub(super) struct Owner {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    /// Make somebody an owner of a stage
    Add(Change),
    /// Remove an owner of a stage
    Remove(Change),
}

/// Show the owners of a stage
#[derive(Debug, Args)]
struct List {
    /// The stage
    stage: StageName,
    #[command(flatten)]
    registry: RegistryOption,
}

// What it does, the commands say.
#[derive(Debug, Args)]
struct Change {
    /// The stage
    stage: StageName,
    /// The name that the person's token has
    owner: String,
    #[command(flatten)]
    registry: RegistryOption,
}

#[derive(Debug, Args)]
struct RegistryOption {
    /// The registry: the address of its server, or the name of one of the project's or yours
    #[arg(long, value_name = "URL|NAME", add = completer::registry())]
    registry: String,
}

pub(super) async fn run(session: &Session, json: bool, args: Owner) -> Result<(), Error> {
    let (args, owns) = match args.command {
        Command::List(List { stage, registry }) => {
            let found = owners(session, &stage, &registry.registry).await?;
            return print_as(json, &found, StageOwners::to_text);
        }
        Command::Add(args) => (args, true),
        Command::Remove(args) => (args, false),
    };
    let changed = change_owner(session, &args.stage, &args.owner, owns, &args.registry.registry).await?;
    print_as(json, &changed, ChangedOwner::to_text)
}
