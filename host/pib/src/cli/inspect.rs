//! `pib inspect`

use std::path::PathBuf;

use clap::Args;

use super::completer;
use super::options::TargetArg;
use super::output::print_as;
use crate::ops::inspect::{self, InspectOptions, Inspection};
use crate::ops::{Error, Session};

/// Say what is in an image, and whether it would start
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The image, also a compressed one; the project's own in `target/` if none is named
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Check the boot chain for this board, and fail if it would not start; the project's board if no image is named
    #[arg(long, value_name = "BOARD", add = completer::board())]
    board: Option<String>,
    #[command(flatten)]
    target: TargetArg,
}

pub(super) async fn run(session: &Session, json: bool, args: Inspect) -> Result<(), Error> {
    let session = &args.target.session(session);
    let options = InspectOptions { image: args.image, board: args.board };
    let inspection = inspect::inspect(session, &options).await?;
    print_as(json, &inspection, Inspection::to_text)?;
    if let Some(error) = inspection.system_error {
        return Err(error.into());
    }
    match (&inspection.board, inspection.has_faults()) {
        (Some(board), true) => {
            Err(Error::Unbootable { image: inspection.image.clone(), board: board.clone() })
        }
        _ => Ok(()),
    }
}
