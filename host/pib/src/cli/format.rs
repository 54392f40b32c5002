//! `pib format`

use std::path::PathBuf;

use clap::Args;

use super::options::TargetArg;
use super::output::{Question, confirmed, print, print_as};
use crate::ops::format::{self, FormatReport};
use crate::ops::{Error, Session};

/// Lay out an empty card by the project's partitions
///
/// The card gets the partition table and the file systems of `[image]`, without any content, and is read back. What follows its
/// content in an image takes the rest of the card: the partition with `grow = true`, else the last of them. The same
/// devices are refused as by `pib flash`.
#[derive(Debug, Args)]
pub(super) struct Format {
    /// The card or disk, e.g. /dev/sdb; all that is on it will be lost
    #[arg(value_name = "DEVICE")]
    device: PathBuf,
    /// Ask nothing: the device that is named is the one
    #[arg(short, long)]
    yes: bool,
    /// Also lay out a disk that is built into this machine
    #[arg(long)]
    fixed: bool,
    #[command(flatten)]
    target: TargetArg,
}

pub(super) async fn run(session: &Session, json: bool, args: Format) -> Result<(), Error> {
    let session = &args.target.session(session);
    let ready = format::prepare(session, &args.device, args.fixed)?;
    if !args.yes {
        let question = Question {
            about: &ready.to_text(),
            text: "Overwrite it?",
            unasked: "there is nobody to ask whether the device is to be overwritten",
            help: "Look with `pib flash`, and give --yes with the device where it is to be so.",
        };
        if !confirmed(json, question).await? {
            return print("Nothing was written");
        }
    }
    print_as(json, &ready.write(session).await?, FormatReport::to_text)
}
