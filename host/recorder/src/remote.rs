//! A store that others have filled, in a folder, behind a web server, in a bucket or in an OCI registry: files by their
//! digests.
//!
//! But for the registry's, it has the form of the store itself, so that a copy of that serves as one: `<2 hex digits>/<hex>`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pib_file::Folder;
use pib_net::{Http, NetError};
use pib_objects::{Access, ContentStore, ObjectError};
use pib_plan::id::Digest;
use pib_plan::object_address::ObjectAddress;
use tempfile::NamedTempFile;
use url::Url;

use crate::store::below;

/// A store of files by their digests, on this machine or another.
#[derive(Debug, Clone)]
pub enum RemoteStore {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A web server.
    Web(Url),
    /// A bucket, or a repository of an OCI registry.
    Objects(Arc<ContentStore>),
}

impl RemoteStore {
    /// Returns the place that an address or a path, from the folder `dir`, means; `access` lets the user in where that is needed.
    pub fn new(dir: &Path, text: &str, access: &Access) -> Self {
        if let Ok(address) = text.parse::<ObjectAddress>() {
            return Self::Objects(Arc::new(ContentStore::new(address, access.clone())));
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map_or_else(|| Self::Folder(dir.join(text)), Self::Web)
    }

    /// Writes a file of this digest and size into `folder`; `None` where the place does not have it.
    async fn take(
        &self,
        http: &Http,
        digest: &Digest,
        size: u64,
        folder: &Path,
    ) -> Result<Option<NamedTempFile>, Trouble> {
        let mut file = NamedTempFile::new_in(folder).map_err(Trouble::Here)?;
        let found = match self {
            Self::Folder(root) if !root.is_dir() => {
                return Err(Trouble::Store("there is no such folder".to_owned()));
            }
            Self::Folder(root) => copy(&root.join(below(digest)), size, file.as_file_mut())
                .map_err(|error| Trouble::Store(error.to_string()))?,
            Self::Web(url) => {
                let text = format!("{}/{}", url.as_str().trim_end_matches('/'), below(digest).display());
                let url = Url::parse(&text).map_err(|error| Trouble::Store(error.to_string()))?;
                match http.download(&url, size, file.as_file_mut(), &|_| ()).await {
                    Ok(found) => Some(found),
                    Err(error) if error.is_not_found() => None,
                    // It answers, and what it has under this name is longer than it should be.
                    Err(NetError::TooLarge { .. }) => return Err(Trouble::File("a longer file".to_owned())),
                    Err(error) => return Err(Trouble::Store(error.to_string())),
                }
            }
            Self::Objects(store) => match store.download(digest, size, file.as_file_mut()).await {
                Ok(found) => found,
                Err(ObjectError::TooLarge(_)) => return Err(Trouble::File("a longer file".to_owned())),
                Err(ObjectError::Here(error)) => return Err(Trouble::Here(error)),
                Err(error) => return Err(Trouble::Store(error.to_string())),
            },
        };
        match found {
            None => Ok(None),
            Some(found) if found == *digest => Ok(Some(file)),
            Some(found) => Err(Trouble::File(format!("the file {found}"))),
        }
    }
}

/// Says why a store did not give a file.
enum Trouble {
    /// The store cannot be used.
    Store(String),
    /// It has something else under the file's name.
    File(String),
    /// The file cannot be written here.
    Here(io::Error),
}

/// The stores that are asked for files, in turn. One that cannot be used is not asked again.
#[derive(Debug)]
pub struct Stores {
    list: Vec<RemoteStore>,
    http: Http,
    state: Mutex<StoresState>,
}

#[derive(Debug, Default)]
struct StoresState {
    /// Which cannot be used.
    unusable: BTreeSet<usize>,
    /// What was wrong, a sentence each.
    troubles: BTreeSet<String>,
}

impl Stores {
    /// Returns the stores of a list that may be used: without the network, those in folders.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(list: Vec<RemoteStore>, offline: bool) -> Result<Self, NetError> {
        let usable = list.into_iter().filter(|store| !offline || matches!(store, RemoteStore::Folder(_)));
        Ok(Self { list: usable.collect(), http: Http::new()?, state: Mutex::default() })
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes a file of this digest and size into `folder`; `None` where no store has it.
    ///
    /// # Errors
    /// When it cannot be written here.
    pub async fn take(&self, digest: &Digest, size: u64, folder: &Path) -> io::Result<Option<NamedTempFile>> {
        for (number, store) in self.list.iter().enumerate() {
            if self.state().unusable.contains(&number) {
                continue;
            }
            match store.take(&self.http, digest, size, folder).await {
                Ok(None) => {}
                Ok(Some(file)) => return Ok(Some(file)),
                Err(Trouble::Here(error)) => return Err(error),
                Err(Trouble::File(what)) => {
                    let trouble = format!("{store} has {what} under the name of {digest}");
                    self.state().troubles.insert(trouble);
                }
                Err(Trouble::Store(why)) => {
                    let mut state = self.state();
                    // Others asked for something at the same time.
                    if state.unusable.insert(number) {
                        state.troubles.insert(format!("{store} cannot be used: {why}"));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Returns what was wrong with them so far, a sentence each.
    pub fn troubles(&self) -> Vec<String> {
        self.state().troubles.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, StoresState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "the store {}", path.display()),
            Self::Web(url) => write!(f, "the store {url}"),
            Self::Objects(store) => write!(f, "the store {store}"),
        }
    }
}

/// Copies a file of this size; returns its digest, or `None` where there is none.
fn copy(path: &Path, size: u64, to: &mut fs::File) -> io::Result<Option<Digest>> {
    use io::{Read as _, Seek as _};
    let file = match pib_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // One byte more tells a longer one.
    io::copy(&mut file.take(size.saturating_add(1)), to)?;
    to.rewind()?;
    pib_file::sha256(&*to).map(|digest| Some(Digest::from_bytes(digest)))
}

/// Puts a file into the store in a folder, where it is not there yet; returns whether it was not. What is there under the file's
/// name and is another one is replaced. No link on the way is followed. This blocks.
///
/// # Errors
/// When the file is another one than its digest says, or the store cannot be written to.
pub fn put(root: &Folder, digest: &Digest, from: &Path) -> io::Result<bool> {
    let path = below(digest);
    let known = root.open_file(&path).and_then(pib_file::sha256);
    if known.is_ok_and(|there| Digest::from_bytes(there) == *digest) {
        return Ok(false);
    }
    let size = fs::metadata(from)?.len();
    let (folder, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
    let mut file = root.make_folder(folder)?.output(name)?.create()?;
    match copy(from, size, file.file())? {
        Some(found) if found == *digest => {}
        _ => return Err(io::Error::other(format!("{} is not the file {digest}", from.display()))),
    }
    file.as_file().sync_all()?;
    // A store is for others to read.
    file.keep(PermissionsExt::from_mode(0o644))?;
    Ok(true)
}
