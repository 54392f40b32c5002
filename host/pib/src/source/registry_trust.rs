//! Whether the files of a registry are those that its key has signed (see `pib_plan::registry_snapshot`).
//!
//! What is known of a registry is kept beside its index files in the cache: the key, and the number of the last snapshot.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pib_plan::id::Digest;
use pib_plan::index::SourceId;
use pib_plan::registry_snapshot::{
    FILE_NAME, KeySignature, KnownSnapshot, RegistryKey, SignedSnapshot, Snapshot,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use super::SourceError;
use super::kept::KeptIndex;
use super::registry_error::RegistryError;
use pib_net::Validators;

/// How often a file and the snapshot are read again that do not fit, and the pause before that.
pub(super) const COMPARISONS: u32 = 2;
pub(super) const COMPARED_AGAIN: Duration = Duration::from_millis(500);
/// How long a registry counts as unsigned that had no snapshot when it was asked.
const UNSIGNED: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the key and the snapshot of a registry.
#[derive(Debug)]
pub struct RegistryTrust {
    registry: String,
    pinned: Option<RegistryKey>,
    kept: KeptIndex,
    /// What was found in this run: perhaps that there is no snapshot.
    current: Mutex<Option<Option<Arc<Snapshot>>>>,
}

/// What is kept from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The last snapshot; `None` where the registry had none.
    known: Option<KnownSnapshot>,
    /// When that was found out, in seconds since 1970.
    asked: u64,
}

impl RegistryTrust {
    /// Returns what the cache below `cache_root` knows of the registry at an address, for those who pin this key, or none.
    pub(super) fn new(source: &SourceId, url: &Url, pinned: Option<RegistryKey>, cache_root: &Path) -> Self {
        let kept = KeptIndex::new(cache_root, url);
        Self { registry: source.describe(), pinned, kept, current: Mutex::default() }
    }

    /// Returns whether a key is pinned, and no snapshot of its was seen yet.
    pub(super) fn is_new(&self) -> bool {
        self.pinned.is_some() && self.state().is_none_or(|state| state.known.is_none())
    }

    /// Returns the snapshot, `None` where the registry is not signed; `again` where the one before does not fit. `read` gives its file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not to be trusted.
    pub(super) async fn current(
        &self,
        again: bool,
        read: impl AsyncFnOnce() -> Result<Option<Vec<u8>>, SourceError>,
    ) -> Result<Option<Arc<Snapshot>>, SourceError> {
        let mut current = self.current.lock().await;
        if let Some(found) = current.as_ref().filter(|found| !again || found.is_none()) {
            return Ok(found.clone());
        }
        let (state, now) = (self.state(), now());
        let was_unsigned = state.as_ref().is_some_and(|state| {
            state.known.is_none() && (state.asked..state.asked + UNSIGNED.as_secs()).contains(&now)
        });
        let found = match self.pinned.is_none() && was_unsigned {
            true => None,
            false => self.judge(read().await?, state.and_then(|state| state.known), now)?.map(Arc::new),
        };
        *current = Some(found.clone());
        Ok(found)
    }

    /// Judges the file of a snapshot as it is now; returns the snapshot, `None` where there is none and there need not be one.
    ///
    /// # Errors
    /// When it is not to be trusted.
    pub(super) fn judge_now(&self, file: Option<Vec<u8>>) -> Result<Option<Snapshot>, SourceError> {
        self.judge(file, self.state().and_then(|state| state.known), now())
    }

    /// Judges the file of a snapshot, and keeps what is known from now on.
    fn judge(
        &self,
        file: Option<Vec<u8>>,
        known: Option<KnownSnapshot>,
        now: u64,
    ) -> Result<Option<Snapshot>, SourceError> {
        let Some(bytes) = file else {
            return match self.pinned.is_none() && known.is_none() {
                true => self.keep(&State { known: None, asked: now }).map(|()| None),
                false => Err(RegistryError::Unsigned { registry: self.registry.clone() }.into()),
            };
        };
        let judged = SignedSnapshot::parse(&bytes)
            .and_then(|signed| signed.judge(self.pinned, known.as_ref(), now, &verify));
        let (snapshot, found) = judged.map_err(|reason| {
            // Else its server may go on to say that it has not changed.
            self.kept.forget(FILE_NAME);
            RegistryError::Snapshot { registry: self.registry.clone(), reason }
        })?;
        if known.as_ref() != Some(&found) {
            self.keep(&State { known: Some(found), asked: now })?;
        }
        Ok(Some(snapshot))
    }

    /// Compares a file of the registry with the snapshot; `before` is the digest of the file that was read earlier.
    ///
    /// # Errors
    /// When the snapshot says something else of it.
    pub(super) fn compare(
        &self,
        snapshot: &Snapshot,
        path: &str,
        bytes: Option<&[u8]>,
        before: Option<Digest>,
    ) -> Result<(), SourceError> {
        let (signed, found) = (snapshot.files.get(path).copied(), bytes.map(Digest::of));
        let number = snapshot.version;
        let reason = match (signed, found) {
            (signed, found) if signed == found => return Ok(()),
            (Some(_), None) => format!("is held back: its snapshot {number} has the file"),
            (None, _) => format!("was added: its snapshot {number} does not have the file"),
            (Some(_), found) if found == before => {
                format!("is of another moment than its snapshot {number}: it is the one that was read before")
            }
            (Some(signed), Some(found)) => {
                format!("was altered: its snapshot {number} has {signed}, and the file is {found}")
            }
        };
        let (registry, path) = (self.registry.clone(), path.to_owned());
        Err(RegistryError::Misfit { registry, path, reason }.into())
    }

    /// Projects that pin different keys share nothing: what one has come to believe is none of the other's.
    fn path(&self) -> String {
        self.pinned
            .map_or("trust/first".to_owned(), |key| format!("trust/{}", key.to_string().replace(':', "-")))
    }

    fn state(&self) -> Option<State> {
        serde_json::from_slice(&self.kept.get(&self.path())?.bytes).ok()
    }

    fn keep(&self, state: &State) -> Result<(), SourceError> {
        let text = serde_json::to_vec(state).unwrap_or_default();
        self.kept.put(&self.path(), &text, &Validators::default())
    }
}

/// Returns the seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns whether a key has signed a text. Nobody has signed by a key of small order: one signature by it fits many texts
/// (RFC 8032, section 8.9, and the "strict" verification of `ed25519-dalek`).
pub(super) fn verify(key: &RegistryKey, text: &[u8], signature: &KeySignature) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key.0);
    key.is_ok_and(|key| key.verify_strict(text, &signature.0.into()).is_ok())
}
