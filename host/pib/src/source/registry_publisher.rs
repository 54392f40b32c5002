//! The signatures of publishers over what they publish.

use pib_plan::index::IndexEntry;
use pib_plan::publisher::{PublisherSignature, signed_text};

use super::registry_error::RegistryError;
use super::registry_trust::verify;

/// Returns whether a version is what its publisher has signed. One that nobody has signed is.
pub fn is_signed(entry: &IndexEntry) -> bool {
    let is_valid = |PublisherSignature { key, signature }: &PublisherSignature| {
        entry.content.is_some_and(|content| {
            verify(key, signed_text(&entry.name, &entry.vers, &content).as_bytes(), signature)
        })
    };
    entry.publisher.as_ref().is_none_or(is_valid)
}

/// Checks that a version is what its publisher has signed, where somebody has.
///
/// # Errors
/// When it is not.
pub(super) fn check(entry: &IndexEntry, registry: impl FnOnce() -> String) -> Result<(), RegistryError> {
    match entry.publisher.filter(|_| !is_signed(entry)) {
        None => Ok(()),
        Some(publisher) => Err(RegistryError::NotPublishers {
            registry: registry(),
            name: entry.name.clone(),
            version: entry.vers.clone(),
            key: publisher.key,
        }),
    }
}
