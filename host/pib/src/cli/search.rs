//! `pib search`

use clap::Args;

use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Look for stages by words of their name or description
#[derive(Debug, Args)]
pub(super) struct Search {
    /// What to look for; every stage where nothing is given
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

pub(super) async fn run(session: &Session, json: bool, args: Search) -> Result<(), Error> {
    let found = ops::browse::search(session, &args.words).await?;
    print_as(json, &found, |found| super::text::found_text(found))
}
