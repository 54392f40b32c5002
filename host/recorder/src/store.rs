//! Keeps bodies, each in a file that is named by its digest.
//!
//! ```text
//! <root>/<2 hex digits>/<hex>   a body
//! <root>/tmp/                   bodies on their way
//! ```

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pib_plan::id::Digest;
use tempfile::NamedTempFile;

/// Says what could not be done in the store.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {} failed", path.display())]
pub struct StoreError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }
}

/// The bodies of recorded responses. Any number of processes may use it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// What this process has compared with its digest, or written.
    checked: Mutex<HashSet<Digest>>,
}

impl Store {
    /// Returns the store in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(root: PathBuf) -> Result<Self, StoreError> {
        let temp = root.join("tmp");
        fs::create_dir_all(&temp).map_err(StoreError::io("creating", &temp))?;
        Ok(Self { root, checked: Mutex::default() })
    }

    /// Returns a body, compared with its digest once in this process. One that is damaged is removed. This blocks.
    pub fn open(&self, digest: &Digest, size: u64) -> Option<File> {
        let path = self.path(digest);
        let file = pib_file::open(&path).ok()?;
        if file.metadata().ok()?.len() == size && self.is_whole(digest, &path) {
            return Some(file);
        }
        // What is not what its name says serves nobody.
        _ = fs::remove_file(&path);
        None
    }

    /// Returns whether a body is there, by its size. What it holds is compared when it is opened.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    fn is_whole(&self, digest: &Digest, path: &Path) -> bool {
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().contains(digest) {
            return true;
        }
        let found = pib_file::open(path).and_then(pib_file::sha256);
        let is_whole = found.is_ok_and(|found| found == *digest.as_bytes());
        if is_whole {
            checked().insert(*digest);
        }
        is_whole
    }

    /// Compares every body of the store in a folder with its digest; returns how many fit, and the paths of those that do not
    /// and are gone now. This blocks.
    ///
    /// # Errors
    /// When a body cannot be read, or a damaged one cannot be removed.
    pub fn verify(root: &Path) -> io::Result<(usize, Vec<PathBuf>)> {
        let (mut whole, mut damaged) = (0, Vec::new());
        let folders = root.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let folders = folders.filter(|folder| folder.file_name().is_some_and(|name| name.len() == 2));
        for file in folders.flat_map(|folder| folder.read_dir().into_iter().flatten().flatten()) {
            let path = file.path();
            let digest = Digest::from_bytes(pib_file::open(&path).and_then(pib_file::sha256)?);
            if path.file_name().is_some_and(|name| *name == *digest.hex()) {
                whole += 1;
            } else {
                fs::remove_file(&path)?;
                damaged.push(path);
            }
        }
        Ok((whole, damaged))
    }

    /// Returns a file for a body that is on its way.
    pub(crate) fn begin(&self) -> Result<NamedTempFile, StoreError> {
        let temp = self.temp();
        NamedTempFile::new_in(&temp).map_err(StoreError::io("creating a file in", &temp))
    }

    /// Gives a whole body its name.
    pub(crate) fn keep(&self, file: NamedTempFile, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        file.persist(&path).map_err(|error| StoreError::io("writing", &path)(error.error))?;
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest);
        Ok(())
    }

    /// Returns where a body is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(below(digest))
    }

    /// Returns the folder for bodies that are on their way.
    pub(crate) fn temp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Returns where a file is below a store's folder.
pub(crate) fn below(digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    Path::new(&hex[..2]).join(&hex)
}
