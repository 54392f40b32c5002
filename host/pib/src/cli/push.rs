//! `pib push`

use clap::Args;

use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Put what builds are made of into a store, for other machines
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The store's name, a folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY; the only store where none is named
    #[arg(value_name = "STORE")]
    store: Option<String>,
}

pub(super) async fn run(session: &Session, json: bool, args: Push) -> Result<(), Error> {
    let pushed = ops::push::push(session, args.store.as_deref()).await?;
    print_as(json, &pushed, ops::push::Pushed::to_text)
}
