//! Stages that the project holds itself: a folder that `pib vendor` fills and every build reads.
//!
//! ```text
//! vendor/vendored.toml        the list: sources, digests, files (see `pib_plan::vendor`)
//! vendor/.gitattributes       has git keep every byte (see `fill`)
//! vendor/watchdog/            a stage's files
//! vendor/watchdog-1.0.0/      those of another one of the same name, which a target of the project has
//! vendor/.pib-vendor-<random> being written, or left by a process that was killed
//! ```
//!
//! Invariants: nothing of a vendored stage is parsed before its files have the digest that the list promises and, where
//! the lock has one, the lock's. What `pib vendor` did not make is neither changed nor removed.

mod fill;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_file::Folder;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{Candidate, IndexEntry, Offer, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::resolve::ResolvedStage;
use pib_plan::vendor::{Difference, FILE_NAME, MAX_LIST, VendorList, VendoredStage};

use super::stage_files::{self, Listing, Modes, PackageFile};
use super::{Package, SourceError, entry, package};

pub use fill::{Filled, Wanted, fill};

/// The vendored stages of a project.
#[derive(Debug, Clone)]
pub struct Vendor {
    folder: PathBuf,
    list: Arc<VendorList>,
    /// Whether what is damaged is taken from where it came from, since it is being put right.
    renewing: bool,
}

impl Vendor {
    /// Opens the vendored stages in the folder at `path` in the project; messages call its list `shown`. `None` where there
    /// is no list.
    ///
    /// # Errors
    /// When the list cannot be read, or a link is on the way to it.
    pub fn open(project: &Folder, path: &str, shown: &str) -> Result<Option<Self>, SourceError> {
        let Some(folder) = find(project, path)? else { return Ok(None) };
        let Some(list) = read_list(&folder, shown)? else { return Ok(None) };
        Ok(Some(Self { folder: folder.path().to_owned(), list: Arc::new(list), renewing: false }))
    }

    /// Sets that the stages are about to be put right: what is damaged counts as missing, and folders outside of the
    /// project count more than their copies.
    #[must_use]
    pub fn renewing(mut self) -> Self {
        self.renewing = true;
        self
    }

    /// Returns whether the stages are about to be put right.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// Returns whether the stage that was resolved is one of these.
    pub fn holds(&self, resolved: &ResolvedStage) -> bool {
        self.listed(resolved).is_some()
    }

    /// Returns the vendored stage `name` of `source` as an index would, where the lock holds it, too.
    pub(super) fn candidate(
        &self,
        name: &StageName,
        source: &SourceId,
        locked: &[LockedStage],
    ) -> Result<Option<Candidate>, SourceError> {
        let locks = |stage: &VendoredStage| {
            locked.iter().find(|locked| {
                (&locked.name, &locked.version, &locked.source) == (name, &stage.version, &stage.source)
            })
        };
        let is_path = matches!(source, SourceId::Path(_));
        let mut fitting = self.list.named(name).filter(|stage| stage.source.satisfies(source));
        let Some(stage) = fitting.find(|stage| is_path || locks(stage).is_some()) else {
            return Ok(None);
        };
        let locked = locks(stage);
        let Some(package) = self.read(stage, locked.and_then(|locked| locked.content))? else {
            return Ok(None);
        };
        let entry = IndexEntry {
            cksum: locked.and_then(|locked| locked.checksum),
            content: (!is_path).then_some(package.content),
            ..entry::of(&package.manifest, &package.root, &package.files, &package.contents)?
        };
        let (version, source) = (package.version, stage.source.clone());
        Ok(Some(Candidate { version, source, offer: Offer::Entry(Arc::new(entry)) }))
    }

    /// Returns the stage that was resolved, where it is one of these.
    pub(super) fn package(
        &self,
        resolved: &ResolvedStage,
        locked: Option<&LockedStage>,
    ) -> Result<Option<Package>, SourceError> {
        let Some(stage) = self.listed(resolved) else { return Ok(None) };
        let same = |locked: &&LockedStage| {
            (&locked.version, &locked.source) == (&resolved.version, &resolved.source)
        };
        self.read(stage, locked.filter(same).and_then(|locked| locked.content))
    }

    fn listed(&self, resolved: &ResolvedStage) -> Option<&VendoredStage> {
        self.list.named(&resolved.name).find(|stage| {
            (&stage.version, &stage.source) == (&resolved.version, &resolved.source)
                && resolved.entry.content.is_none_or(|content| content == stage.content)
        })
    }

