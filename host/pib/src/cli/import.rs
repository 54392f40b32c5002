//! `pib import`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use pib_plan::suggest::count;

use super::output::print_as;
use crate::ops::import::ImportedTree;
use crate::ops::{self, Error, Session};

/// Make a project of a pi-builder tree: write its pib.toml
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The folder with the Makefile: a checkout of pi-builder, or a product that is built on it
    dir: PathBuf,
    /// Only these of its variants become targets [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    target: Vec<String>,
}

pub(super) fn run(session: &Session, json: bool, args: Import) -> Result<(), Error> {
    let imported = ops::import::import(session, &args.dir, args.target)?;
    print_as(json, &imported, text)
}

fn text(imported: &ImportedTree) -> String {
    let mut text = format!(
        "Wrote {} with {} and {}",
        imported.manifest.display(),
        count(imported.stages.len(), "stage"),
        count(imported.targets.len(), "target")
    );
    for file in &imported.files {
        let _ = write!(text, "\nWrote {file}");
    }
    if !imported.secrets.is_empty() {
        let _ = write!(
            text,
            "\n\nThese look like secrets, and their values were not copied. Give each as a config key of type secret, in a \
             stage.toml of the stage that reads it:"
        );
    }
    for secret in &imported.secrets {
        let _ = write!(text, "\n  {secret}");
    }
    if !imported.left_out.is_empty() {
        text.push_str("\n\nNot carried over:");
    }
    for left in &imported.left_out {
        let _ = write!(text, "\n  {}: {}", left.what, left.why);
    }
    text
}
