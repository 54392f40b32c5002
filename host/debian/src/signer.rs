//! Who may sign an archive: Debian, or the keys that the init stage names by their fingerprints.
//!
//! Debian's keys are in pib; those of others are fetched. A full fingerprint names exactly one key, so it does not matter who
//! serves the key. A fingerprint stays the same when the owner renews the key.

use pib_net::Http;
use pib_plan::package_archive::{ArchiveOrigin, PackageArchive};
use pib_plan::snapshot::ArchiveSnapshot;
use url::Url;

use super::error::DebianError;
use super::keyring::Keyring;
use super::list_cache::ListCache;

/// The largest file of keys that is read.
const MAX_KEYS: u64 = 1 << 20;

/// Who may sign one archive.
#[derive(Debug)]
pub(super) struct Signer {
    /// The keys.
    pub keyring: Keyring,
    /// The keys as a lock has them; `None` for Debian's own.
    pub text: Option<String>,
}

impl Signer {
    /// Returns who may sign an archive. Keys that are not Debian's are fetched, and are believed by their fingerprints.
    ///
    /// # Errors
    /// When the keys cannot be fetched, or none of those that are asked for is among what arrives.
    pub(super) async fn of(
        archive: &PackageArchive,
        http: &Http,
        lists: Option<&ListCache>,
    ) -> Result<Self, DebianError> {
        let Some(ArchiveOrigin { keys, key_url, .. }) = &archive.origin else {
            return Ok(Self { keyring: Keyring::debian().map_err(DebianError::Resolve)?, text: None });
        };
        let fail = |reason: String| DebianError::Keys {
            archive: archive.name.clone(),
            place: key_url.clone(),
            reason,
        };
        let url = Url::parse(key_url).map_err(|error| fail(error.to_string()))?;
        let bytes = match lists {
            Some(lists) => lists.file(&url).await?,
            None => http.bytes(&url, MAX_KEYS).await?,
        };
        let (keyring, bytes) = Keyring::of_file(&bytes, keys).map_err(fail)?;
        Ok(Self { keyring, text: Some(ArchiveSnapshot::keyring_text(&bytes)) })
    }
}

/// Returns the keys of an archive that a lock has, in OpenPGP's binary form; `None` for Debian's own.
///
/// # Errors
/// When the lock lacks them, or has another one than the init stage names.
pub(super) fn locked_keys(
    archive: &PackageArchive,
    locked: &ArchiveSnapshot,
) -> Result<Option<Vec<u8>>, DebianError> {
    let Some(ArchiveOrigin { keys, .. }) = &archive.origin else { return Ok(None) };
    let fail = |reason: &str| DebianError::Keys {
        archive: archive.name.clone(),
        place: "pib.lock".to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = locked.keyring().ok_or_else(|| fail("there are none"))?;
    let (_, own) = Keyring::of_file(&bytes, keys).map_err(|reason| fail(&reason))?;
    match own == bytes {
        true => Ok(Some(bytes)),
        false => Err(fail("there are more than the init stage names")),
    }
}

#[cfg(test)]
#[path = "archives_tests.rs"]
mod tests;
