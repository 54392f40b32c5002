//! The signed snapshot of a registry: which index files it has, by digest, and until when that counts.
//!
//! A key signs the text of the snapshot. Readers know the key from their project, or from the first time that they read the registry;
//! another key counts where the one before has signed for it. So whoever passes the registry's files on can neither alter them, nor
//! hold back newer ones for long, nor bring older ones back, nor mix those of different moments.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// The snapshot's file in a registry.
pub const FILE_NAME: &str = "snapshot.json";
/// The largest such file, in bytes.
pub const MAX_SNAPSHOT: u64 = 16 << 20;
/// The most keys that may follow one another.
const MAX_ROTATIONS: usize = 100;
/// The schema that this code reads and writes.
const VERSION: u32 = 1;
const PREFIX: &str = "ed25519:";

/// The public key of a registry, written `ed25519:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryKey(pub [u8; 32]);

/// A signature by such a key, written as 128 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeySignature(pub [u8; 64]);

/// Says that a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the key of a registry: expected `ed25519:` and 64 hex digits")]
pub struct KeyError(String);

/// Says that a key follows another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The key before.
    pub from: RegistryKey,
    /// The key that follows it.
    pub to: RegistryKey,
    /// What the key before signs of this: [`rotation_text`].
    pub signature: KeySignature,
}

/// The file of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSnapshot {
    /// The text of a [`Snapshot`].
    pub signed: String,
    /// The key that has signed it.
    pub key: RegistryKey,
    /// Its signature of the text.
    pub signature: KeySignature,
    /// How that key came to follow the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Rotation>,
}

/// What a registry has at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    v: u32,
    /// Its number; a later one is greater.
    pub version: u64,
    /// Until when it counts, in seconds since 1970.
    pub expires: u64,
    /// For how many seconds it was signed; the next one counts as long where nobody says otherwise.
    pub lifetime: u64,
    /// The digests of `config.json` and of all index files.
    pub files: BTreeMap<String, Digest>,
}

/// What a reader knows of a registry since they last read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSnapshot {
    /// The key that the project named then.
    pub pinned: Option<RegistryKey>,
    /// The key that had signed the snapshot.
    pub key: RegistryKey,
    /// The snapshot's number.
    pub version: u64,
    /// The digest of its text.
    pub digest: Digest,
}

/// Says why a snapshot does not count. Each completes "its snapshot ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is no snapshot.
    #[error("cannot be read ({0})")]
    Unreadable(String),
    /// It is written for a newer pib.
    #[error("has schema {0}, and this pib reads {VERSION}: update pib")]
    NewerSchema(u32),
    /// Another key has signed it.
    #[error("is signed by {found}, and the key of this registry is {expected}")]
    OtherKey {
        /// The key that is known.
        expected: RegistryKey,
        /// The key of the snapshot.
        found: RegistryKey,
    },
    /// The signature is none of its key's.
    #[error("was altered: its signature is not that of {0}")]
    BadSignature(RegistryKey),
    /// A key that is said to follow another one was not signed by that one.
    #[error("names {to} as the key after {from}, and that one has not signed for it")]
    BadRotation {
        /// The key before.
        from: RegistryKey,
        /// The one that is said to follow.
        to: RegistryKey,
    },
    /// It is older than one that was read before.
    #[error("was rolled back: it is number {found}, and number {known} was read before")]
    RolledBack {
        /// The number that was read before.
        known: u64,
        /// Its number.
        found: u64,
    },
    /// There are two with one number.
    #[error("was forked: there are two with the number {0}")]
    Forked(u64),
    /// It does not count any more.
    #[error("is frozen: it has counted until {}, and nobody has signed a newer one", crate::moment::Moment::from_micros(.0.saturating_mul(1_000_000)))]
    Expired(u64),
}

/// Checks a key's signature of a text.
pub type Verify = dyn Fn(&RegistryKey, &[u8], &KeySignature) -> bool + Send + Sync;

/// Returns what a key signs to say that another one follows it.
pub fn rotation_text(to: &RegistryKey) -> String {
    format!("pib registry key rotation\n{to}\n")
}

