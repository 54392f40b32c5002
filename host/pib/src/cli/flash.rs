//! `pib flash`

use std::path::PathBuf;

use clap::Args;
use pib_plan::id::Digest;

use super::options::TargetArg;
use super::output::{Question, confirmed, print, print_as};
use crate::ops::card_settings;
use crate::ops::devices::{self, DiskDevice};
use crate::ops::flash::{self, FlashReport, FlashRequest};
use crate::ops::{Error, Session};

/// Write an image to a card, and read it back
///
/// Without a device, it lists the cards and removable disks of this machine. Devices that are mounted, hold the running
/// system, or belong to swap, a RAID, LVM or an encrypted volume are refused. Interrupted, it leaves a card that does not
/// boot, and the same command goes on where it was.
#[derive(Debug, Args)]
pub(super) struct Flash {
    /// The image (plain, xz, zstd or gzip), a file or an address; the project's last build if none is named
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// The card or disk, e.g. /dev/sdb; all that is on it will be lost
    #[arg(value_name = "DEVICE")]
    device: Option<PathBuf>,
    /// Ask nothing: the device that is named is the one
    #[arg(short, long)]
    yes: bool,
    /// Also write a disk that is built into this machine
    #[arg(long)]
    fixed: bool,
    /// Read the device, and write only what differs
    #[arg(long)]
    delta: bool,
    /// Do not read back what was written
    #[arg(long)]
    no_verify: bool,
    /// Write all blocks, also where a block map beside the image says which are used
    #[arg(long)]
    no_bmap: bool,
    /// The digest that the image's file must have; an address needs it
    #[arg(long, value_name = "sha256:HEX")]
    digest: Option<Digest>,
    /// Set something on this card alone: KEY=VALUE, KEY=@FILE, or KEY=- for standard input; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A file with such settings, a line `KEY = VALUE` for each; may be repeated
    #[arg(long, value_name = "FILE")]
    settings: Vec<PathBuf>,
    #[command(flatten)]
    target: TargetArg,
}

pub(super) async fn run(session: &Session, json: bool, args: Flash) -> Result<(), Error> {
    let session = &args.target.session(session);
    let (image, device) = match (args.image, args.device) {
        // One name alone is the device, where it is one.
        (Some(one), None) if one.starts_with("/dev/") => (None, Some(PathBuf::from(one))),
        names => names,
    };
    let Some(device) = device else {
        let found = devices::candidates(session)?;
        return print_as(json, &found, |found| list(found));
    };
    let request = FlashRequest {
        image,
        device,
        digest: args.digest,
        delta: args.delta,
        verify: !args.no_verify,
        use_map: !args.no_bmap,
        fixed: args.fixed,
        settings: card_settings::read(session, &args.settings, &args.set)?,
    };
    let ready = flash::prepare(session, request).await?;
    if !args.yes {
        let question = Question {
            about: &ready.to_text(session),
            text: "Overwrite it?",
            unasked: "there is nobody to ask whether the device is to be overwritten",
            help: "Look with `pib flash`, and give --yes with the device where it is to be so.",
        };
        if !confirmed(json, question).await? {
            return print("Nothing was written");
        }
    }
    print_as(json, &ready.write(session).await?, FlashReport::to_text)
}

/// Returns the candidates for people: a line each.
fn list(found: &[DiskDevice]) -> String {
    if found.is_empty() {
        return "There is no card or removable disk that an image can be written to. Plug one in.".to_owned();
    }
    let lines: Vec<String> = found.iter().map(DiskDevice::to_text).collect();
    format!("{}\nWrite to one with `pib flash [IMAGE] DEVICE`.", lines.join("\n"))
}
