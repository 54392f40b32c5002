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
    /// Where it may be: each is asked when the one before it does not have it.
    pub urls: Vec<Url>,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// Downloads packages of `what` into `folder` and has `work` go through them meanwhile: it gets each package's path in their
/// order, as soon as that package is there.
///
/// # Errors
/// When a package cannot be fetched, or is not the one that is wanted; and whatever `work` says.
pub(super) async fn all<T: Send + 'static>(
    http: &Http,
    folder: &Path,
    wanted: Vec<Wanted>,
    what: &str,
    reporter: &Arc<dyn Reporter>,
    work: impl FnOnce(&mut dyn Iterator<Item = PathBuf>) -> Result<T, DebianError> + Send + 'static,
) -> Result<T, DebianError> {
    let count = match wanted.len() {
        1 => "1 package".to_owned(),
        count => format!("{count} packages"),
    };
    let is_here = wanted.iter().all(|file| is_there(folder, &file.digest, file.size));
    let doing = if is_here { "Reading" } else { "Downloading" };
    reporter.started(STEP, format!("{doing} {count} of {what}"));
    let (sender, receiver) = std::sync::mpsc::channel::<PathBuf>();
    let worker = tokio::task::spawn_blocking(move || work(&mut receiver.into_iter()));
    // One that has failed takes no more; why, it says itself.
    let fetched = download(http, folder, wanted, reporter, |path| _ = sender.send(path)).await;
    drop(sender);
    let worked = worker.await.map_err(DebianError::Worker)?;
    // Without all packages what was made of them is incomplete, whatever the worker thinks.
    fetched.and(worked)
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

/// Returns whether a file is there, whole.
pub(super) fn is_there(folder: &Path, digest: &Digest, size: u64) -> bool {
    fs::metadata(path(folder, digest)).is_ok_and(|found| found.len() == size)
}

/// Returns where a file is, if it is there.
pub(super) fn path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{}.deb", digest.hex()))
}

async fn fetch_one(
    http: &Http,
    folder: &Path,
    wanted: Wanted,
    moved: &(dyn Fn(i64) + Send + Sync),
) -> Result<PathBuf, DebianError> {
    let path = path(folder, &wanted.digest);
    if is_there(folder, &wanted.digest, wanted.size) {
        moved(i64::try_from(wanted.size).unwrap_or(i64::MAX));
        return Ok(path);
    }
    let mut temp =
        tempfile::NamedTempFile::new_in(folder).map_err(DebianError::io("creating a file in", folder))?;
    let mut problems = Vec::new();
    for url in &wanted.urls {
        match from_one(http, url, &wanted, temp.as_file_mut(), moved).await {
            Ok(()) => {
                temp.persist(&path).map_err(|error| DebianError::io("writing", &path)(error.error))?;
                return Ok(path);
            }
            Err(problem) => problems.push(problem),
        }
    }
    Err(match (problems.pop(), wanted.urls.as_slice()) {
        // The one mirror there is: it gave the list that has the package.
        (Some(DebianError::Net(error)), [url]) if error.is_not_found() => DebianError::Updating {
            mirror: url.origin().ascii_serialization(),
            reason: format!("its signed list of packages names {url}, which it does not have"),
        },
        (Some(only), [_]) => only,
        (last, _) => DebianError::Nowhere { problems: problems.into_iter().chain(last).collect() },
    })
}

/// Fetches the file from one address.
async fn from_one(
    http: &Http,
    url: &Url,
    wanted: &Wanted,
    file: &mut fs::File,
    moved: &(dyn Fn(i64) + Send + Sync),
) -> Result<(), DebianError> {
    let found = http.download(url, wanted.size, file, moved).await?;
    if found != wanted.digest {
        moved(-i64::try_from(wanted.size).unwrap_or(0));
        return Err(DebianError::Mismatch { url: url.to_string(), expected: wanted.digest, found });
    }
    Ok(())
}
