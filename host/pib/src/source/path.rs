//! Path stages: folders on this machine, taken as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pib_plan::id::StageName;
use pib_plan::index::{Candidate, IndexEntry, Offer, SourceId};

use super::contents::Contents;
use super::{Package, SourceError, entry, package};

/// Returns what the stage in the folder `root` says of itself, as the resolver needs it; messages call the folder
/// `shown`.
///
/// The folder has a `stage.toml`, or it is a bare one that has only a part: then it is a stage of version 0.0.0
/// with the folder's name.
///
/// # Errors
/// When the folder is no stage, or its manifest or hook cannot be read.
pub fn describe(root: &Path, shown: &str) -> Result<IndexEntry, SourceError> {
    entry::of(&package::manifest(root, shown)?, root, &[], &Contents::default())
}

/// Reads the stage in the folder `root`; messages call the folder `shown`.
///
/// # Errors
/// When the folder is no stage, or something in it is not fit for one.
pub fn open(root: &Path, shown: &str) -> Result<Package, SourceError> {
    Package::open(root, shown)
}

/// One path source of a project.
pub(super) struct PathStage<'a> {
    /// The stage that was asked for.
    pub(super) name: &'a StageName,
    /// The folder as the project writes it.
    pub(super) shown: &'a str,
    /// The folder.
    pub(super) root: PathBuf,
    /// What was read of path stages until now: what is resolved is what is built.
    pub(super) read: &'a PathPackages,
}

/// The path stages that were read, by their folders. Different folders can be read at the same time; each is read once.
#[derive(Debug, Clone, Default)]
pub(super) struct PathPackages(Arc<Mutex<BTreeMap<PathBuf, ReadOnce>>>);

/// A package that is read once: the first thread that needs it reads it, and other threads wait for that.
type ReadOnce = Arc<Mutex<Option<Read>>>;

/// What was read of a path stage.
#[derive(Debug)]
struct Read {
    package: Package,
    /// What the resolver needs of it, once somebody has asked for that.
    entry: Option<Arc<IndexEntry>>,
}

impl PathPackages {
    fn at(&self, root: &Path) -> ReadOnce {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(folders.entry(root.to_owned()).or_default())
    }
}

impl PathStage<'_> {
    /// Returns what the resolver needs of the stage. This blocks.
    ///
    /// # Errors
    /// Those of [`Self::package`].
    pub(super) fn candidate(&self, source: &SourceId) -> Result<Candidate, SourceError> {
        let entry = self.with(|Read { package, entry }| {
            if let Some(known) = entry {
                return Ok(Arc::clone(known));
            }
            let made = entry::of(&package.manifest, &self.root, &package.files, &package.contents)?;
            Ok(Arc::clone(entry.insert(Arc::new(made))))
        });
        Ok(offer(entry?, source))
    }

    /// Returns what the resolver needs of the stage, if it was asked for already. This does not block.
    pub(super) fn known_candidate(&self, source: &SourceId) -> Option<Candidate> {
        self.if_known(|read| read.entry.clone()).map(|entry| offer(entry, source))
    }

    /// Returns the stage. This blocks.
    ///
    /// # Errors
    /// When there is no folder, or what it holds is no stage or another one.
    pub(super) fn package(&self) -> Result<Package, SourceError> {
        self.with(|read| Ok(read.package.clone()))
    }

    /// Returns the stage, if it was read already. This does not block.
    pub(super) fn known(&self) -> Option<Package> {
        self.if_known(|read| Some(read.package.clone()))
    }

    /// Reads the stage, where nobody has, and uses it.
    fn with<T>(&self, work: impl FnOnce(&mut Read) -> Result<T, SourceError>) -> Result<T, SourceError> {
        self.check_folder()?;
        let once = self.read.at(&self.root);
        let mut read = once.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match &mut *read {
            Some(read) => read,
            unread => {
                let package = Package::open(&self.root, self.shown)?;
                unread.insert(Read { package, entry: None })
            }
        };
        self.check_name(&read.package.name)?;
        work(read)
    }

    fn if_known<T>(&self, work: impl FnOnce(&Read) -> Option<T>) -> Option<T> {
        let once = self.read.at(&self.root);
        let read = once.try_lock().ok()?;
        read.as_ref().filter(|read| read.package.name == *self.name).and_then(work)
    }

    fn check_folder(&self) -> Result<(), SourceError> {
        if self.root.is_dir() {
            return Ok(());
        }
        Err(SourceError::NoFolder { name: self.name.to_string(), path: self.root.clone() })
    }

    fn check_name(&self, found: &StageName) -> Result<(), SourceError> {
        if found == self.name {
            return Ok(());
        }
        let place = format!("the folder `{}`", self.shown);
        Err(SourceError::WrongName { place, found: found.clone(), wanted: self.name.clone() })
    }
}

/// Returns the one version that a folder has.
fn offer(entry: Arc<IndexEntry>, source: &SourceId) -> Candidate {
    Candidate { version: entry.vers.clone(), source: source.clone(), offer: Offer::Entry(entry) }
}
