//! `pib verify`

use std::path::PathBuf;

use clap::Args;

use super::options::TargetArg;
use super::output::print_as;
use super::stages::StageArgs;
use crate::ops::verify::{self, Verified};
use crate::ops::{Error, LockMode, Session, StageOptions};

/// Say whether an image comes from this project and its lock
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The image; the project's own in `target/` if none is named
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Verify) -> Result<(), Error> {
    let options = args.stages.options(None);
    // The lock is what the image is compared with.
    let lock = LockMode { locked: true, ..options.lock };
    let options = StageOptions { lock, ..options };
    let session = args.target.session(session);
    let verified = verify::verify(&session, &options, args.image.as_deref()).await?;
    print_as(json, &verified, Verified::to_text)
}
