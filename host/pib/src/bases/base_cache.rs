//! Keeps finished bases by digest, and remembers which recipe made which.
//!
//! ```text
//! <root>/bases/<hex>.tar          a base, named by the digest of its bytes
//! <root>/bases/recipes/<hex>      the digest of the base that a recipe made last
//! <root>/bases/chosen/<hex>       the key of the packages that pib chose last for a recipe
//! <root>/bases/lists/<hex>        the digest of the base that these packages made
//! <root>/bases/packages/<hex>     the packages that the base with this digest was made of, for the locks of projects
//! <root>/bases/companions/<hex>  the digest of the companion or emulators that a recipe made last, or of the program alone
//! <root>/bases/tarballs/<hex>     the digest of the base that a fetched tarball holds
//! <root>/bases/signed/<hex>       the tarball that was fetched last for an address and the keys that sign it
//! <root>/bases/tmp/               work in progress; emptied by whoever holds the lock
//! <root>/bases/lock               held while a base is being made
//! <root>/debs/<hex>.deb           packages
//! <root>/lists/                   what archives said (`pib_debian`)
//! ```
//!
//! Every file gets its name when it is whole, so that a pib that is killed leaves nothing half-done.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use pib_debian::RelayForm;
use pib_plan::base::Bootstrap;
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::signed_tarball::{LockedTarball, SignedTarball};
use pib_plan::snapshot::BaseSnapshot;
use serde::{Deserialize, Serialize};

use super::error::BaseError;
use super::{STEP, canonical};
use pib_event::{Reporter, ReporterExt};

/// The version of the way in which bases are made. Raise it when the same recipe would give another tree, or when more is
/// noted of what was made.
const RECIPE_VERSION: &str = "2";

/// The cache's folder of what archives said.
pub(crate) const LISTS: &str = "lists";
/// The most that is read of a file that holds a digest.
pub(super) const MAX_NAME: u64 = 1 << 10;
/// The most that is read of a file that holds packages: 10,000 of them.
const MAX_SNAPSHOT: u64 = 8 << 20;

/// A base in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBase {
    /// The plain tar of the file tree.
    pub path: PathBuf,
    /// The digest of the tar.
    pub digest: Digest,
}

/// The bases that this user's pib has made or fetched.
#[derive(Debug, Clone)]
pub struct BaseCache {
    root: PathBuf,
}

/// What is noted of the tarball that was fetched last for what was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FetchedTarball {
    /// The tarball.
    pub(super) tarball: LockedTarball,
    /// The digest of the file with its signature: as long as that is the same, so is the tarball.
    pub(super) signature: Digest,
}

