//! Copies a registry into a folder, which can be served or used in its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pib_plan::id::StageName;
use pib_plan::index::SourceId;
use pib_plan::registry_snapshot::RegistryKey;
use serde::Serialize;

use super::publish_destination::PublishDestination;
use crate::project::{self, Error, Project, Session, user_config};
use crate::source::registry::Registry;
use crate::source::registry_mirror::{self, MirrorSource, Mirrored};

/// What is copied, and where to.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// The registry: a folder, an address, or the name of one.
    pub source: String,
    /// The folder of the copy.
    pub folder: PathBuf,
    /// The stages; all of them where none is named.
    pub stages: Vec<StageName>,
    /// The key that signs the registry.
    pub key: Option<RegistryKey>,
}

/// A copy of a registry.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryCopy {
    /// Its folder.
    pub registry: PathBuf,
    /// The registry that it is a copy of.
    pub source: String,
    /// How many stages it has.
    pub stages: usize,
    /// How many versions of them.
    pub versions: usize,
    /// How many archives were fetched; the others were there.
    pub fetched: usize,
    /// How many bytes these have.
    pub bytes: u64,
    /// The number of the snapshot; none where the registry is not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
    /// What is good to know, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Copies a registry, or goes on with a copy.
///
/// # Errors
/// When the registry cannot be read or is not to be trusted, or the folder holds something else or cannot be written.
pub async fn mirror(session: &Session, options: &MirrorOptions) -> Result<RegistryCopy, Error> {
    let destination = PublishDestination::find(session, &options.source)?;
    let registry = destination.registry(session)?;
    let key = match options.key {
        Some(key) => Some(key),
        None => named_key(session, &registry)?,
    };
    let source = MirrorSource { registry: &registry, key, stages: &options.stages, cache: &session.cache };
    let folder = session.cwd.join(&options.folder);
    let mirrored = registry_mirror::mirror(&source, &folder).await?;
    let Mirrored { stages, versions, fetched, bytes, snapshot, notes } = mirrored;
    let source = destination.to_string();
    Ok(RegistryCopy { registry: folder, source, stages, versions, fetched, bytes, snapshot, notes })
}

/// Returns the key that the user or the project names for a registry, if one does.
fn named_key(session: &Session, registry: &Registry) -> Result<Option<RegistryKey>, Error> {
    let SourceId::Registry(address) = registry.source() else { return Ok(None) };
    let Some(url) = address.url() else { return Ok(None) };
    let project = project::find(session).and_then(|_| Project::load(session)).ok();
    let keys = match &project {
        Some(project) => user_config::registry_keys(session, &project.manifest)?,
        None => BTreeMap::new(),
    };
    let own = || Ok::<_, Error>(user_config::load(session)?.registry_keys.get(url).copied());
    match keys.get(url) {
        Some(key) => Ok(Some(*key)),
        None => own(),
    }
}
