//! The registry that a server serves: its files are in a folder or in a bucket, which several servers may share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_objects::Bucket;
use pib_plan::id::StageName;
use semver::Version;

use super::publish_destination::PublishDestination;
use super::registry_signing::Signer;
use crate::project::{Error, Session};
use crate::source::SourceError;
use crate::source::archive::MAX_ARCHIVE;
use crate::source::registry::Registry;
use crate::source::registry_bucket::BucketRegistry;
use crate::source::registry_folder::{Outcome, PackedStage};
use crate::source::registry_owners::OwnerLists;
use crate::source::registry_sign::SignableRegistry;
use crate::source::registry_store::RegistryStore;
use crate::source::{registry_audit, registry_folder};

/// A registry that can be read and written to.
pub(super) struct ServedRegistry {
    /// It, to be read.
    pub(super) registry: Registry,
    storage: Storage,
    signer: Signer,
}

/// Where the files are.
enum Storage {
    Folder(PathBuf),
    Bucket { address: String, bucket: Arc<Bucket> },
}

impl ServedRegistry {
    /// Returns the registry in a folder, or in the bucket that `named` is the address of. One that is only read takes no key.
    ///
    /// # Errors
    /// When there is no registry, or the key is not the one that signs it.
    pub(super) async fn open(
        session: &Session,
        named: &Path,
        key: Option<&Path>,
        is_read_only: bool,
    ) -> Result<Self, Error> {
        let (registry, storage) = match PublishDestination::bucket(session, named)? {
            Some((address, bucket)) => {
                let destination = PublishDestination::Bucket { address, bucket: Arc::clone(&bucket) };
                let storage = Storage::Bucket { address: destination.to_string(), bucket };
                (destination.registry(session)?, storage)
            }
            None => {
                let root = session.cwd.join(named);
                (Registry::folder(&root)?, Storage::Folder(root))
            }
        };
        registry.check().await?;
        let place = match &storage {
            Storage::Folder(root) => SignableRegistry::Folder(root.clone()),
            Storage::Bucket { address, bucket } => {
                SignableRegistry::Bucket(Arc::clone(bucket), address.clone())
            }
        };
        let signer = match is_read_only && key.is_none() {
            true => Signer::of_nothing(session, place),
            false => Signer::of(session, place, key).await?,
        };
        signer.check(&[]).await?;
        Ok(Self { registry, storage, signer })
    }

    /// Returns the lists of the owners of its stages.
    pub(super) fn owners(&self) -> OwnerLists<'_> {
        OwnerLists(match &self.storage {
            Storage::Folder(root) => RegistryStore::Folder(root),
            Storage::Bucket { address, bucket } => RegistryStore::Bucket(bucket, address),
        })
    }

    /// Has the registry's snapshot count longer, where half of its time is over and this server has the key.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) async fn renew(&self) -> Result<(), SourceError> {
        self.signer.renew().await
    }

    /// Returns the bytes of one of the registry's files; `None` where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&self, path: String) -> Result<Option<Vec<u8>>, SourceError> {
        match &self.storage {
            Storage::Folder(root) => {
                let root = root.clone();
                on_a_thread(move || read_file(&root, Path::new(&path))).await
            }
            Storage::Bucket { address, bucket } => {
                let found = bucket.get(&path, MAX_ARCHIVE).await.map_err(|source| {
                    let what = format!("`{path}` of the registry {address}");
                    SourceError::Objects { action: "reading", what, source }
                })?;
                Ok(found.map(|(bytes, _)| bytes))
            }
        }
    }

    /// Publishes a version; returns whether the registry did not have it.
    ///
    /// # Errors
    /// When the version is published with another content, or the registry cannot be written.
    pub(super) async fn publish(&self, stage: PackedStage) -> Result<bool, SourceError> {
        let name = stage.entry.name.clone();
        self.signer.check(std::slice::from_ref(&name)).await?;
        let changed = self.add(stage).await?;
        self.signer.sign(&[name]).await?;
        Ok(changed)
    }

    async fn add(&self, stage: PackedStage) -> Result<bool, SourceError> {
        match &self.storage {
            Storage::Folder(root) => {
                let root = root.clone();
                let published = on_a_thread(move || registry_folder::add(&[&stage], &root)).await?;
                Ok(published.iter().any(|stage| stage.outcome == Outcome::New))
            }
            Storage::Bucket { address, bucket } => {
                BucketRegistry { bucket: bucket.as_ref(), address }.publish(&stage).await
            }
        }
    }

    /// Yanks a version, or takes that back; returns whether that changes anything.
    ///
    /// # Errors
    /// When the registry has no such version, the reason is too long, or the registry cannot be written.
    pub(super) async fn yank(
        &self,
        name: StageName,
        version: Version,
        yanked: bool,
        reason: Option<String>,
    ) -> Result<bool, SourceError> {
        let names = [name.clone()];
        self.signer.check(&names).await?;
        let changed = self.mark(name, version, yanked, reason).await?;
        self.signer.sign(&names).await?;
        Ok(changed)
    }

    async fn mark(
        &self,
        name: StageName,
        version: Version,
        yanked: bool,
        reason: Option<String>,
    ) -> Result<bool, SourceError> {
        match &self.storage {
            Storage::Folder(root) => {
                let root = root.clone();
                let write = move || registry_audit::yank(&root, &name, &version, yanked, reason.as_deref());
                on_a_thread(write).await
            }
            Storage::Bucket { address, bucket } => {
                let registry = BucketRegistry { bucket: bucket.as_ref(), address };
                registry.yank(&name, &version, yanked, reason.as_deref()).await
            }
        }
    }
}

/// Reads a file below a folder. No part of the path leads elsewhere, and no link is followed: one is no file of a registry.
fn read_file(root: &Path, path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    let read = || {
        let file = pib_file::Folder::open(root)?.open_file(path)?;
        pib_file::read_open(file, MAX_ARCHIVE)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if pib_file::LinkError::of(&error).is_some() => Ok(None),
        Err(error) => Err(SourceError::io("reading", &root.join(path))(error)),
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let ended = |error: tokio::task::JoinError| {
        SourceError::io("using", Path::new("the registry"))(std::io::Error::other(error))
    };
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