/// Held by the one process that makes a base; others wait.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl BaseCache {
    /// Opens the cache below the folder `root`, which is created when it is first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the base with this digest, if it is there. Takes no lock and reads no contents.
    pub fn find(&self, digest: Digest) -> Option<StoredBase> {
        let path = self.bases().join(format!("{}.tar", digest.hex()));
        path.is_file().then_some(StoredBase { path, digest })
    }

    /// Returns the packages that the base with this digest was made of, where an earlier bootstrap noted them.
    pub fn snapshot(&self, digest: Digest) -> Option<BaseSnapshot> {
        let text = pib_file::read_text(self.snapshot_path(digest), MAX_SNAPSHOT).ok()?;
        serde_json::from_str(&text).ok().filter(|snapshot: &BaseSnapshot| snapshot.check().is_ok())
    }

    /// Returns the base that the recipe made last, if it is still there.
    pub fn find_recipe(&self, recipe: &Bootstrap) -> Option<StoredBase> {
        self.noted(&self.recipe_path(recipe))
    }

    /// Returns the base that was made of these packages, if it is still there.
    pub fn find_made_of(&self, recipe: &Bootstrap, packages: &BaseSnapshot) -> Option<StoredBase> {
        self.noted(&self.list_path(recipe, packages))
    }

    /// Notes which packages pib chose for a recipe, of a signed list: what is made of them is what projects without a lock get.
    /// Returns that base, if it is there.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn choose(
        &self,
        recipe: &Bootstrap,
        packages: &BaseSnapshot,
    ) -> Result<Option<StoredBase>, BaseError> {
        self.note(self.chosen_path(recipe), packages.key())?;
        let made = self.find_made_of(recipe, packages);
        if let Some(base) = &made {
            self.remember(recipe, base.digest)?;
        }
        Ok(made)
    }

    /// Returns whether these are the packages that pib chose last for the recipe.
    pub fn is_chosen(&self, recipe: &Bootstrap, packages: &BaseSnapshot) -> bool {
        let text = pib_file::read_text(self.chosen_path(recipe), MAX_NAME);
        text.is_ok_and(|text| text.trim().parse() == Ok(packages.key()))
    }

    /// Forgets which base the recipe made last, so that it is made anew; the base itself stays.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn forget(&self, recipe: &Bootstrap) -> Result<(), BaseError> {
        remove(&self.recipe_path(recipe))
    }

    /// Forgets which tools the recipe with this key made last, so that they are made anew; the tools themselves stay.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn forget_tools(&self, recipe: Digest) -> Result<(), BaseError> {
        remove(&self.tools_path(recipe))
    }

    /// Waits until no other process makes a base, and removes what a killed one left.
    ///
    /// Look again for the base when this returns: another process may have made it meanwhile. This blocks.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn lock(&self, reporter: &dyn Reporter) -> Result<CacheLock, BaseError> {
        let folder = self.bases();
        fs::create_dir_all(&folder).map_err(BaseError::io("creating", &folder))?;
        let path = folder.join("lock");
        let file = pib_file::open_or_create(&path);
        let file = file.map_err(BaseError::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                reporter.detail(STEP, "waiting for another pib that is making a base");
                file.lock().map_err(BaseError::io("locking", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(BaseError::io("locking", &path)(error)),
        }
        let temp = self.temp();
        match fs::remove_dir_all(&temp) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(BaseError::io("emptying", &temp)(error));
            }
            _ => fs::create_dir_all(&temp).map_err(BaseError::io("creating", &temp))?,
        }
        Ok(CacheLock { _file: file })
    }

    /// Returns the tools, a companion or emulators, that the recipe with this key made last, if they are still there.
    pub fn find_tools(&self, recipe: Digest) -> Option<StoredBase> {
        self.noted(&self.tools_path(recipe))
    }

    /// Keeps finished tools as what the recipe with this key made.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn store_tools(
        &self,
        _lock: &CacheLock,
        file: tempfile::NamedTempFile,
        recipe: Digest,
    ) -> Result<StoredBase, BaseError> {
        let digest = digest_file(file.path())?;
        let stored = self.keep(file, digest)?;
        self.note(self.tools_path(recipe), digest)?;
        Ok(stored)
    }

    /// Returns the image of a program that starts commands; it is made where it is not there.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn relay(&self, runner: &[u8], form: RelayForm) -> Result<StoredBase, BaseError> {
        let note = self.bases().join("companions").join(pib_debian::relay_key(runner, form).hex());
        if let Some(found) = self.noted(&note) {
            return Ok(found);
        }
        let folder = self.bases();
        fs::create_dir_all(&folder).map_err(BaseError::io("creating", &folder))?;
        let file =
            tempfile::NamedTempFile::new_in(&folder).map_err(BaseError::io("creating a file in", &folder))?;
        pib_debian::write_relay(file.path(), runner, form)
            .map_err(|error| BaseError::Stream(io::Error::other(error)))?;
        let digest = digest_file(file.path())?;
        let stored = self.keep(file, digest)?;
        self.note(note, digest)?;
        Ok(stored)
    }

    /// Returns the base whose digest a file holds, if both are there.
    fn noted(&self, note: &Path) -> Option<StoredBase> {
        let text = pib_file::read_text(note, MAX_NAME).ok()?;
        self.find(text.trim().parse().ok()?)
    }

    fn tools_path(&self, recipe: Digest) -> PathBuf {
        self.bases().join("companions").join(recipe.hex())
    }

    /// Normalises the file tree that the engine exported and keeps it, with the packages of which the recipe made it. This
    /// blocks.
    ///
    /// Where it `is_own`, it is what projects without a lock get: nothing may be told as that but what was made of the packages
    /// that pib chose of what a mirror offers.
    ///
    /// # Errors
    /// When the stream breaks or the cache cannot be written.
    pub fn store(
        &self,
        _lock: &CacheLock,
        tree: impl Read,
        snapshot: &BaseSnapshot,
        recipe: &Bootstrap,
        is_own: bool,
    ) -> Result<StoredBase, BaseError> {
        let temp = self.temp();
        let mut output =
            tempfile::NamedTempFile::new_in(&temp).map_err(BaseError::io("creating a file in", &temp))?;
        let mut spool = tempfile::tempfile_in(&temp).map_err(BaseError::io("creating a file in", &temp))?;
        let (digest, _size) = canonical::normalise(tree, output.as_file_mut(), &mut spool, snapshot.moment())
            .map_err(|error| match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    BaseError::io("writing to", &temp)(error)
                }
                _ => BaseError::Stream(error),
            })?;
        self.note_snapshot(digest, snapshot)?;
        let base = self.keep(output, digest)?;
        self.note(self.list_path(recipe, snapshot), digest)?;
        if is_own {
            self.remember(recipe, digest)?;
        }
        Ok(base)
    }

    /// Compares every base and package with the digest that is its name; returns how many fit, and the paths of those
    /// that do not and are gone now. This blocks.
    ///
    /// # Errors
    /// When the cache cannot be read, or what is damaged cannot be removed.
    pub fn verify(&self) -> Result<(usize, Vec<PathBuf>), BaseError> {
        let (mut whole, mut damaged) = (0, Vec::new());
        for (folder, end) in [(self.bases(), "tar"), (self.debs(), "deb")] {
            for item in folder.read_dir().into_iter().flatten().flatten() {
                let path = item.path();
                if path.extension().is_none_or(|extension| extension != end) {
                    continue;
                }
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                if digest_file(&path)?.hex() == name {
                    whole += 1;
                } else {
                    remove(&path)?;
                    damaged.push(path);
                }
            }
        }
        Ok((whole, damaged))
    }

    /// Gives a finished file its name.
    pub(super) fn keep(
        &self,
        file: tempfile::NamedTempFile,
        digest: Digest,
    ) -> Result<StoredBase, BaseError> {
        let path = self.bases().join(format!("{}.tar", digest.hex()));
        file.as_file().sync_all().map_err(BaseError::io("writing", &path))?;
        file.persist(&path).map_err(|error| BaseError::io("writing", &path)(error.error))?;
        Ok(StoredBase { path, digest })
    }

    fn remember(&self, recipe: &Bootstrap, digest: Digest) -> Result<(), BaseError> {
        self.note(self.recipe_path(recipe), digest)
    }

    /// Remembers to which base the tarball was unpacked.
    pub(super) fn remember_tarball(&self, tarball: Digest, digest: Digest) -> Result<(), BaseError> {
        self.note(self.tarball_path(tarball), digest)
    }

    /// The file that says to which base the tarball was unpacked.
    pub(super) fn tarball_path(&self, tarball: Digest) -> PathBuf {
        self.bases().join("tarballs").join(tarball.hex())
    }

    /// Returns what is noted of the tarball that was fetched last for what is asked for.
    pub(super) fn fetched_tarball(&self, wanted: &SignedTarball) -> Option<FetchedTarball> {
        let text = pib_file::read_text(self.signed_path(wanted), MAX_NAME).ok()?;
        serde_json::from_str(&text).ok().filter(|noted: &FetchedTarball| noted.tarball.check().is_ok())
    }

    /// Notes which tarball was fetched for what was asked for.
    pub(super) fn note_fetched(
        &self,
        wanted: &SignedTarball,
        fetched: &FetchedTarball,
    ) -> Result<(), BaseError> {
        let path = self.signed_path(wanted);
        let text =
            serde_json::to_string(fetched).map_err(|error| BaseError::io("writing", &path)(error.into()))?;
        self.write(path, &text)
    }

    fn signed_path(&self, wanted: &SignedTarball) -> PathBuf {
        let mut key = KeyHasher::new("pib signed tarball");
        wanted.add_to_key(&mut key);
        self.bases().join("signed").join(key.finish().hex())
    }

    fn note_snapshot(&self, digest: Digest, snapshot: &BaseSnapshot) -> Result<(), BaseError> {
        let path = self.snapshot_path(digest);
        let text =
            serde_json::to_string(snapshot).map_err(|error| BaseError::io("writing", &path)(error.into()))?;
        self.write(path, &text)
    }

    fn snapshot_path(&self, digest: Digest) -> PathBuf {
        self.bases().join("packages").join(digest.hex())
    }

    fn note(&self, path: PathBuf, digest: Digest) -> Result<(), BaseError> {
        self.write(path, &digest.to_string())
    }

    fn write(&self, path: PathBuf, line: &str) -> Result<(), BaseError> {
        let folder = path.parent().unwrap_or(&self.root);
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            writeln!(file, "{line}")?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(BaseError::io("writing", &path))
    }

    /// Returns the folder for work in progress, which is the caller's until the lock is dropped.
    pub fn work_folder(&self, _lock: &CacheLock) -> PathBuf {
        self.temp()
    }

    /// The folder for work in progress; it exists while the lock is held.
    pub(super) fn temp(&self) -> PathBuf {
        self.bases().join("tmp")
    }

    /// Returns the folder of the packages.
    pub fn debs(&self) -> PathBuf {
        self.root.join("debs")
    }

    fn bases(&self) -> PathBuf {
        self.root.join("bases")
    }

    /// Returns the folder of what archives said.
    pub fn lists(&self) -> PathBuf {
        self.root.join(LISTS)
    }

    fn chosen_path(&self, recipe: &Bootstrap) -> PathBuf {
        self.bases().join("chosen").join(recipe_key(recipe).hex())
    }

    fn list_path(&self, recipe: &Bootstrap, packages: &BaseSnapshot) -> PathBuf {
        let mut key = KeyHasher::new("pib base of packages");
        key.field(recipe_key(recipe).as_bytes()).field(packages.key().as_bytes());
        self.bases().join("lists").join(key.finish().hex())
    }

    fn recipe_path(&self, recipe: &Bootstrap) -> PathBuf {
        self.bases().join("recipes").join(recipe_key(recipe).hex())
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), BaseError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BaseError::io("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Returns the key of a recipe. The mirror is no part of it: what it serves is signed, whoever serves it.
fn recipe_key(recipe: &Bootstrap) -> Digest {
    let mut key = KeyHasher::new("pib base recipe");
    key.field(RECIPE_VERSION).field(&recipe.os).field(&recipe.release).field(recipe.arch.as_str());
    let mut include = recipe.include.clone();
    include.sort();
    include.dedup();
    for name in include {
        key.field(name);
    }
    for archive in &recipe.archives {
        archive.add_to_key(&mut key);
    }
    key.finish()
}

/// Returns the digest of the file at `path`. This blocks.
pub(super) fn digest_file(path: &Path) -> Result<Digest, BaseError> {
    let digest = pib_file::open(path).and_then(pib_file::sha256);
    digest.map(Digest::from_bytes).map_err(BaseError::io("reading", path))
}

#[cfg(test)]
#[path = "base_cache_tests.rs"]
mod tests;
