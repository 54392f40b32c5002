//! A stage that was resolved: vendored, in the cache, or from where it comes, with its digests checked.

use pib_plan::index::{MODES_SCHEMA, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::resolve::ResolvedStage;

use super::archive::Promise;
use super::registry_error::RegistryError;
use super::threads::blocking;
use super::{Package, SourceError, Sources, git, registry_publisher};

impl Sources {
    /// Returns the stage that was resolved, from the cache if it is there, with its digests checked.
    ///
    /// `locked` is what the lock holds of this stage, if it does; it counts where it is about the same version
    /// of the same source. A folder may change as it likes: it has no promise to keep.
    ///
    /// # Errors
    /// When the stage is not available, or is not what the index or the lock promises.
    pub async fn fetch(
        &self,
        resolved: &ResolvedStage,
        locked: Option<&LockedStage>,
    ) -> Result<Package, SourceError> {
        if let Some(vendor) = self.vendor_for(&resolved.source) {
            let (vendor, resolved, locked) = (vendor.clone(), resolved.clone(), locked.cloned());
            let found = self.readers.run(move || vendor.package(&resolved, locked.as_ref())).await?;
            if let Some(package) = found {
                return Ok(package);
            }
        }
        match &resolved.source {
            SourceId::Registry(_) => self.fetch_from_registry(resolved, locked).await,
            SourceId::Path(path) => {
                if let Some(known) = self.path_stage(&resolved.name, path).known() {
                    return Ok(known);
                }
                let (this, name, path) = (self.clone(), resolved.name.clone(), path.clone());
                self.readers.run(move || this.path_stage(&name, &path).package()).await
            }
            SourceId::Git(git) => {
                let _turn = self.git_turn.lock().await;
                let (name, content) = (resolved.name.clone(), resolved.entry.content);
                self.repositories().package(name, git.clone(), content).await
            }
        }
    }

    async fn fetch_from_registry(
        &self,
        resolved: &ResolvedStage,
        locked: Option<&LockedStage>,
    ) -> Result<Package, SourceError> {
        let entry = &resolved.entry;
        let what = format!("{} {}", resolved.name, resolved.version);
        let registry = self.registry(&resolved.source)?;
        let (Some(checksum), Some(content)) = (entry.cksum, entry.content) else {
            let reason = format!("its index line of {what} has no digests");
            return Err(SourceError::BadRegistry { registry: resolved.source.describe(), reason });
        };
        locked.map_or(Ok(()), |locked| check_locked(resolved, locked))?;
        registry_publisher::check(entry, || resolved.source.describe())?;
        let has_modes = entry.v >= MODES_SCHEMA;
        let cache = self.cache.clone();
        let cached = match self.readers.run(move || cache.find(content)).await? {
            Some(cached) => cached,
            None => {
                self.check_network(&registry, || format!("the archive of {what}"))?;
                let archive = registry.archive(entry).await?;
                let (cache, what) = (self.cache.clone(), what.clone());
                blocking(move || {
                    cache.insert(&archive, &Promise { what: &what, checksum, content, has_modes })
                })
                .await?
            }
        };
        let package =
            self.readers.run(move || Package::with_listing(&cached.root, &what, cached.listing)).await?;
        check_identity(resolved, package)
    }
}

/// Checks that what a source says of a stage is what the lock holds, where both are about the same version or tag.
///
/// # Errors
/// When one of its digests, its publisher's key, or the tag's commit is another; the error has both.
pub fn check_locked(resolved: &ResolvedStage, locked: &LockedStage) -> Result<(), SourceError> {
    git::check_tag(resolved, locked)?;
    if (&locked.version, &locked.source) != (&resolved.version, &resolved.source) {
        return Ok(());
    }
    let entry = &resolved.entry;
    for (part, locked, found) in
        [("archive", locked.checksum, entry.cksum), ("content", locked.content, entry.content)]
    {
        if let (Some(locked), Some(found)) = (locked, found)
            && locked != found
        {
            return Err(SourceError::ChangedSinceLock {
                what: format!("the {part} of {} {}", resolved.name, resolved.version),
                name: resolved.name.clone(),
                place: resolved.source.describe(),
                locked,
                found,
            });
        }
    }
    let found = entry.publisher.map(|publisher| publisher.key);
    match locked.publisher.zip(found).filter(|(locked, found)| locked != found) {
        Some((locked, found)) => Err(RegistryError::AnotherPublisher {
            what: format!("{} {}", resolved.name, resolved.version),
            name: resolved.name.clone(),
            place: resolved.source.describe(),
            locked,
            found,
        }
        .into()),
        None => Ok(()),
    }
}

/// Checks that a version is what its publisher has signed, where somebody has, before anything of it is fetched.
///
/// # Errors
/// When it is not.
pub fn check_signature(resolved: &ResolvedStage) -> Result<(), SourceError> {
    Ok(registry_publisher::check(&resolved.entry, || resolved.source.describe())?)
}

/// Checks that an archive holds the stage and the version that its index line says.
fn check_identity(resolved: &ResolvedStage, package: Package) -> Result<Package, SourceError> {
    let what = || format!("{} {}", resolved.name, resolved.version);
    if (&package.name, &package.version) != (&resolved.name, &resolved.version) {
        let reason = format!("it holds {} {}", package.name, package.version);
        return Err(SourceError::BadArchive { what: what(), reason });
    }
    // The lock takes the hook's digest from the index.
    if package.hook() != resolved.entry.hook.as_ref().map(|hook| hook.digest) {
        let reason = "its hook is not the one that the index names".to_owned();
        return Err(SourceError::BadArchive { what: what(), reason });
    }
    Ok(package)
}
