//! Where a shared cache keeps its entries and packs: a folder, a bucket, or a repository of an OCI registry.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pib_file::Folder;
use pib_objects::{ContentStore, ObjectError};
use pib_plan::id::Digest;
use pib_plan::manifest::cache_table::CacheLocation;
use pib_plan::stage_entry::{MAX_ENTRY, PackFile, StageEntry};

use super::transfer::TransferFile;
use crate::project::Session;

/// The place of a shared cache.
pub(super) enum EntryStore {
    /// A folder of this machine, perhaps of another one's disk.
    Folder(PathBuf),
    /// A bucket or a repository.
    Objects(Box<ContentStore>),
}

/// Says why a shared cache did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheFault {
    /// It cannot be used.
    #[error("the shared cache cannot be used: {0}")]
    Unusable(String),
    /// Something in it is not what it should be.
    #[error("the shared cache has something wrong: {0}")]
    Wrong(String),
    /// A file of this machine cannot be read or written.
    #[error("the shared cache is not used: {0}")]
    Here(#[from] io::Error),
}

impl From<ObjectError> for CacheFault {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Here(error) => Self::Here(error),
            ObjectError::TooLarge(_) => Self::Wrong("a file is longer than its entry says".to_owned()),
            error => Self::Unusable(error.to_string()),
        }
    }
}

impl EntryStore {
    /// Returns the place that the config names: a folder by its path from that of the user's config, or from `~`. Nobody is
    /// asked yet.
    pub(super) fn new(session: &Session, location: &CacheLocation) -> Self {
        match location {
            CacheLocation::Folder(path) if path.starts_with("~/") => Self::Folder(session.path(path)),
            CacheLocation::Folder(path) => {
                Self::Folder(session.config.as_deref().unwrap_or(&session.cwd).join(path))
            }
            CacheLocation::Objects(address) => {
                Self::Objects(Box::new(ContentStore::new(address.clone(), session.object_access())))
            }
        }
    }

    /// Returns whether the network is needed to reach it.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    /// Checks that the place is there, as far as that can be seen without asking for an entry.
    ///
    /// # Errors
    /// When it is a folder that is not there.
    pub(super) fn is_there(&self) -> Result<(), CacheFault> {
        match self {
            Self::Folder(root) if !root.is_dir() => {
                Err(CacheFault::Unusable("there is no such folder".to_owned()))
            }
            Self::Folder(_) | Self::Objects(_) => Ok(()),
        }
    }

    /// Returns the entry of a key, if there is one.
    ///
    /// # Errors
    /// When the store cannot be used, or has something else under the key.
    pub(super) async fn entry(&self, key: Digest) -> Result<Option<StageEntry>, CacheFault> {
        let text = match self {
            Self::Folder(root) => {
                let root = root.clone();
                blocking(move || read_entry(&root, &key)).await?
            }
            Self::Objects(store) => store.entry(&key, MAX_ENTRY).await?,
        };
        let parse = |text: Vec<u8>| StageEntry::parse(&text, &key);
        text.map(parse)
            .transpose()
            .map_err(|error| CacheFault::Wrong(format!("the entry {}: {error}", key.hex())))
    }

    /// Writes a pack into `file`, which is empty.
    ///
    /// # Errors
    /// When the store does not have it, or has another file under its name.
    pub(super) async fn fetch(&self, pack: &PackFile, file: &mut File) -> Result<(), CacheFault> {
        let found = match self {
            Self::Folder(root) => {
                let (path, size, mut file) =
                    (root.join(pack_name(&pack.digest)), pack.size, file.try_clone()?);
                blocking(move || copy(&path, size, &mut file)).await?
            }
            Self::Objects(store) => store.download(&pack.digest, pack.size, file).await?,
        };
        match found {
            Some(found) if found == pack.digest => Ok(()),
            Some(found) => {
                Err(CacheFault::Wrong(format!("it has {found} under the name of {}", pack.digest)))
            }
            None => Err(CacheFault::Wrong(format!("an entry names {}, which it does not have", pack.digest))),
        }
    }

    /// Adds an entry, after its own pack, which is in the file `pack`.
    ///
    /// # Errors
    /// When the store does not take them.
    pub(super) async fn put(&self, entry: &StageEntry, pack: TransferFile) -> Result<(), CacheFault> {
        let own = entry.packs.last().map_or(entry.rootfs.digest, |pack| pack.digest);
        match self {
            Self::Folder(root) => {
                let (root, entry) = (root.clone(), entry.clone());
                blocking(move || {
                    let folder = Folder::make(&root).map_err(unusable)?;
                    pib_recorder::put(&folder, &own, pack.path()).map_err(unusable)?;
                    write_entry(&folder, &entry).map_err(unusable)
                })
                .await
            }
            Self::Objects(store) => {
                store.upload(&own, pack.path()).await?;
                let files: Vec<_> = entry.packs.iter().map(|pack| (pack.digest, pack.size)).collect();
                Ok(store.put_entry(&entry.key, &entry.to_text(), &files).await?)
            }
        }
    }
}

impl fmt::Display for EntryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Objects(store) => store.fmt(f),
        }
    }
}

/// Runs work on files in a thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheFault> + Send + 'static,
) -> Result<T, CacheFault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(CacheFault::Here(io::Error::other(error))))
}

fn unusable(error: io::Error) -> CacheFault {
    CacheFault::Unusable(error.to_string())
}

fn pack_name(digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    Path::new(&hex[..2]).join(&hex)
}

fn entry_name(key: &Digest) -> PathBuf {
    Path::new("entries").join(format!("{}.json", key.hex()))
}

fn read_entry(root: &Path, key: &Digest) -> Result<Option<Vec<u8>>, CacheFault> {
    match pib_file::read(root.join(entry_name(key)), MAX_ENTRY) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(CacheFault::Wrong(format!("the entry {} is too long", key.hex())))
        }
        Err(error) => Err(unusable(error)),
    }
}

fn write_entry(folder: &Folder, entry: &StageEntry) -> io::Result<()> {
    use io::Write as _;
    let name = entry_name(&entry.key);
    let (parent, name) = (name.parent().unwrap_or(&name), name.file_name().unwrap_or_default());
    let mut file = folder.make_folder(parent)?.output(name)?.create()?;
    file.file().write_all(entry.to_text().as_bytes())?;
    file.as_file().sync_all()?;
    // A cache is for others to read.
    file.keep(PermissionsExt::from_mode(0o644))
}

/// Copies a file of this size; returns its digest, or `None` where there is none.
fn copy(path: &Path, size: u64, to: &mut File) -> Result<Option<Digest>, CacheFault> {
    use io::{Read as _, Seek as _};
    let file = match pib_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    // One byte more tells a longer one.
    io::copy(&mut file.take(size.saturating_add(1)), to)?;
    to.rewind()?;
    Ok(Some(Digest::from_bytes(pib_file::sha256(&*to)?)))
}
