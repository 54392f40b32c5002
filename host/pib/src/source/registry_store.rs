//! Where a registry's files are, to be read and replaced: in a folder, or in a bucket.
//!
//! In a bucket a file is written only in the place of the one that was read. A folder has a lock instead, which the caller holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use pib_file::Folder;
use pib_objects::{Bucket, Expected, ObjectError, ObjectVersion};
use pib_plan::registry_snapshot::FILE_NAME;
use pib_plan::stage_artifact::signed_lines;

use super::SourceError;
use super::registry::{MAX_FILES, name_at};
use super::registry_folder::{hold, replace};
use super::registry_oci::OciRegistry;

/// Where a registry's files are.
#[derive(Debug, Clone, Copy)]
pub enum RegistryStore<'a> {
    /// In a folder.
    Folder(&'a Path),
    /// In a bucket, with its address for errors.
    Bucket(&'a Bucket, &'a str),
    /// In a namespace of an OCI registry. What a folder has in an index file is there what is signed of a stage, and the only file that
    /// is written is the snapshot.
    Oci(&'a OciRegistry),
}

impl RegistryStore<'_> {
    /// Returns a file, and of a bucket its version; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than `limit` bytes.
    pub(crate) async fn read(
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
            Self::Oci(registry) if path == FILE_NAME => {
                let found = registry.snapshot(None).await?;
                Ok(found.map(|(text, digest)| (text, Some(ObjectVersion::of_tag(digest.to_string())))))
            }
            Self::Oci(registry) => {
                let Some(name) = name_at(Path::new(path)) else { return Ok(None) };
                let manifests = registry.manifests(&name, &BTreeMap::new()).await?;
                let lines = signed_lines(&name, &manifests);
                Ok((!lines.is_empty()).then(|| (lines.into_bytes(), None)))
            }
        }
    }

    /// Writes a file in the place of the one that was read; returns whether that was still there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn write(
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
                match bucket.put_typed(path, bytes, expected, media_type(path)).await {
                    Ok(()) => Ok(true),
                    Err(ObjectError::Conflict(_)) => Ok(false),
                    Err(error) => Err(self.fail("writing", path)(error)),
                }
            }
            Self::Oci(registry) if path == FILE_NAME => {
                registry.write_snapshot(&bytes, before.and_then(ObjectVersion::tag)).await
            }
            Self::Oci(_) => Err(self.no_file(path)),
        }
    }

    /// Holds the registry for this process alone, until what is returned is dropped. In a bucket nobody holds anything.
    ///
    /// # Errors
    /// When the folder cannot be locked.
    pub(crate) fn hold(self) -> Result<Option<File>, SourceError> {
        match self {
            Self::Folder(root) => hold(root).map(|(_, lock)| Some(lock)),
            Self::Bucket(..) | Self::Oci(_) => Ok(None),
        }
    }

    /// Replaces a file whatever was there; in a folder, unless it is as it should be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn replace(self, path: &str, bytes: &[u8]) -> Result<(), SourceError> {
        match self {
            Self::Folder(root) => {
                let folder = Folder::open(root).map_err(SourceError::io("opening", root))?;
                match folder.read(Path::new(path), bytes.len() as u64) {
                    Ok(before) if before == bytes => Ok(()),
                    _ => replace(&folder, Path::new(path), bytes),
                }
            }
            Self::Bucket(bucket, _) => {
                let put = bucket.put_typed(path, bytes.to_vec(), Expected::Anything, media_type(path)).await;
                put.map_err(self.fail("writing", path))
            }
            Self::Oci(_) => Err(self.no_file(path)),
        }
    }

    /// Removes a file, where there is one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) async fn remove(self, path: &str) -> Result<(), SourceError> {
        match self {
            Self::Folder(root) => {
                let removed = Folder::open(root).and_then(|folder| folder.remove_file(Path::new(path)));
                match removed {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed.map_err(SourceError::io("removing", &root.join(path))),
                }
            }
            Self::Bucket(bucket, _) => bucket.remove(path).await.map_err(self.fail("removing", path)),
            Self::Oci(_) => Err(self.no_file(path)),
        }
    }

    /// Returns the names of the files in a folder of the registry, without those in folders below it.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) async fn list(self, folder: &str) -> Result<Vec<String>, SourceError> {
        match self {
            Self::Folder(root) => {
                let listed = Folder::open(root).and_then(|root| match folder {
                    "" => root.entries(),
                    folder => root.folder(folder)?.entries(),
                });
                match listed {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                    listed => {
                        let listed = listed.map_err(SourceError::io("listing", &root.join(folder)))?;
                        Ok(listed.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect())
                    }
                }
            }
            Self::Bucket(bucket, _) => {
                let files = bucket.list(folder, MAX_FILES).await.map_err(self.fail("listing", folder))?;
                let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                let names = files.iter().filter_map(|file| file.strip_prefix(&prefix));
                Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
            }
            Self::Oci(_) => Ok(Vec::new()),
        }
    }

    /// Returns what errors call the registry.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Folder(root) => format!("the registry `{}`", root.display()),
            Self::Bucket(_, address) => format!("the registry {address}"),
            Self::Oci(registry) => registry.describe(),
        }
    }

    /// Returns the error of a registry that is not as it must be.
    pub(crate) fn bad(self, reason: String) -> SourceError {
        SourceError::BadRegistry { registry: self.describe(), reason }
    }

    fn no_file(self, path: &str) -> SourceError {
        self.bad(format!("an OCI registry has no file `{path}`"))
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

/// Returns what type a file is of, as browsers and other readers of a bucket are to be told.
fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("atom") => "application/atom+xml; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
