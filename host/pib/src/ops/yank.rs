//! Hides a version of a stage from new resolutions, or shows it again. Locks that hold it still work.

use std::path::PathBuf;

use pib_plan::id::StageName;
use semver::Version;
use serde::Serialize;

use super::registry_place;
use crate::project::{Error, Session};
use crate::source::registry_audit;

/// Which version is yanked, and why.
#[derive(Debug, Clone)]
pub struct YankOptions {
    /// The stage.
    pub stage: StageName,
    /// Its version.
    pub version: Version,
    /// The registry: a folder, or the name of one that is in a folder.
    pub registry: String,
    /// Shows it again.
    pub undo: bool,
    /// Why, for those who ask for it.
    pub reason: Option<String>,
}

/// What became of a version.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Yanked {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// Whether new resolutions pass it over now.
    pub yanked: bool,
    /// Whether they did not before, or the reason is another one.
    pub changed: bool,
    /// The registry's folder.
    pub registry: PathBuf,
}

/// Yanks a version, or takes that back.
///
/// # Errors
/// When the registry has no such version or cannot be written.
pub fn yank(session: &Session, options: &YankOptions) -> Result<Yanked, Error> {
    let registry = registry_place::folder(session, &options.registry)?;
    let YankOptions { stage, version, undo, reason, .. } = options;
    let changed = registry_audit::yank(&registry, stage, version, !undo, reason.as_deref())?;
    Ok(Yanked { stage: stage.to_string(), version: version.to_string(), yanked: !undo, changed, registry })
}
