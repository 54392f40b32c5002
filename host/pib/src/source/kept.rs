//! Index files of registries behind web servers, kept so that the server is only asked whether they have changed.
//!
//! ```text
//! <cache>/registries/<host>-<hash>/wa/tc/watchdog
//! ```
//!
//! The first line of such a file says what the rest is: its digest, and what the server called its state. A file gets
//! its name when it is whole, and is believed only after its digest was checked; a damaged one counts as none.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use serde::{Deserialize, Serialize};
use url::Url;

use super::entry::MAX_INDEX;
use super::{SourceError, leftovers};
use pib_net::Validators;

/// The longest first line.
const MAX_HEAD: u64 = 16 << 10;

/// What is kept of one registry.
#[derive(Debug, Clone)]
pub(super) struct KeptIndex {
    root: PathBuf,
    /// Where all registries' files are.
    registries: PathBuf,
}

/// A kept file.
pub(super) struct Kept {
    /// What the server sent.
    pub(super) bytes: Vec<u8>,
    /// What it called their state.
    pub(super) validators: Validators,
}

#[derive(Serialize, Deserialize)]
struct Head {
    digest: Digest,
    #[serde(flatten)]
    validators: Validators,
}

impl KeptIndex {
    /// Returns what is kept of the registry at `url` in the cache below `cache_root`.
    pub(super) fn new(cache_root: &Path, url: &Url) -> Self {
        let hash = Digest::of(url.as_str().as_bytes()).hex();
        let fine = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = url.host_str().unwrap_or_default().chars().filter(fine).take(60).collect();
        let registries = cache_root.join("registries");
        Self { root: registries.join(format!("{host}-{}", &hash[..16])), registries }
    }

    /// Returns the file at `path`, where it is kept and whole.
    pub(super) fn get(&self, path: &str) -> Option<Kept> {
        read(&self.root.join(path))
    }

    /// Keeps the file at `path`.
    pub(super) fn put(&self, path: &str, bytes: &[u8], validators: &Validators) -> Result<(), SourceError> {
        let full = self.root.join(path);
        let folder = full.parent().unwrap_or(&self.root);
        let head = Head { digest: Digest::of(bytes), validators: validators.clone() };
        // Made elsewhere: what a killed process leaves is not taken for a damaged file.
        let temp = leftovers::TempFolder::new(&self.registries)?;
        let write = || {
            fs::create_dir_all(folder)?;
            let beside = temp.path().join("index");
            let mut file = File::create_new(&beside)?;
            serde_json::to_writer(&mut file, &head)?;
            file.write_all(b"\n")?;
            file.write_all(bytes)?;
            // Not synced, which takes ten times as long as the fetch: what a power cut tears has another digest.
            fs::rename(&beside, &full)
        };
        write().map_err(SourceError::io("writing", &full))
    }

    /// Keeps the file at `path` no longer: the server does not have it any more.
    pub(super) fn forget(&self, path: &str) {
        // What cannot be removed is asked for again, and found to be gone again.
        let _ = fs::remove_file(self.root.join(path));
    }
}

/// Returns a kept file, where it is whole.
pub(super) fn read(path: &Path) -> Option<Kept> {
    let file = pib_file::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_HEAD + MAX_INDEX).read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    bytes.drain(..=end);
    (Digest::of(&bytes) == head.digest).then_some(Kept { bytes, validators: head.validators })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptIndex::new(folder.path(), &Url::parse("https://x.example/r/").unwrap());
        assert!(kept.get("wa/tc/watchdog").is_none());
        let validators = Validators { etag: Some("\"1\"".to_owned()), last_modified: None };
        kept.put("wa/tc/watchdog", b"a\nb\n", &validators).unwrap();
        let found = kept.get("wa/tc/watchdog").unwrap();
        assert_eq!((found.bytes.as_slice(), &found.validators), (&b"a\nb\n"[..], &validators));
        let path = kept.root.join("wa/tc/watchdog");
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [text.replace("a\nb", "a\nc"), text.replacen('{', "", 1), String::new()] {
            fs::write(&path, damaged).unwrap();
            assert!(kept.get("wa/tc/watchdog").is_none());
        }
        kept.put("wa/tc/watchdog", b"", &Validators::default()).unwrap();
        assert_eq!(kept.get("wa/tc/watchdog").unwrap().bytes, b"");
        kept.forget("wa/tc/watchdog");
        assert!(kept.get("wa/tc/watchdog").is_none());
    }
}
