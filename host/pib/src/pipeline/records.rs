//! What this user's pib has built: the ids of container images, by the keys of their last stages, and the images that it has
//! written.
//!
//! An engine's tags and labels are anybody's to give. An id is the digest of what a container image is made of, so that one
//! which this user's pib has seen its own build end in is what was built, on whichever engine it is found. The records
//! bear the user's seal; without them, the engine's own cache answers, which takes a little longer.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use pib_file::sealed::Sealed;
use pib_plan::id::{Digest, KeyHasher};

use crate::project::Session;

/// The cache's folder for them.
pub(crate) const FOLDER: &str = "built";
/// How many ids are kept of a key: engines of different kinds give different ones.
const MOST: usize = 16;

/// The records of one user.
pub(crate) struct Records(Sealed);

impl Records {
    /// Opens the records in the session's cache; nothing is read yet.
    pub(crate) fn new(session: &Session) -> Self {
        Self(Sealed::new(session.cache.join(FOLDER)))
    }

    /// Returns whether a container image is what a build of the stages with this key ended in.
    pub(crate) fn holds(&self, key: Digest, image: &str) -> bool {
        self.ids(key).iter().any(|id| id == image)
    }

    /// Notes what a build of the stages with this key ended in.
    pub(crate) fn add(&self, key: Digest, image: &str) {
        let mut ids = self.ids(key);
        ids.retain(|id| id != image);
        ids.insert(0, image.to_owned());
        ids.truncate(MOST);
        self.0.put(&key.hex(), ids.join("\n").as_bytes());
    }

    /// Returns whether this user's pib has loaded a container image, such as a base, into an engine.
    pub(crate) fn has_loaded(&self, image: &str) -> bool {
        self.holds(Digest::of(image.as_bytes()), image)
    }

    /// Notes a container image that was loaded into an engine.
    pub(crate) fn add_loaded(&self, image: &str) {
        if !self.has_loaded(image) {
            self.add(Digest::of(image.as_bytes()), image);
        }
    }

    /// Returns whether this user's pib has written the image at `path`; `state` tells which one it was.
    pub(crate) fn has_written(&self, path: &Path, state: &str) -> bool {
        self.holds(written_key(path), state)
    }

    /// Notes an image that was written to `path`.
    pub(crate) fn add_written(&self, path: &Path, state: &str) {
        self.add(written_key(path), state);
    }

    /// Returns the key by which this user tells secrets apart: nobody else can try out guesses with it.
    ///
    /// # Errors
    /// When the records cannot be kept.
    pub(crate) fn secrets_key(&self) -> std::io::Result<[u8; 32]> {
        let trouble = || std::io::Error::other(self.0.trouble().unwrap_or_default().to_owned());
        self.0.derived("the key of secrets").ok_or_else(trouble)
    }

    /// Returns what tells this user's things in an engine from those of others, and does not tell who it is; nothing where
    /// the records cannot be kept.
    pub(crate) fn user(&self) -> Option<String> {
        self.0.derived("the user in engines").map(|digest| hex::encode(&digest[..8]))
    }

    /// Checks the records: returns how many are whole, and those that were not and are gone now.
    ///
    /// # Errors
    /// When the folder cannot be read or changed.
    pub(crate) fn verify(&self) -> std::io::Result<(usize, Vec<std::path::PathBuf>)> {
        self.0.verify()
    }

    fn ids(&self, key: Digest) -> Vec<String> {
        let content = self.0.get(&key.hex());
        let text = content.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn written_key(path: &Path) -> Digest {
    let mut hasher = KeyHasher::new("pib written image 1");
    hasher.field(path.as_os_str().as_bytes());
    hasher.finish()
}
