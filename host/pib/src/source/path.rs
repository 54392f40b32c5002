//! Path stages: folders on this machine, taken as they are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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
    entry::of(&package::manifest(root, shown)?, root, &Contents::default())
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

/// The path stages that were read, by their folders.
#[derive(Debug, Clone, Default)]
pub(super) struct PathPackages(Arc<Mutex<BTreeMap<PathBuf, Package>>>);

impl PathStage<'_> {
    pub(super) fn candidate(&self, source: &SourceId) -> Result<Candidate, SourceError> {
        let package = self.package()?;
        let entry = entry::of(&package.manifest, &self.root, &package.contents)?;
        let version = entry.vers.clone();
        Ok(Candidate { version, source: source.clone(), offer: Offer::Entry(Arc::new(entry)) })
    }

    pub(super) fn package(&self) -> Result<Package, SourceError> {
        self.check_folder()?;
        let mut read = self.read.0.lock().unwrap_or_else(PoisonError::into_inner);
        let package = match read.entry(self.root.clone()) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(Package::open(&self.root, self.shown)?),
        };
        self.check_name(&package.name)?;
        Ok(package.clone())
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
