//! A base that someone else made: a tarball at an address or path, with its digest.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use url::Url;

use super::cache::{BaseCache, CacheLock, StoredBase, digest_file};
use super::compress::{self, Format};
use super::error::BaseError;
use super::{Location, STEP};
use pib_event::{Reporter, ReporterExt};
use pib_net::Http;

/// The largest tarball that is fetched.
const MAX_TARBALL: u64 = 16 << 30;
/// The most that it may unpack to.
const MAX_UNPACKED: u64 = 64 << 30;

/// Fetches the tarball, checks its digest, and keeps it unpacked in the cache.
///
/// The digest is that of the file as it is served; the base's own is that of the plain tar. The two differ
/// when the file is compressed, and the cache remembers which belongs to which.
///
/// # Errors
/// When the tarball cannot be had, does not have the digest, or is no tar.
pub async fn fetch(
    cache: &BaseCache,
    lock: &CacheLock,
    location: &Location,
    expected: Digest,
    reporter: &Arc<dyn Reporter>,
) -> Result<StoredBase, BaseError> {
    let (file, name) = match location {
        Location::Path(path) => (Source::Host(path.clone()), path.display().to_string()),
        Location::Url(url) => {
            reporter.started(STEP, format!("Downloading the base {url}"));
            (Source::Fetched(download(cache, url, reporter).await?), url.to_string())
        }
    };
    let (cache, lock_of_caller) = (cache.clone(), lock);
    let work = move || unpack(&cache, &file, &name, expected);
    let base = tokio::task::spawn_blocking(work).await.map_err(BaseError::Worker)??;
    // The lock must be held until here: it guards the temporary files.
    let _ = lock_of_caller;
    Ok(base)
}

/// Returns the base that the tarball with this digest was unpacked to before.
pub fn find(cache: &BaseCache, tarball: Digest) -> Option<StoredBase> {
    let text = std::fs::read_to_string(cache.tarball_path(tarball)).ok()?;
    cache.find(text.trim().parse().ok()?)
}

enum Source {
    Host(PathBuf),
    Fetched(NamedTempFile),
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Host(path) => path,
            Self::Fetched(file) => file.path(),
        }
    }
}

async fn download(
    cache: &BaseCache,
    url: &Url,
    reporter: &Arc<dyn Reporter>,
) -> Result<NamedTempFile, BaseError> {
    let http = Http::new()?;
    let temp = cache.temp();
    let mut file = NamedTempFile::new_in(&temp).map_err(BaseError::io("creating a file in", &temp))?;
    let done = AtomicI64::new(0);
    let moved = |bytes: i64| {
        let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        reporter.progress(STEP, u64::try_from(now).unwrap_or(0), None);
    };
    http.download(url, MAX_TARBALL, file.as_file_mut(), &moved).await?;
    Ok(file)
}

fn unpack(cache: &BaseCache, source: &Source, name: &str, expected: Digest) -> Result<StoredBase, BaseError> {
    let path = source.path();
    let found = digest_file(path)?;
    if found != expected {
        return Err(BaseError::Mismatch { url: name.to_owned(), expected, found });
    }
    let fail = |error: std::io::Error| BaseError::archive(name, error);
    let mut input =
        BufReader::with_capacity(1 << 16, File::open(path).map_err(BaseError::io("opening", path))?);
    let format = Format::of(input.fill_buf().map_err(fail)?);
    let mut input = compress::bounded(compress::decoder(format, input).map_err(fail)?, MAX_UNPACKED);
    let temp = cache.temp();
    let mut output = NamedTempFile::new_in(&temp).map_err(BaseError::io("creating a file in", &temp))?;
    let digest = copy(&mut input, output.as_file_mut()).map_err(fail)?;
    check(output.as_file_mut()).map_err(fail)?;
    let base = cache.keep(output, digest)?;
    cache.remember_tarball(expected, digest)?;
    Ok(base)
}

fn copy(input: &mut impl Read, output: &mut File) -> std::io::Result<Digest> {
    let mut output = BufWriter::with_capacity(1 << 20, output);
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                output.write_all(&buffer[..count])?;
            }
        }
    }
    output.flush()?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Refuses what is no tar of a system, before an engine stumbles over it.
fn check(file: &mut File) -> std::io::Result<()> {
    file.rewind()?;
    let mut archive = tar::Archive::new(BufReader::new(&*file));
    let mut count = 0_u64;
    for entry in archive.entries()? {
        entry?;
        count += 1;
    }
    let empty = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it holds no files, or is no tar");
    (count > 0).then_some(()).ok_or_else(empty)
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
