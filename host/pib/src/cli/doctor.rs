//! `pib doctor`

use clap::Args;

use super::output::print_as;
use crate::ops::doctor::{DoctorReport, doctor};
use crate::ops::{Error, Session};

/// Check what a build needs of this machine, and how to get it
///
/// Exit code 0 where nothing fails (warnings may be there), else 1.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Ask no registry and no mirror
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Doctor) -> Result<(), Error> {
    let report = doctor(session, args.offline).await?;
    print_as(json, &report, DoctorReport::to_text)?;
    report.verdict()
}
