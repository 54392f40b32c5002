//! Keeps what archives said: their release files and keys, so that a mirror is asked only whether one has changed, and what was chosen
//! of lists of packages, so that the same lists are not fetched and read again.
//!
//! ```text
//! <folder>/<hex>.release    a release file, or a file of keys, named by the digest of its address; it is verified on every use
//! <folder>/<hex>.packages   the packages that a recipe needs, named by the digest of the recipe and of the lists
//! ```
//!
//! The first line of each is the digest of the rest. What does not fit it, is as if it were not there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pib_net::{Http, Validators};
use pib_plan::base::{BaseSource, Bootstrap};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::snapshot::SnapshotPackage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::DebianError;

/// Raise it when other packages would be chosen of the same lists.
const VERSION: &str = "pib selection 1";
/// The largest release file that is read; today's have 200 KB.
pub(super) const MAX_RELEASE: u64 = 8 << 20;
/// The most that is read of a file: a release file as text in JSON, or 10,000 packages.
const MAX_FILE: u64 = 4 * MAX_RELEASE;
/// How many files of each kind are kept: those that were written last.
const MOST: usize = 64;

/// What archives said, for one run of pib.
#[derive(Debug)]
pub(super) struct ListCache {
    folder: PathBuf,
    /// Asks for release files: it makes out soon whether a mirror can be reached.
    http: Http,
    /// Whether nothing is asked for.
    offline: bool,
    /// The release files that were asked for.
    asked: Mutex<BTreeMap<Url, String>>,
}

/// A release file, and what tells it from a later one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ReleaseFile {
    text: String,
    #[serde(flatten)]
    validators: Validators,
}

impl ListCache {
    /// Opens the cache in `folder`, which is made when it is first needed.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub(super) fn new(folder: &Path, offline: bool) -> Result<Self, DebianError> {
        let (folder, http) = (folder.to_owned(), Http::impatient()?);
        Ok(Self { folder, http, offline, asked: Mutex::default() })
    }

    /// Returns whether nothing is asked for.
    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Returns the client that asks for release files.
    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// Returns the release file, or the file of keys, at an address: the one that is kept, unless there is another one by now.
    ///
    /// # Errors
    /// When the mirror cannot be asked, or may not be and nothing is kept.
    pub(super) async fn file(&self, url: &Url) -> Result<Vec<u8>, DebianError> {
        if let Some(text) = self.asked().get(url) {
            return Ok(text.clone().into_bytes());
        }
        let path = self.folder.join(format!("{}.release", Digest::of(url.as_str().as_bytes()).hex()));
        let kept: Option<ReleaseFile> = read(&path);
        if self.offline {
            let kept = kept.ok_or_else(|| DebianError::Offline { url: url.to_string() })?;
            return Ok(kept.text.into_bytes());
        }
        let kept = kept.unwrap_or_default();
        let text = match self.http.changed(url, MAX_RELEASE, &kept.validators).await? {
            None => kept.text,
            Some((bytes, validators)) => match String::from_utf8(bytes) {
                Ok(text) => {
                    self.write(&path, &ReleaseFile { text: text.clone(), validators });
                    text
                }
                // What it is, is for the caller to say.
                Err(error) => return Ok(error.into_bytes()),
            },
        };
        self.asked().insert(url.clone(), text.clone());
        Ok(text.into_bytes())
    }

    /// Returns what was chosen for a recipe of the lists with these digests.
    pub(super) fn packages(&self, recipe: &Bootstrap, lists: &[Digest]) -> Option<Vec<SnapshotPackage>> {
        read(&self.packages_path(recipe, lists))
    }

    /// Keeps what was chosen.
    pub(super) fn keep_packages(&self, recipe: &Bootstrap, lists: &[Digest], packages: &[SnapshotPackage]) {
        self.write(&self.packages_path(recipe, lists), &packages);
    }

    fn packages_path(&self, recipe: &Bootstrap, lists: &[Digest]) -> PathBuf {
        let mut key = KeyHasher::new(VERSION);
        key.field(env!("CARGO_PKG_VERSION"));
        key.field(BaseSource::Bootstrap(recipe.clone()).recipe().as_bytes());
        for digest in lists {
            key.field(digest.as_bytes());
        }
        self.folder.join(format!("{}.packages", key.finish().hex()))
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, BTreeMap<Url, String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a file. Where that fails, it is only not there the next time.
    fn write(&self, path: &Path, content: &impl Serialize) {
        let Ok(text) = serde_json::to_string(content) else { return };
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            write!(file, "{}\n{text}", Digest::of(text.as_bytes()))?;
            file.persist(path)?;
            Ok::<(), std::io::Error>(())
        };
        if write().is_ok() {
            self.forget_old(path.extension().unwrap_or_default());
        }
    }

    /// Removes the oldest files of a kind, where there are more than are kept.
    fn forget_old(&self, kind: &std::ffi::OsStr) {
        let entries = self.folder.read_dir().into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter(|entry| entry.path().extension() == Some(kind))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let too_many = files.len().saturating_sub(MOST);
        for (_, path) in files.into_iter().take(too_many) {
            // Another pib may have been quicker.
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns what a file holds, where it is there and whole.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = pib_file::read_text(path, MAX_FILE).ok()?;
    let (digest, rest) = text.split_once('\n')?;
    let is_whole = digest.parse() == Ok(Digest::of(rest.as_bytes()));
    is_whole.then(|| serde_json::from_str(rest).ok()).flatten()
}
