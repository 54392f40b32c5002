//! `pib test`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pib_plan::size::ByteSize;

use super::completer;
use super::output::print_as;
use super::stages::StageArgs;
use crate::ops::targets::Which;
use crate::ops::test::{self, TestOptions, TestReports};
use crate::ops::{Error, LockMode, Session, StageOptions};

/// Start the image in QEMU and run the tests of its stages in it
#[derive(Debug, Args)]
pub(super) struct Test {
    /// A copy of the image; the project's own in `target/` if none is named
    #[arg(value_name = "IMAGE", conflicts_with_all = ["target", "all"])]
    image: Option<PathBuf>,
    /// Test these targets of the project instead of the project itself, side by side
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', conflicts_with = "all", add = completer::target())]
    target: Vec<String>,
    /// Test all targets of the project
    #[arg(long)]
    all: bool,
    /// Run only the tests of this stage
    #[arg(long, value_name = "STAGE")]
    filter: Option<String>,
    /// Also write the results to this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Seconds that the system may take to come up
    #[arg(long, value_name = "SECONDS", default_value = "900", value_parser = clap::value_parser!(u32).range(1..=86400))]
    timeout: u32,
    /// The card's size, e.g. 32GiB; that of the image otherwise
    #[arg(long, value_name = "SIZE")]
    card: Option<ByteSize>,
    #[command(flatten)]
    stages: StageArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Test) -> Result<(), Error> {
    let options = args.stages.options(None);
    // The image is compared with the lock.
    let lock = LockMode { locked: true, ..options.lock };
    let options = TestOptions {
        image: args.image,
        filter: args.filter,
        junit: args.junit,
        timeout: Duration::from_secs(args.timeout.into()),
        card: args.card.map(|size| size.0),
        stages: StageOptions { lock, ..options },
    };
    let which = match (args.all, args.target) {
        (true, _) => Some(Which::All),
        (false, names) if !names.is_empty() => Some(Which::Named(names)),
        _ => None,
    };
    let reports = test::test(session, &options, which.as_ref()).await?;
    if json || reports.tell_more() {
        print_as(json, &reports, TestReports::to_text)?;
    }
    reports.into_result()
}
