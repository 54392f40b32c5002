//! A store that others have filled, in a folder or behind a web server: files by their digests.
//!
//! It has the form of the store itself, so that a copy of that serves as one: `<2 hex digits>/<hex>`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pib_file::Folder;
use pib_net::Http;
use pib_plan::id::Digest;
use tempfile::NamedTempFile;
use url::Url;

use crate::store::below;

/// Where files can be had by their digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteStore {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A web server.
    Web(Url),
}

impl RemoteStore {
    /// Returns the place that an address or a path, from the folder `dir`, means.
    pub fn new(dir: &Path, text: &str) -> Self {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map_or_else(|| Self::Folder(dir.join(text)), Self::Web)
    }

    /// Writes a file of this digest and size into `folder`; `None` where the place does not have it. What it has under that
    /// name and is another file is an error.
    ///
    /// # Errors
    /// When the place cannot be read, or has another file under that name.
    pub async fn take(
        &self,
        http: &Http,
        digest: &Digest,
        size: u64,
        folder: &Path,
    ) -> io::Result<Option<NamedTempFile>> {
        let mut file = NamedTempFile::new_in(folder)?;
        let found = match self {
            Self::Folder(root) => copy(&root.join(below(digest)), size, file.as_file_mut())?,
            Self::Web(url) => {
                let text = format!("{}/{}", url.as_str().trim_end_matches('/'), below(digest).display());
                let url = Url::parse(&text).map_err(io::Error::other)?;
                match http.download(&url, size, file.as_file_mut(), &|_| ()).await {
                    Ok(found) => Some(found),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        };
        match found {
            None => Ok(None),
            Some(found) if found == *digest => Ok(Some(file)),
            Some(found) => {
                Err(io::Error::other(format!("{self} has another file under the name of {digest}: {found}")))
            }
        }
    }
}

impl std::fmt::Display for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "the store {}", path.display()),
            Self::Web(url) => write!(f, "the store {url}"),
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

/// Puts a file into the store in a folder, where it is not there yet; returns whether it was not. No link on the way is
/// followed. This blocks.
///
/// # Errors
/// When the file is another one than its digest says, or the store cannot be written to.
pub fn put(root: &Folder, digest: &Digest, from: &Path) -> io::Result<bool> {
    let path = below(digest);
    let size = fs::metadata(from)?.len();
    let known = root.open_file(&path).and_then(|file| file.metadata());
    if known.is_ok_and(|there| there.len() == size) {
        return Ok(false);
    }
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
