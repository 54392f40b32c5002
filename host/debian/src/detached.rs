//! A signature beside a file, by keys that are known by their fingerprints.

use std::io::Read;
use std::time::SystemTime;

use super::keyring::Keyring;

/// The keys that may sign a file.
#[derive(Debug)]
pub struct DetachedKeys {
    keyring: Keyring,
}

/// Who signed a file, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSignature {
    /// The fingerprint of the key, in capital hexadecimal digits; that of the primary key, also where a subkey signed.
    pub key: String,
    /// When, in seconds since 1970.
    pub moment: u64,
}

impl DetachedKeys {
    /// Reads a file of keys, armoured or not, and takes those with one of the fingerprints (in capital hexadecimal digits).
    ///
    /// # Errors
    /// When the file holds no keys, or none of these; the text says what was found.
    pub fn of_file(bytes: &[u8], fingerprints: &[String]) -> Result<Self, String> {
        Ok(Self { keyring: Keyring::of_file(bytes, fingerprints)?.0 })
    }

    /// Verifies a file by the signatures of another one. `open` opens the file at its start, for each key that may have signed it.
    ///
    /// # Errors
    /// When no signature counts; the text says what was found, as the end of a sentence about the file.
    pub fn verify<R: Read>(
        &self,
        signatures: &[u8],
        open: &dyn Fn() -> std::io::Result<R>,
    ) -> Result<FileSignature, String> {
        let (key, moment) = self.keyring.verify_detached(signatures, open, SystemTime::now())?;
        Ok(FileSignature { key, moment })
    }
}
