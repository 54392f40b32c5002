//! `pib vendor`

use std::path::PathBuf;

use clap::Args;

use super::options::LockArgs;
use super::output::print_as;
use crate::ops::{self, Error, Session};

/// Put all stages into the project, for builds without a network
#[derive(Debug, Args)]
pub(super) struct Vendor {
    /// The folder inside the project [default: what pib.toml says, else vendor]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Put the packages of bases, and what parts are recorded to fetch, into a store beside it
    #[arg(long)]
    packages: bool,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Vendor) -> Result<(), Error> {
    let options =
        ops::vendor::VendorOptions { folder: args.folder, packages: args.packages, lock: args.lock.mode() };
    let vendored = ops::vendor::vendor(session, &options).await?;
    print_as(json, &vendored, ops::vendor::Vendored::to_text)
}