impl Snapshot {
    /// Returns the snapshot after `before`, or the first one.
    pub fn next(before: Option<&Self>, files: BTreeMap<String, Digest>, now: u64, lifetime: u64) -> Self {
        let version = before.map_or(1, |before| before.version.saturating_add(1));
        Self { v: VERSION, version, expires: now.saturating_add(lifetime), lifetime, files }
    }

    fn parse(text: &str) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Schema {
            v: u32,
        }
        let unreadable = |error: serde_json::Error| SnapshotError::Unreadable(error.to_string());
        let Schema { v } = serde_json::from_str(text).map_err(unreadable)?;
        if v > VERSION {
            return Err(SnapshotError::NewerSchema(v));
        }
        serde_json::from_str(text).map_err(unreadable)
    }
}

impl SignedSnapshot {
    /// Reads the file of a registry. Nothing in it is to be believed yet.
    ///
    /// # Errors
    /// When it is no snapshot.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        serde_json::from_slice(bytes).map_err(|error| SnapshotError::Unreadable(error.to_string()))
    }

    /// Returns the file's text.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{text}\n")
    }

    /// Returns the snapshot where its key's signature is right, whoever has that key: for those who sign the next one.
    ///
    /// # Errors
    /// When it is not.
    pub fn own(&self, verify: &Verify) -> Result<Snapshot, SnapshotError> {
        match verify(&self.key, self.signed.as_bytes(), &self.signature) {
            true => Snapshot::parse(&self.signed),
            false => Err(SnapshotError::BadSignature(self.key)),
        }
    }

    /// Returns the snapshot, and what is known of the registry from now on. The key is the `pinned` one, or what follows it; where none is
    /// pinned, it is the one that is `known`, and the first one counts. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When the snapshot does not count.
    pub fn judge(
        &self,
        pinned: Option<RegistryKey>,
        known: Option<&KnownSnapshot>,
        now: u64,
        verify: &Verify,
    ) -> Result<(Snapshot, KnownSnapshot), SnapshotError> {
        // Who pins another key than before begins again.
        let known = known.filter(|known| pinned.is_none() || known.pinned == pinned);
        let first = known.map(|known| known.key).or(pinned).unwrap_or(self.key);
        self.follow(first, verify)?;
        let snapshot = self.own(verify)?;
        let digest = Digest::of(self.signed.as_bytes());
        if let Some(known) = known {
            if snapshot.version < known.version {
                return Err(SnapshotError::RolledBack { known: known.version, found: snapshot.version });
            }
            if snapshot.version == known.version && digest != known.digest {
                return Err(SnapshotError::Forked(snapshot.version));
            }
        }
        if snapshot.expires <= now {
            return Err(SnapshotError::Expired(snapshot.expires));
        }
        let pinned = pinned.or(known.and_then(|known| known.pinned));
        let known = KnownSnapshot { pinned, key: self.key, version: snapshot.version, digest };
        Ok((snapshot, known))
    }

    /// Follows the rotations from a key to that of this snapshot.
    fn follow(&self, first: RegistryKey, verify: &Verify) -> Result<(), SnapshotError> {
        let mut key = first;
        for _ in 0..MAX_ROTATIONS {
            if key == self.key {
                return Ok(());
            }
            let Some(rotation) = self.rotations.iter().find(|rotation| rotation.from == key) else { break };
            if !verify(&key, rotation_text(&rotation.to).as_bytes(), &rotation.signature) {
                return Err(SnapshotError::BadRotation { from: key, to: rotation.to });
            }
            key = rotation.to;
        }
        Err(SnapshotError::OtherKey { expected: first, found: self.key })
    }
}

impl FromStr for RegistryKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = text.strip_prefix(PREFIX).and_then(from_hex);
        bytes.map(Self).ok_or_else(|| KeyError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", to_hex(&self.0))
    }
}

impl TryFrom<String> for RegistryKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<RegistryKey> for String {
    fn from(key: RegistryKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for KeySignature {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        from_hex(&text).map(Self).ok_or("a signature is 128 hex digits")
    }
}

impl From<KeySignature> for String {
    fn from(signature: KeySignature) -> Self {
        to_hex(&signature.0)
    }
}

/// Returns bytes as hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes that hex digits stand for, where there are just as many.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "registry_snapshot_tests.rs"]
mod tests;
