//! Where a registry's files are, to be read and replaced: in a folder, or in a bucket.
//!
//! In a bucket a file is written only in the place of the one that was read. A folder has a lock instead, which the caller holds.

use std::io;
use std::path::Path;

use pib_file::Folder;
use pib_objects::{Bucket, Expected, ObjectError, ObjectVersion};

use super::SourceError;
use super::registry_folder::replace;

/// Where a registry's files are.
#[derive(Debug, Clone, Copy)]
pub enum RegistryStore<'a> {
    /// In a folder.
    Folder(&'a Path),
    /// In a bucket, with its address for errors.
    Bucket(&'a Bucket, &'a str),
}

impl RegistryStore<'_> {
    /// Returns a file, and of a bucket its version; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than `limit` bytes.
    pub(super) async fn read(
        self,
        path: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Option<ObjectVersion>)>, SourceError> {
        match self {
            Self::Folder(root) => {
                let read = Folder::open(root)
                    .and_then(|folder| folder.open_file(Path::new(path)))
                    .and_then(|file| pib_file::read_open(file, limit));
                match read {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    read => Ok(Some((read.map_err(SourceError::io("reading", &root.join(path)))?, None))),
                }
            }
            Self::Bucket(bucket, _) => {
                let found = bucket.get(path, limit).await.map_err(self.fail("reading", path))?;
                Ok(found.map(|(bytes, version)| (bytes, Some(version))))
            }
        }
    }

    /// Writes a file in the place of the one that was read; returns whether that was still there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn write(
        self,
        path: &str,
        bytes: Vec<u8>,
        before: Option<&ObjectVersion>,
    ) -> Result<bool, SourceError> {
        match self {
            Self::Folder(root) => {
                let folder = Folder::open(root).map_err(SourceError::io("opening", root))?;
                replace(&folder, Path::new(path), &bytes).map(|()| true)
            }
            Self::Bucket(bucket, _) => {
                let expected = before.map_or(Expected::Nothing, Expected::Version);
                match bucket.put(path, bytes, expected).await {
                    Ok(()) => Ok(true),
                    Err(ObjectError::Conflict(_)) => Ok(false),
                    Err(error) => Err(self.fail("writing", path)(error)),
                }
            }
        }
    }

    /// Returns what errors call the registry.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Folder(root) => format!("the registry `{}`", root.display()),
            Self::Bucket(_, address) => format!("the registry {address}"),
        }
    }

    /// Returns the error of a registry that is not as it must be.
    pub(super) fn bad(self, reason: String) -> SourceError {
        SourceError::BadRegistry { registry: self.describe(), reason }
    }

    /// Returns what makes an error of a bucket's.
    pub(super) fn fail(
        self,
        action: &'static str,
        path: &str,
    ) -> impl FnOnce(ObjectError) -> SourceError + use<> {
        let what = format!("`{path}` of {}", self.describe());
        move |source| SourceError::Objects { action, what, source }
    }
}
