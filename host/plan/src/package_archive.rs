//! An archive of Debian packages that bases are made of: where it is, what of it is used, and whose signature counts.

use crate::id::KeyHasher;

/// The archives whose addresses and keys pib has itself.
pub const KNOWN: [&str; 2] = ["debian", "debian-security"];

/// An archive, for one release and architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageArchive {
    /// Its name, which a lock calls it by.
    pub name: String,
    /// The suite, e.g. `trixie`.
    pub suite: String,
    /// The components, e.g. `main`.
    pub components: Vec<String>,
    /// Where it is and who signs it; `None` for Debian's own.
    pub origin: Option<ArchiveOrigin>,
}

/// Where an archive is that is not Debian's, and who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOrigin {
    /// Its address, without a slash at its end.
    pub url: String,
    /// The fingerprints of the keys that may sign it, in capital hexadecimal digits.
    pub keys: Vec<String>,
    /// Where the keys themselves are. What is there is believed only where its fingerprint is one of `keys`.
    pub key_url: String,
}

impl PackageArchive {
    /// Returns whether it holds the updates of an archive that is Debian's, and may be missing.
    pub fn is_security(&self) -> bool {
        self.origin.is_none() && self.name == KNOWN[1]
    }

    /// Adds all that decides a base to a key. Where a key is fetched from does not: its fingerprint is known.
    pub fn add_to_key(&self, hasher: &mut KeyHasher) {
        let Self { name, suite, components, origin } = self;
        hasher.field("archive").field(name).field(suite).field(components.join(" "));
        if let Some(ArchiveOrigin { url, keys, key_url: _ }) = origin {
            hasher.field(url).field(keys.join(" "));
        }
    }
}

/// Returns whether a text is the fingerprint of an OpenPGP key of version 4 or 6, in hexadecimal digits.
pub fn is_fingerprint(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
