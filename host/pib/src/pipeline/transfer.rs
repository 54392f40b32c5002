//! Files of stages on their way to and from a shared cache, in the user's own cache. They go when they are dropped.

use std::fs::File;
use std::io;
use std::path::Path;

use pib_file::Folder;
use tempfile::NamedTempFile;

use crate::project::Session;

/// The folder of the user's cache for them.
pub(crate) const FOLDER: &str = "shared";

/// Returns the folder for them.
///
/// # Errors
/// When it cannot be made.
pub(super) fn folder(session: &Session) -> io::Result<Folder> {
    Folder::make(session.cache.join(FOLDER))
}

/// A file that others read by its path.
#[derive(Debug)]
pub(crate) struct TransferFile(NamedTempFile);

impl TransferFile {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(folder: &Folder) -> io::Result<Self> {
        NamedTempFile::new_in(folder.path()).map(Self)
    }

    /// Returns the file, to write to it.
    pub(super) fn as_file(&self) -> &File {
        self.0.as_file()
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}
