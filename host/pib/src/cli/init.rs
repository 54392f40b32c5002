//! `pib init`

use clap::Args;

use super::new::What;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Start a project in the folder that you are in
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    what: What,
}

pub(super) fn run(session: &Session, json: bool, args: Init) -> Result<(), Error> {
    let here = session.project.clone().unwrap_or_else(|| ".".into());
    let made = ops::new::new(session, &args.what.options(here))?;
    print_as(json, &made, |made| format!("Created pib.toml for {} ({})", made.board, made.arch))
}
