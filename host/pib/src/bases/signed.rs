//! A base that a distribution publishes whole and signs: the newest tarball at an address, or the one that a lock holds.

use std::sync::Arc;

use pib_debian::{DetachedKeys, FileSignature};
use pib_event::{Reporter, ReporterExt as _};
use pib_net::Http;
use pib_plan::id::Digest;
use pib_plan::signed_tarball::{LockedTarball, SignedTarball};
use url::Url;

use super::STEP;
use super::base_cache::{BaseCache, CacheLock, FetchedTarball, StoredBase};
use super::error::BaseError;
use super::tarball::{self, Source};

/// The largest file of keys that is read.
const MAX_KEYS: u64 = 1 << 20;
/// The largest file of signatures that is read.
const MAX_SIGNATURE: u64 = 64 << 10;

/// A base in the cache, and the tarball that it was unpacked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBase {
    /// The base.
    pub base: StoredBase,
    /// The tarball.
    pub tarball: LockedTarball,
}

/// Returns the base that was fetched last for what is asked for, if it is still there.
pub fn find(cache: &BaseCache, wanted: &SignedTarball) -> Option<SignedBase> {
    let FetchedTarball { tarball, .. } = cache.fetched_tarball(wanted)?;
    Some(SignedBase { base: tarball::find(cache, tarball.digest)?, tarball })
}

/// Returns the base that is the tarball of a lock, if it is in the cache.
pub fn find_locked(cache: &BaseCache, locked: &LockedTarball) -> Option<StoredBase> {
    tarball::find(cache, locked.digest)
}

/// Fetches the tarball, checks its signature before anything else of it is read, and keeps it unpacked in the cache.
///
/// Where the signature is the one of the tarball that was fetched last, that one is returned.
///
/// # Errors
/// When the tarball, its signature or the keys cannot be fetched; when the signature does not count; when it is not a tar.
pub async fn fetch(
    cache: &BaseCache,
    lock: &CacheLock,
    wanted: &SignedTarball,
    reporter: &Arc<dyn Reporter>,
) -> Result<SignedBase, BaseError> {
    let SignedTarball { url, signature_url, keys, key_url, .. } = wanted;
    let http = Http::new()?;
    let signature = http.bytes(&address(signature_url)?, MAX_SIGNATURE).await;
    let signature = signature.map_err(|source| BaseError::NoSignature { file: url.clone(), source })?;
    let of_signature = Digest::of(&signature);
    if cache.fetched_tarball(wanted).is_some_and(|noted| noted.signature == of_signature)
        && let Some(found) = find(cache, wanted)
    {
        return Ok(found);
    }
    let key_file = http.bytes(&address(key_url)?, MAX_KEYS).await?;
    let keys = DetachedKeys::of_file(&key_file, keys).map_err(|reason| BaseError::Keys {
        file: url.clone(),
        place: key_url.clone(),
        reason,
    })?;
    let file = download(cache, url, reporter).await?;
    let (own_cache, name) = (cache.clone(), url.clone());
    let work = move || {
        let path = file.path();
        let checked = keys.verify(&signature, &|| pib_file::open(path));
        let FileSignature { key, moment } =
            checked.map_err(|reason| BaseError::Signature { file: name.clone(), reason })?;
        let mut opened = pib_file::open(path).map_err(BaseError::io("opening", path))?;
        let digest = tarball::digest(&mut opened).map_err(BaseError::io("reading", path))?;
        let base = tarball::unpack_checked(&own_cache, (opened, path), &name, digest)?;
        Ok(SignedBase { base, tarball: LockedTarball { digest, moment, key } })
    };
    let found: Result<SignedBase, BaseError> =
        tokio::task::spawn_blocking(work).await.map_err(BaseError::Worker)?;
    let found = found?;
    cache
        .note_fetched(wanted, &FetchedTarball { tarball: found.tarball.clone(), signature: of_signature })?;
    // The lock must be held until here: it guards the temporary files.
    let _ = lock;
    Ok(found)
}

/// Fetches the tarball that a lock holds, which is known by its digest, and keeps it unpacked in the cache.
///
/// # Errors
/// When it cannot be fetched, or another one has taken its place at the address.
pub async fn fetch_locked(
    cache: &BaseCache,
    lock: &CacheLock,
    (wanted, locked): (&SignedTarball, &LockedTarball),
    reporter: &Arc<dyn Reporter>,
) -> Result<StoredBase, BaseError> {
    let file = download(cache, &wanted.url, reporter).await?;
    let (own_cache, name, expected) = (cache.clone(), wanted.url.clone(), locked.digest);
    let work = move || {
        let mut opened = pib_file::open(file.path()).map_err(BaseError::io("opening", file.path()))?;
        let found = tarball::digest(&mut opened).map_err(BaseError::io("reading", file.path()))?;
        match found == expected {
            true => tarball::unpack_checked(&own_cache, (opened, file.path()), &name, found),
            false => Err(BaseError::Replaced { file: name, locked: expected, found }),
        }
    };
    let base = tokio::task::spawn_blocking(work).await.map_err(BaseError::Worker)?;
    // The lock must be held until here: it guards the temporary files.
    let _ = lock;
    base
}

async fn download(cache: &BaseCache, url: &str, reporter: &Arc<dyn Reporter>) -> Result<Source, BaseError> {
    let url = address(url)?;
    reporter.started(STEP, format!("Downloading the base {url}"));
    Ok(Source::Fetched(tarball::download(cache, &url, reporter).await?))
}

/// Returns an address of an init stage, which was checked when the stage was read.
fn address(text: &str) -> Result<Url, BaseError> {
    Url::parse(text).map_err(|error| BaseError::archive(text, error))
}
