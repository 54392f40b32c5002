//! `pib shell`

use clap::Args;

use super::run::PlaceArgs;
use crate::ops::{Error, Session};

/// Open a shell in the system, after its last stage or any other
#[derive(Debug, Args)]
pub(super) struct Shell {
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(session: &Session, args: Shell) -> Result<u8, Error> {
    args.place.hand_over(session, Vec::new()).await
}
