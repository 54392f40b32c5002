//! The stores that the user or a project names: where packages of bases, and what parts fetch, are kept by their digests.

use std::fs;
use std::path::Path;

use futures_util::{StreamExt as _, stream};
use pib_event::ReporterExt as _;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::snapshot::{BaseSnapshot, SnapshotPackage};
use pib_recorder::{RecorderError, RemoteStore, Stores};

use crate::project::{Error, LockMode, Session, user_config};

/// How many packages are taken out of stores at the same time.
const AT_ONCE: usize = 12;

/// Returns the stores of the user, and those of a project in the folder `dir`, each in the order of their names.
///
/// # Errors
/// When the user's config cannot be used.
pub(crate) fn places(
    session: &Session,
    dir: &Path,
    manifest: &ProjectManifest,
) -> Result<Vec<RemoteStore>, Error> {
    let access = session.object_access();
    let mut places = Vec::new();
    if let Some(folder) = &session.config {
        let own = user_config::load(session)?.stores;
        places.extend(own.values().map(|text| RemoteStore::new(folder, text, &access)));
    }
    places.extend(manifest.stores.values().map(|text| RemoteStore::new(dir, text, &access)));
    Ok(places)
}

/// Takes the packages of a base that the folder `debs` does not have out of stores, as far as they have them. What they do
/// not have comes from mirrors.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) async fn fill(
    session: &Session,
    mode: LockMode,
    places: &[RemoteStore],
    debs: &Path,
    snapshot: &BaseSnapshot,
) -> Result<(), Error> {
    let stores = Stores::new(places.to_vec(), mode.offline).map_err(RecorderError::from)?;
    if stores.is_empty() {
        return Ok(());
    }
    let write = |error| Error::io("write", debs, error);
    fs::create_dir_all(debs).map_err(write)?;
    let missing = snapshot.packages.iter().filter(|package| !pib_debian::has_package(debs, package));
    let taken = missing.map(|package| take(&stores, debs, package));
    let mut taken = stream::iter(taken).buffer_unordered(AT_ONCE);
    while let Some(outcome) = taken.next().await {
        outcome.map_err(write)?;
    }
    stores.troubles().into_iter().for_each(|trouble| session.warn_once(trouble));
    Ok(())
}

/// Takes one package out of the first store that has it.
async fn take(stores: &Stores, debs: &Path, package: &SnapshotPackage) -> std::io::Result<()> {
    if let Some(file) = stores.take(&package.digest, package.size, debs).await? {
        file.persist(pib_debian::package_path(debs, package)).map_err(|error| error.error)?;
    }
    Ok(())
}

/// Tells how many of something were fetched.
pub(crate) fn progress(session: &Session, step: &'static str, total: usize) -> impl Fn(usize) {
    let reporter = session.reporter.clone();
    move |count| reporter.progress(step, count as u64, Some(total as u64))
}
