//! `pib binfmt`

use clap::Args;

use super::print_as;
use crate::ops::{self, Error};

/// Register the emulators for ARM programs with the kernel (needs root)
#[derive(Debug, Args)]
pub(super) struct Binfmt {
    /// Only show what is registered
    #[arg(long, conflicts_with = "replace")]
    status: bool,
    /// Replace handlers that somebody else registered
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(json: bool, args: &Binfmt) -> Result<(), Error> {
    let report = ops::binfmt::binfmt(args.status, args.replace)?;
    print_as(json, &report, ops::binfmt::BinfmtReport::to_text)
}
