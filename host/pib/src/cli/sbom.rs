//! `pib sbom`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::TargetArg;
use super::output::print_document;
use super::stages::StageArgs;
use crate::ops::sbom::{self, BillFormat, SbomOptions};
use crate::ops::{Error, Session};

/// Write an image's bill of materials to standard output
#[derive(Debug, Args)]
pub(super) struct Sbom {
    /// The image, also a compressed one; the project's own in `target/` if none is named
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// The form of the document
    #[arg(long, value_enum, default_value = "spdx")]
    format: Form,
    #[command(flatten)]
    target: TargetArg,
    #[command(flatten)]
    stages: StageArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// SPDX 2.3 as JSON
    Spdx,
    /// CycloneDX 1.6 as JSON
    Cyclonedx,
}

pub(super) async fn run(session: &Session, args: Sbom) -> Result<(), Error> {
    let format = match args.format {
        Form::Spdx => BillFormat::Spdx,
        Form::Cyclonedx => BillFormat::CycloneDx,
    };
    let options = SbomOptions { image: args.image, format, stages: args.stages.options(None) };
    print_document(sbom::sbom(&args.target.session(session), &options).await?)
}
