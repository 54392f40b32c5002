//! A base that a distribution publishes whole: a tarball at an address whose content changes, and a signature beside it.

use serde::{Deserialize, Serialize};

use crate::id::{Arch, Digest, KeyHasher};
use crate::package_archive::is_fingerprint;

/// A tarball that its owner replaces by newer ones at the same address, with a detached OpenPGP signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTarball {
    /// The system, e.g. `arch`.
    pub os: String,
    /// The release, e.g. `rolling`.
    pub release: String,
    /// The processor.
    pub arch: Arch,
    /// The address of the tarball.
    pub url: String,
    /// The address of its signature.
    pub signature_url: String,
    /// The fingerprints of the keys that may sign it, in capital hexadecimal digits.
    pub keys: Vec<String>,
    /// Where the keys themselves are. What is there is believed only where its fingerprint is one of `keys`.
    pub key_url: String,
}

/// The tarball that was at the address when it was locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTarball {
    /// The digest of the file as it was served.
    pub digest: Digest,
    /// When it was signed, in seconds since 1970.
    pub moment: u64,
    /// The fingerprint of the key that signed it, in capital hexadecimal digits.
    pub key: String,
}

impl SignedTarball {
    /// Adds all that decides the base to a key. Where the signature and the keys are does not.
    pub fn add_to_key(&self, hasher: &mut KeyHasher) {
        let Self { os, release, arch, url, signature_url: _, keys, key_url: _ } = self;
        hasher.field(os).field(release).field(arch.as_str()).field(url).field(keys.join(" "));
    }
}

impl LockedTarball {
    /// Checks that the key is a fingerprint.
    ///
    /// # Errors
    /// What is wrong, as the end of "the base's tarball ...".
    pub fn check(&self) -> Result<(), String> {
        let is_written_so = !self.key.bytes().any(|byte| byte.is_ascii_lowercase());
        match is_fingerprint(&self.key) && is_written_so {
            true => Ok(()),
            false => Err("has a `key` that is not the fingerprint of a key".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_locked_tarball_is_a_whole_fingerprint() {
        let check = |key: &str| {
            LockedTarball { digest: Digest::of(b"x"), moment: 7, key: key.to_owned() }.check().is_ok()
        };
        assert!(check("68B3537F39A313B3E574D06777193F152BDBE6A6"));
        for wrong in [
            "",
            "68B3537F",
            "68b3537f39a313b3e574d06777193f152bdbe6a6",
            "68B3537F39A313B3E574D06777193F152BDBE6A\n",
        ] {
            assert!(!check(wrong), "{wrong}");
        }
    }
}
