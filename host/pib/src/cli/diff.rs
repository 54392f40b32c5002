//! `pib diff`

use std::path::PathBuf;

use clap::Args;

use super::output::print_as;
use crate::ops::diff::{self, ImageDifference};
use crate::ops::{Error, Session};

/// Say what differs between the systems on two images
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The first image
    #[arg(value_name = "IMAGE")]
    first: PathBuf,
    /// The second image
    #[arg(value_name = "OTHER")]
    second: PathBuf,
    /// List every file that differs
    #[arg(long)]
    files: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Diff) -> Result<(), Error> {
    let difference = diff::diff(session, &args.first, &args.second).await?;
    print_as(json, &difference, |difference: &ImageDifference| difference.to_text(args.files))
}
