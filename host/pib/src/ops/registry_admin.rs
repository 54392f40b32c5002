//! Makes a registry, checks one, and writes its index anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::publish_destination::{PublishDestination, existing};
use super::registry_signing::Signer;
use super::registry_site::Site;
use crate::project::{Error, Session};
use crate::source::registry::Registry;
use crate::source::registry_audit::{self, RegistryAudit};
use crate::source::registry_bucket::BucketRegistry;
use crate::source::registry_folder;
use crate::source::registry_sign::SignableRegistry;
use crate::source::registry_store::RegistryStore;

/// A registry that was made, or was there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MadeRegistry {
    /// Its folder or its address.
    pub registry: PathBuf,
    /// Whether it is new.
    pub new: bool,
}

/// What a new index has that the old one had not.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewIndex {
    /// The registry's folder or its address.
    pub registry: PathBuf,
    /// How many versions the index has.
    pub versions: usize,
    /// The files that were written.
    pub written: Vec<String>,
    /// The versions that it has no more, since there is no archive of them, as `name version`.
    pub dropped: Vec<String>,
}

/// A registry that is as it should be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WholeRegistry {
    /// Its folder or its address.
    pub registry: PathBuf,
    /// How many stages it has.
    pub stages: usize,
    /// How many versions of them.
    pub versions: usize,
    /// What is no fault, and good to know, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Makes a folder a registry without stages.
///
/// # Errors
/// When it holds something else, or cannot be written.
pub async fn init(session: &Session, folder: &Path) -> Result<MadeRegistry, Error> {
    if let Some((address, bucket)) = PublishDestination::bucket(session, folder)? {
        let destination = PublishDestination::Bucket { address, bucket: Arc::clone(&bucket) };
        let address = destination.to_string();
        let new = BucketRegistry { bucket: &bucket, address: &address }.init().await?;
        let (store, registry) = (RegistryStore::Bucket(&bucket, &address), destination.registry(session)?);
        Site { store, registry: &registry }.write().await?;
        return Ok(MadeRegistry { registry: address.into(), new });
    }
    let registry = session.cwd.join(folder);
    let new = registry_folder::init(&registry)?;
    let (store, reader) = (RegistryStore::Folder(&registry), Registry::folder(&registry)?);
    Site { store, registry: &reader }.write().await?;
    Ok(MadeRegistry { registry, new })
}

/// Writes the index of a registry anew, from its archives.
///
/// # Errors
/// When an archive cannot be used, or the folder cannot be written.
pub async fn index(session: &Session, folder: &Path, key: Option<&Path>) -> Result<NewIndex, Error> {
    let (registry, rebuilt) = match PublishDestination::bucket(session, folder)? {
        Some((address, bucket)) => {
            let destination = PublishDestination::Bucket { address, bucket: Arc::clone(&bucket) };
            let address = destination.to_string();
            let place = SignableRegistry::Bucket(Arc::clone(&bucket), address.clone());
            let signer = Signer::of(session, place, key).await?;
            let rebuilt = BucketRegistry { bucket: &bucket, address: &address }.rebuild().await?;
            signer.sign_all().await?;
            let (store, registry) =
                (RegistryStore::Bucket(&bucket, &address), destination.registry(session)?);
            Site { store, registry: &registry }.write().await?;
            (PathBuf::from(address), rebuilt)
        }
        None => {
            let registry = existing(session, folder)?;
            let signer = Signer::of(session, SignableRegistry::Folder(registry.clone()), key).await?;
            let rebuilt = registry_audit::rebuild(&registry)?;
            signer.sign_all().await?;
            let (store, reader) = (RegistryStore::Folder(&registry), Registry::folder(&registry)?);
            Site { store, registry: &reader }.write().await?;
            (registry, rebuilt)
        }
    };
    let registry_audit::RebuiltIndex { versions, written, dropped } = rebuilt;
    Ok(NewIndex { registry, versions, written, dropped })
}

/// Checks all of a registry in a folder or in a bucket.
///
/// # Errors
/// When it cannot be read, or anything is wrong with it.
pub async fn verify(session: &Session, folder: &Path) -> Result<WholeRegistry, Error> {
    if let Some(oci) = PublishDestination::oci(session, folder)? {
        let mut audit = oci.audit().await?;
        audit.faults.extend(RegistryStore::Oci(&oci).faults().await?);
        return judged(oci.to_string().into(), audit);
    }
    let (place, audit) = match PublishDestination::bucket(session, folder)? {
        Some((address, bucket)) => {
            PublishDestination::Bucket { address: address.clone(), bucket: Arc::clone(&bucket) }
                .registry(session)?
                .check()
                .await?;
            let address = address.to_string();
            let mut audit = BucketRegistry { bucket: &bucket, address: &address }.audit().await?;
            audit.faults.extend(RegistryStore::Bucket(&bucket, &address).faults().await?);
            (PathBuf::from(address), audit)
        }
        None => {
            let place = existing(session, folder)?;
            Registry::folder(&place)?.check().await?;
            let mut audit = registry_audit::audit(&place)?;
            audit.faults.extend(RegistryStore::Folder(&place).faults().await?);
            (place, audit)
        }
    };
    judged(place, audit)
}

fn judged(place: PathBuf, audit: RegistryAudit) -> Result<WholeRegistry, Error> {
    let RegistryAudit { stages, versions, faults, notes } = audit;
    match faults.is_empty() {
        true => Ok(WholeRegistry { registry: place, stages, versions, notes }),
        false => Err(crate::source::SourceError::DamagedRegistry { registry: place, faults }.into()),
    }
}
