//! What the writers of file systems share.

use std::fs::File;

use crate::identity::Identity;

/// What every file system's writer gets.
pub(crate) struct Job<'a> {
    pub(crate) image: &'a File,
    pub(crate) spool: &'a File,
    pub(crate) identity: &'a Identity,
}

impl Job<'_> {
    /// Returns 16 bytes for an identifier, the same for the same seed, purpose and label.
    pub(crate) fn uuid(&self, purpose: &str, label: &str) -> [u8; 16] {
        self.identity.derive(purpose, label)
    }
}
