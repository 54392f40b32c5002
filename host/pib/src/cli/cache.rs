//! `pib cache`

use clap::{Args, Subcommand};

use super::output::{print_as, print_document};
use crate::ops::{self, Error, Session};

/// Look after what pib keeps between builds
#[derive(Debug, Args)]
pub(super) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the cache's folder
    Dir,
    /// Show what is in the cache, and how large it is
    List,
    /// Compare everything with its digest and remove what is damaged
    Verify,
    /// Remove what was not used for some time
    Prune {
        /// The days without use after which a thing goes; 0 empties the cache
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// Show how much would go and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(session: &Session, json: bool, args: Cache) -> Result<(), Error> {
    match args.command {
        Command::Dir if json => print_as(json, &session.cache, |_| String::new()),
        Command::Dir => print_document(session.cache.to_string_lossy()),
        Command::List => print_as(json, &ops::cache::list(session), |kinds| super::text::list_text(kinds)),
        Command::Verify => print_as(json, &ops::cache::verify(session).await?, ops::cache::Verified::to_text),
        Command::Prune { days, dry_run } => {
            print_as(json, &ops::cache::prune(session, days, dry_run).await?, ops::cache::Pruned::to_text)
        }
    }
}
