//! What a shared cache of built stages has of one stage: the files that its root file system is put together from.
//!
//! An entry is found by a key that covers all that decides the stage's result. Its packs are files by digest. Each pack holds
//! records of tar archives, and the last one says which records of which packs make the root file system, in order. So stages
//! that have files in common share packs, and what is put together is the very archive that the builder's engine gave.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, KeyHasher};

/// The newest form of an entry that this code reads and writes.
const VERSION: u32 = 1;
/// The longest text of an entry, in bytes.
pub const MAX_ENTRY: u64 = 256 << 10;
/// The most packs of an entry: more than a build has stages.
pub const MAX_PACKS: usize = 256;
/// The largest root file system, in bytes.
const MAX_ROOTFS: u64 = 64 << 30;
/// How many bytes of packs there may be for each byte of the root file system, and beyond that.
const PACKS_PER_BYTE: u64 = 4;
const PACKS_MORE: u64 = 1 << 30;

/// A stage in a shared cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageEntry {
    version: u32,
    /// The key that it is found by.
    pub key: Digest,
    /// The stage and its version, for people.
    pub stage: String,
    /// The tar archive of the root file system.
    pub rootfs: SizedDigest,
    /// The packs that it is put together from; the last one is the stage's own.
    pub packs: Vec<PackFile>,
}

/// A digest and a size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizedDigest {
    /// The digest.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
}

/// A pack, as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackFile {
    /// The digest of the file, which is compressed.
    pub digest: Digest,
    /// The size of the file in bytes.
    pub size: u64,
    /// How many bytes it has when it is not compressed.
    pub length: u64,
}

/// Says why a text is not the entry that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not an entry.
    #[error("it is not an entry ({0})")]
    Malformed(String),
    /// A newer pib has written it.
    #[error("it has the form {0}, which this pib does not know")]
    Version(u64),
    /// It is another key's.
    #[error("it belongs to another key, {0}")]
    Key(Digest),
    /// A number in it is out of bounds.
    #[error("it names {0}")]
    Bounds(&'static str),
}

#[derive(Deserialize)]
struct Probe {
    version: u64,
}

impl StageEntry {
    /// Returns an entry.
    pub fn new(key: Digest, stage: String, rootfs: SizedDigest, packs: Vec<PackFile>) -> Self {
        Self { version: VERSION, key, stage, rootfs, packs }
    }

    /// Reads the entry of a key.
    ///
    /// # Errors
    /// When the text is no entry, is another key's, or names more than can be right.
    pub fn parse(text: &[u8], key: &Digest) -> Result<Self, EntryError> {
        let malformed = |error: serde_json::Error| EntryError::Malformed(error.to_string());
        let Probe { version } = serde_json::from_slice(text).map_err(malformed)?;
        if version != u64::from(VERSION) {
            return Err(EntryError::Version(version));
        }
        let entry: Self = serde_json::from_slice(text).map_err(malformed)?;
        if entry.key != *key {
            return Err(EntryError::Key(entry.key));
        }
        entry.check()?;
        Ok(entry)
    }

    /// Returns the text of a file.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns how many bytes are fetched for it at most.
    pub fn size(&self) -> u64 {
        self.packs.iter().map(|pack| pack.size).fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), EntryError> {
        if self.packs.is_empty() || self.packs.len() > MAX_PACKS {
            return Err(EntryError::Bounds("no pack, or too many"));
        }
        if self.rootfs.size > MAX_ROOTFS {
            return Err(EntryError::Bounds("a root file system of more than 64 GiB"));
        }
        let limit = self.rootfs.size.saturating_mul(PACKS_PER_BYTE).saturating_add(PACKS_MORE);
        let lengths = self.packs.iter().map(|pack| pack.length).fold(0, u64::saturating_add);
        if lengths > limit || self.size() > limit {
            return Err(EntryError::Bounds("packs that are far larger than its root file system"));
        }
        Ok(())
    }
}

/// Returns the key by which a shared cache has a stage: that of the stage and, where what parts fetch is recorded, the digest of
/// what they were given. On one machine, the engine's own cache tells recordings apart.
pub fn shared_key(stage: &Digest, recording: Option<&Digest>) -> Digest {
    let mut hasher = KeyHasher::new("pib shared stage 1");
    hasher.field(stage.as_bytes()).field(recording.map_or(&[][..], |digest| digest.as_bytes()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> StageEntry {
        let pack = |text: &str| PackFile { digest: Digest::of(text.as_bytes()), size: 10, length: 20 };
        let rootfs = SizedDigest { digest: Digest::of(b"tar"), size: 1024 };
        StageEntry::new(Digest::of(b"key"), "os 1.0.0".to_owned(), rootfs, vec![pack("a"), pack("b")])
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = entry();
        assert_eq!(StageEntry::parse(entry.to_text().as_bytes(), &entry.key), Ok(entry.clone()));
        assert_eq!(entry.size(), 20);
    }

    #[test]
    fn another_keys_entry_is_refused() {
        let (entry, other) = (entry(), Digest::of(b"other"));
        assert_eq!(StageEntry::parse(entry.to_text().as_bytes(), &other), Err(EntryError::Key(entry.key)));
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let refused = |change: &dyn Fn(&mut StageEntry)| {
            let mut entry = entry();
            change(&mut entry);
            StageEntry::parse(entry.to_text().as_bytes(), &entry.key).unwrap_err()
        };
        assert!(matches!(refused(&|entry| entry.packs.clear()), EntryError::Bounds(_)));
        assert!(matches!(refused(&|entry| entry.packs = vec![entry.packs[0]; 257]), EntryError::Bounds(_)));
        assert!(matches!(refused(&|entry| entry.rootfs.size = u64::MAX), EntryError::Bounds(_)));
        assert!(matches!(refused(&|entry| entry.packs[0].length = 2 << 30), EntryError::Bounds(_)));
        assert!(matches!(refused(&|entry| entry.packs[0].size = u64::MAX), EntryError::Bounds(_)));
        assert_eq!(refused(&|entry| entry.version = 2), EntryError::Version(2));
    }

    #[test]
    fn the_recording_is_in_the_key() {
        let (stage, recording) = (Digest::of(b"stage"), Digest::of(b"recording"));
        let keys =
            [shared_key(&stage, None), shared_key(&stage, Some(&recording)), shared_key(&recording, None)];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(keys[0], shared_key(&stage, None));
    }

    proptest! {
        #[test]
        fn no_text_ends_in_a_panic(text in "\\PC{0,200}") {
            let _ = StageEntry::parse(text.as_bytes(), &Digest::of(b"key"));
        }
    }
}
