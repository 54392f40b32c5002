//! `pib push`

use clap::Args;

use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Put what builds are made of into a store, for other machines
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The store, by its name in pib.toml, or a folder; the project's only folder where none is named
    #[arg(value_name = "STORE|FOLDER")]
    store: Option<String>,
}

pub(super) async fn run(session: &Session, json: bool, args: Push) -> Result<(), Error> {
    let pushed = ops::push::push(session, args.store.as_deref()).await?;
    print_as(json, &pushed, ops::push::Pushed::to_text)
}
