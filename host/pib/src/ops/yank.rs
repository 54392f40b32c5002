//! Hides a version of a stage from new resolutions, or shows it again. Locks that hold it still work.

use std::path::PathBuf;

use pib_plan::id::StageName;
use semver::Version;
use serde::Serialize;

use super::publish_destination::PublishDestination;
use super::registry_signing::Signer;
use super::registry_site_marks::SiteChange;
use crate::project::{Error, Session};
use crate::source::registry_audit;
use crate::source::registry_bucket::BucketRegistry;

/// Which version is yanked, and why.
#[derive(Debug, Clone)]
pub struct YankOptions {
    /// The stage.
    pub stage: StageName,
    /// Its version.
    pub version: Version,
    /// The registry: a folder, an address, or the name of one.
    pub registry: String,
    /// Shows it again.
    pub undo: bool,
    /// Why, for those who ask for it.
    pub reason: Option<String>,
    /// The file of the key that signs the registry.
    pub key: Option<PathBuf>,
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
    /// The registry: its folder or its address.
    pub registry: String,
}

/// Yanks a version, or takes that back.
///
/// # Errors
/// When the registry has no such version or cannot be written.
pub async fn yank(session: &Session, options: &YankOptions) -> Result<Yanked, Error> {
    let destination = PublishDestination::find(session, &options.registry)?;
    let YankOptions { stage, version, undo, .. } = options;
    let signer = match destination.signable(options.key.as_deref())? {
        Some(place) => Some(Signer::of(session, place, options.key.as_deref()).await?),
        None => None,
    };
    if let Some(signer) = &signer {
        signer.check(std::slice::from_ref(stage)).await?;
    }
    let change = async {
        let changed = mark(session, &destination, options).await?;
        if let Some(signer) = signer {
            signer.sign(std::slice::from_ref(stage)).await?;
        }
        Ok(changed)
    };
    let changed = SiteChange::around(session, &destination, std::slice::from_ref(stage), change).await?;
    let registry = destination.to_string();
    Ok(Yanked { stage: stage.to_string(), version: version.to_string(), yanked: !undo, changed, registry })
}

/// Changes the index line of the version; returns whether it is another one now.
async fn mark(
    session: &Session,
    destination: &PublishDestination,
    options: &YankOptions,
) -> Result<bool, Error> {
    let YankOptions { stage, version, undo, reason, .. } = options;
    Ok(match destination {
        PublishDestination::Folder(folder) => {
            registry_audit::yank(folder, stage, version, !undo, reason.as_deref())?
        }
        PublishDestination::Bucket { address, bucket } => {
            let registry = BucketRegistry { bucket: bucket.as_ref(), address: &address.to_string() };
            registry.yank(stage, version, !undo, reason.as_deref()).await?
        }
        PublishDestination::Oci(registry) => {
            let changed = registry.yank(stage, version, !undo, reason.as_deref()).await?;
            let file = destination.registry(session)?.versions(stage).await?;
            registry.move_tags(stage, std::slice::from_ref(version), &file).await?;
            changed
        }
        PublishDestination::Web { url, .. } => {
            destination.server(session, url)?.yank(stage, version, !undo, reason.as_deref()).await?
        }
    })
}
