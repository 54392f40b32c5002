//! Downloads packages, several at once, into a folder where each is named by its digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::stream::{StreamExt, TryStreamExt};
use pib_plan::id::Digest;
use url::Url;

use super::STEP;
use super::error::DebianError;
use pib_event::{Reporter, ReporterExt};
use pib_net::Http;

/// How many files are fetched at the same time.
const AT_ONCE: usize = 12;

/// One file that is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Where it is.
    pub url: Url,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// Fetches what is not in `folder` yet and hands the files' paths to `ready`, in the order of `wanted`, each as soon as
/// it and those before it are there.
///
/// A file has its final name only once its digest was checked, so that an interrupted download leaves nothing
/// that looks whole.
///
/// # Errors
/// When a file cannot be fetched or written, or is not the one that was wanted.
pub(super) async fn download(
    http: &Http,
    folder: &Path,
    wanted: Vec<Wanted>,
    reporter: &Arc<dyn Reporter>,
    mut ready: impl FnMut(PathBuf),
) -> Result<(), DebianError> {
    fs::create_dir_all(folder).map_err(DebianError::io("creating", folder))?;
    let total = wanted.iter().map(|file| file.size).sum();
    let done = AtomicI64::new(0);
    let moved = |bytes: i64| {
        let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        reporter.progress(STEP, u64::try_from(now).unwrap_or(0), Some(total));
    };
    let moved: &(dyn Fn(i64) + Send + Sync) = &moved;
    let downloads = wanted.into_iter().map(|file| fetch_one(http, folder, file, moved));
    let mut paths = futures_util::stream::iter(downloads).buffered(AT_ONCE);
    while let Some(path) = paths.try_next().await? {
        ready(path);
    }
    Ok(())
}

async fn fetch_one(
    http: &Http,
    folder: &Path,
    wanted: Wanted,
    moved: &(dyn Fn(i64) + Send + Sync),
) -> Result<PathBuf, DebianError> {
    let path = folder.join(format!("{}.deb", wanted.digest.hex()));
    if fs::metadata(&path).is_ok_and(|found| found.len() == wanted.size) {
        moved(i64::try_from(wanted.size).unwrap_or(i64::MAX));
        return Ok(path);
    }
    let mut temp =
        tempfile::NamedTempFile::new_in(folder).map_err(DebianError::io("creating a file in", folder))?;
    let found = http.download(&wanted.url, wanted.size, temp.as_file_mut(), moved).await;
    let found = found.map_err(|error| match error.is_not_found() {
        true => DebianError::Updating {
            mirror: wanted.url.origin().ascii_serialization(),
            reason: format!("its signed list of packages names {}, which it does not have", wanted.url),
        },
        false => error.into(),
    })?;
    if found != wanted.digest {
        return Err(DebianError::Mismatch { url: wanted.url.to_string(), expected: wanted.digest, found });
    }
    temp.persist(&path).map_err(|error| DebianError::io("writing", &path)(error.error))?;
    Ok(path)
}