    /// Reads a stage and checks it against the list and the lock; `None` where it is damaged and about to be renewed.
    fn read(&self, stage: &VendoredStage, locked: Option<Digest>) -> Result<Option<Package>, SourceError> {
        match self.checked(stage, locked) {
            Ok(package) => Ok(Some(package)),
            Err(_) if self.renewing => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn checked(&self, stage: &VendoredStage, locked: Option<Digest>) -> Result<Package, SourceError> {
        let root = self.folder.join(&stage.folder);
        let name = || stage.name.clone();
        if let Some(locked) = locked
            && locked != stage.content
        {
            return Err(SourceError::VendorNotLocked {
                name: name(),
                path: root,
                locked,
                found: stage.content,
            });
        }
        if !real_folder(&root)? {
            return Err(SourceError::VendorMissing { name: name(), path: root });
        }
        let listing = stage_files::read(&root, Modes::Listed(&stage.modes))?;
        if listing.content != stage.content {
            return Err(changed(stage, root, &listing));
        }
        let shown = root.to_string_lossy();
        let Some(manifest) = package::copied_manifest(&root, &shown, stage.name.as_str(), &listing.contents)?
        else {
            return Err(SourceError::NotAStage { path: root });
        };
        let package = Package::with_manifest(&root, manifest, listing)?;
        if package.name != stage.name || package.version != stage.version {
            let place = format!("the vendored folder `{}`", root.display());
            return Err(SourceError::WrongName { place, found: package.name, wanted: name() });
        }
        Ok(package)
    }
}

/// Says how the files of a vendored stage differ from what was put there, and what may have done it.
fn changed(stage: &VendoredStage, root: PathBuf, listing: &Listing) -> SourceError {
    let difference = stage.difference(&digests(&listing.files));
    let (expected, found) = match &difference {
        Difference::Changed { expected, found, .. } => (*expected, *found),
        _ => (stage.content, listing.content),
    };
    let (name, reason) = (stage.name.clone(), difference.to_string());
    match suspect(&root, &difference) {
        None => SourceError::VendorChanged { name, path: root, reason, expected, found },
        Some(suspect) => {
            let reason = format!("{reason}: {suspect}");
            SourceError::VendorRewritten { name, path: root, reason, expected, found }
        }
    }
}

/// Returns how git has made a file another one, where it was git.
fn suspect(root: &Path, difference: &Difference) -> Option<&'static str> {
    let Difference::Changed { path, expected, .. } = difference else { return None };
    let mut bytes = Vec::new();
    let file = pib_file::open(root.join(path)).ok()?;
    file.take(stage_files::MAX_BYTES).read_to_end(&mut bytes).ok()?;
    if stage_files::is_lfs_pointer(&bytes) {
        return Some("it is a Git LFS pointer now, not the file that it stands for");
    }
    let is_right = |bytes: Vec<u8>| Digest::of(&bytes) == *expected;
    if is_right(without_carriage_returns(&bytes)) {
        return Some("its line ends are CRLF now and were LF, as git makes them where core.autocrlf is set");
    }
    is_right(with_carriage_returns(&bytes))
        .then_some("its line ends are LF now and were CRLF, as git stores text files")
}

/// Returns the bytes with LF in the place of CRLF.
fn without_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Returns the bytes with CRLF in the place of LF.
fn with_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for byte in bytes {
        if *byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

fn digests(files: &[PackageFile]) -> BTreeMap<String, Digest> {
    files.iter().map(|file| (file.path.clone(), file.digest)).collect()
}

/// Returns whether there is a folder, not a link to one.
fn real_folder(path: &Path) -> Result<bool, SourceError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        metadata => Ok(metadata.map_err(SourceError::io("reading", path))?.is_dir()),
    }
}

/// Opens the folder of vendored stages; `None` where there is none.
fn find(project: &Folder, path: &str) -> Result<Option<Folder>, SourceError> {
    match project.folder(path) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::io("opening", &project.path().join(path))(error)),
    }
}

/// Reads the list in `folder`, which messages call `shown`.
fn read_list(folder: &Folder, shown: &str) -> Result<Option<VendorList>, SourceError> {
    let file = folder.open_file(FILE_NAME);
    let text = stage_files::text(&folder.path().join(FILE_NAME), file, MAX_LIST as u64)?;
    Ok(text.map(|text| VendorList::parse(shown, &text)).transpose()?)
}

#[cfg(test)]
#[path = "vendor_folder_tests.rs"]
mod tests;
