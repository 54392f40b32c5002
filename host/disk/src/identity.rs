//! What makes an image this device's own, and the identifiers that derive from it.

use std::collections::BTreeSet;

use pib_plan::id::{Digest, KeyHasher};

/// What a tree is made the device's own by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The host name.
    pub hostname: String,
    /// No file is newer than this, in seconds since 1970; all folders are as old.
    pub epoch: u64,
    /// What all identifiers of file systems and disk derive from.
    pub seed: Digest,
    /// Where the build mounted something for a while, as paths without a slash at the start.
    pub mount_points: BTreeSet<String>,
}

impl Identity {
    /// Derives an identifier in the form of a random UUID (RFC 9562, version 4).
    pub(crate) fn derive(&self, purpose: &str, label: &str) -> [u8; 16] {
        let mut hasher = KeyHasher::new(purpose);
        hasher.field(self.seed.as_bytes()).field(label);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finish().as_bytes()[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        bytes
    }
}

/// Returns a UUID as text.
pub(crate) fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
