//! Unpacked stages, by the digest of their content.
//!
//! ```text
//! <root>/stages/<hex>/        a stage's files
//! <root>/stages/tmp/<random>/ being unpacked, or thrown away
//! <root>/stages/lock         held while a damaged stage is thrown away
//! ```
//!
//! A folder gets its name when it is whole, by one rename, so that any number of processes may share the cache
//! and any of them may be killed at any moment. Nothing is believed because of its name: every use reads the
//! files and compares their digest, and a folder that does not match is thrown away and made anew.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;

use super::SourceError;
use super::archive::{self, Promise};
use super::leftovers::TempFolder;
use super::stage_files::{self, Listing, Modes};

/// How often a finished stage is put in place before a broken one in the way is an error.
const ATTEMPTS: u32 = 8;

/// The stages that this user's pib has unpacked.
#[derive(Debug, Clone)]
pub struct StageCache {
    stages: PathBuf,
}

/// A stage in the cache whose files were found to be right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CachedStage {
    pub(super) root: PathBuf,
    pub(super) listing: Listing,
}

impl StageCache {
    /// Opens the cache below the folder `root`, which is created when it is first needed.
    pub fn new(root: &Path) -> Self {
        Self { stages: root.join("stages") }
    }

    /// Returns the stage with this content, if it is there and undamaged; a damaged one is removed.
    pub(super) fn find(&self, content: Digest) -> Result<Option<CachedStage>, SourceError> {
        let root = self.folder(content);
        match fs::symlink_metadata(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SourceError::io("reading", &root)(error)),
            Ok(_) => {}
        }
        if let Some(listing) = verify(&root, content)? {
            return Ok(Some(CachedStage { root, listing }));
        }
        // Only one process at a time throws away: else one that looked earlier could take away what another has
        // just put in place and uses.
        let _lock = self.lock()?;
        match verify(&root, content)? {
            Some(listing) => Ok(Some(CachedStage { root, listing })),
            None => self.discard(&root).map(|()| None),
        }
    }

    /// Unpacks an archive, unless another process has done so meanwhile, and returns the stage.
    pub(super) fn insert(&self, archive: &[u8], promise: &Promise<'_>) -> Result<CachedStage, SourceError> {
        let temp = self.temp_folder()?;
        let listing = archive::unpack(archive, promise, temp.path())?;
        self.put(temp, listing)
    }

    /// Takes in the stage that `fill` writes into a folder, which messages call `shown`.
    pub(super) fn insert_folder<E: From<SourceError>>(
        &self,
        shown: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<CachedStage, E> {
        let temp = self.temp_folder()?;
        fill(temp.path())?;
        let listing = stage_files::apply_records(temp.path(), shown)?;
        Ok(self.put(temp, listing)?)
    }

    /// Gives a whole folder its name, unless another process has done so meanwhile.
    fn put(&self, temp: TempFolder, listing: Listing) -> Result<CachedStage, SourceError> {
        let content = listing.content;
        let root = self.folder(content);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match fs::rename(temp.path(), &root) {
                Ok(()) => {
                    temp.keep();
                    return Ok(CachedStage { root, listing });
                }
                Err(error) if is_occupied(&error) && attempt < ATTEMPTS => {
                    if let Some(stage) = self.find(content)? {
                        return Ok(stage);
                    }
                }
                Err(error) => return Err(SourceError::io("moving a stage to", &root)(error)),
            }
        }
    }

    fn folder(&self, content: Digest) -> PathBuf {
        self.stages.join(content.hex())
    }

    /// Takes a damaged stage away. Another process may be quicker; that is as good.
    fn discard(&self, root: &Path) -> Result<(), SourceError> {
        let temp = self.temp_folder()?;
        match fs::rename(root, temp.path().join("discarded")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SourceError::io("removing the damaged", root)(error))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<File, SourceError> {
        let path = self.stages.join("lock");
        let file = pib_file::open_or_create(&path);
        let file = file.map_err(SourceError::io("opening", &path))?;
        file.lock().map_err(SourceError::io("locking", &path))?;
        Ok(file)
    }

    fn temp_folder(&self) -> Result<TempFolder, SourceError> {
        TempFolder::new(&self.stages)
    }
}

/// Returns the files of the stage at `root` if they are what the digest says; `None` if they are damaged.
///
/// That this machine cannot read them now, e.g. because too many files are open, does not mean that they are
/// damaged: it is an error.
fn verify(root: &Path, content: Digest) -> Result<Option<Listing>, SourceError> {
    let exact = matching(root, content, Modes::Exact)?;
    match exact {
        Some(_) => Ok(exact),
        // Earlier versions of pib left the modes of folders to the umask.
        None => matching(root, content, Modes::First),
    }
}

fn matching(root: &Path, content: Digest, modes: Modes<'_>) -> Result<Option<Listing>, SourceError> {
    match stage_files::read(root, modes) {
        Ok(listing) => Ok((listing.content == content).then_some(listing)),
        Err(SourceError::Unfit { .. }) => Ok(None),
        Err(SourceError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
#[path = "stage_cache_tests.rs"]
mod tests;
