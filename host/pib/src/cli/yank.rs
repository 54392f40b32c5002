//! `pib yank`

use clap::Args;
use pib_plan::id::StageName;
use semver::Version;

use super::completer;
use super::output::print_as;
use crate::ops::yank::{YankOptions, Yanked, yank};
use crate::ops::{Error, Session};

/// Hide a published version from new resolutions
///
/// Locks that hold the version still work, and its archive stays.
#[derive(Debug, Args)]
pub(super) struct Yank {
    /// The version to hide
    #[arg(value_name = "STAGE@VERSION", value_parser = version)]
    version: (StageName, Version),
    /// The registry: a folder, an address, or the name of one of the project's or yours
    #[arg(long, value_name = "DIR|URL|NAME", add = completer::registry())]
    registry: String,
    /// Show it again
    #[arg(long, conflicts_with = "reason")]
    undo: bool,
    /// Why, for those who ask for it: one line
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The file of the registry's key, where it is signed
    #[arg(long, value_name = "FILE")]
    key: Option<std::path::PathBuf>,
}

/// Reads `STAGE@VERSION`.
fn version(text: &str) -> Result<(StageName, Version), String> {
    let (name, version) = text.split_once('@').ok_or("name the version, too: STAGE@VERSION")?;
    let name = name.parse().map_err(|error| format!("`{name}` is not the name of a stage: {error}"))?;
    let version = version.parse().map_err(|error| format!("`{version}` is not a version: {error}"))?;
    Ok((name, version))
}

pub(super) async fn run(session: &Session, json: bool, args: Yank) -> Result<(), Error> {
    let Yank { version: (stage, version), registry, undo, reason, key } = args;
    let yanked = yank(session, &YankOptions { stage, version, registry, undo, reason, key }).await?;
    print_as(json, &yanked, Yanked::to_text)
}
