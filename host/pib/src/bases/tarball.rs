//! A base that someone else made: a tarball at an address or path, with its digest.

use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pib_plan::base::Location;
use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use url::Url;

use super::base_cache::{BaseCache, CacheLock, StoredBase};
use super::error::BaseError;
use super::identify::{self, LOOKED_AT, identify, of_contents};
use super::{STEP, sparse};
use pib_debian::decompress::{self, Format};
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
/// When the tarball cannot be fetched or read, has another digest than the manifest says, or is not a tar.
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
    let text = pib_file::read_text(cache.tarball_path(tarball), super::base_cache::MAX_NAME).ok()?;
    cache.find(text.trim().parse().ok()?)
}

/// A tarball that is at hand.
pub(super) enum Source {
    Host(PathBuf),
    Fetched(NamedTempFile),
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Host(path) => path,
            Self::Fetched(file) => file.path(),
        }
    }
}

/// Fetches a tarball into the cache's folder for work in progress.
pub(super) async fn download(
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
    let mut file = open(path, name)?;
    let found = digest(&mut file).map_err(BaseError::io("reading", path))?;
    if found != expected {
        let start = start(&mut file).map_err(BaseError::io("reading", path))?;
        let what = identify(&start).map(|kind| kind.name);
        return Err(BaseError::OtherTarball { file: name.to_owned(), expected, found, what });
    }
    unpack_checked(cache, (file, path), name, expected)
}

/// Keeps a tarball with this digest unpacked in the cache, once it is known that it is the one that is wanted. It is read by the
/// handle that the digest was taken by: what is at the path may be another one by now.
pub(super) fn unpack_checked(
    cache: &BaseCache,
    (mut file, path): (File, &Path),
    name: &str,
    tarball: Digest,
) -> Result<StoredBase, BaseError> {
    let fail = |error: std::io::Error| BaseError::archive(name, error);
    let start = start(&mut file).and_then(|start| file.rewind().map(|()| start));
    let start = start.map_err(BaseError::io("reading", path))?;
    let format = Format::of(&start);
    let input = BufReader::with_capacity(1 << 16, file);
    let mut plain = decompress::bounded(decompress::decoder(format, input).map_err(fail)?, MAX_UNPACKED);
    let start = self::start(&mut plain).map_err(fail)?;
    let kind = identify(&start);
    let mut plain = Cursor::new(start).chain(plain);
    if let Some(kind) = kind {
        return Err(BaseError::NotTarball { file: name.to_owned(), inside: format.name(), kind });
    }
    let temp = cache.temp();
    let mut output = NamedTempFile::new_in(&temp).map_err(BaseError::io("creating a file in", &temp))?;
    let mut hashing = Hashing::new(BufWriter::with_capacity(1 << 20, output.as_file_mut()));
    let contents = sparse::copy(&mut plain, &mut hashing).map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BaseError::io("writing to", &temp)(error),
        _ => fail(error),
    })?;
    hashing.flush().map_err(BaseError::io("writing to", &temp))?;
    let digest = hashing.digest();
    if contents.entries == 0 {
        return Err(BaseError::archive(name, "the tar holds no files"));
    }
    if let Some(kind) = of_contents(&contents.top) {
        return Err(BaseError::NotTarball { file: name.to_owned(), inside: format.name(), kind });
    }
    let base = cache.keep(output, digest)?;
    cache.remember_tarball(tarball, digest)?;
    Ok(base)
}

/// Opens a plain file; what is none could be waited for without an end.
fn open(path: &Path, name: &str) -> Result<File, BaseError> {
    let metadata = std::fs::metadata(path).map_err(BaseError::io("opening", path))?;
    if metadata.is_file() {
        return pib_file::open(path).map_err(BaseError::io("opening", path));
    }
    let kind = match metadata.is_dir() {
        true => identify::FOLDER,
        false => identify::SPECIAL,
    };
    Err(BaseError::NotTarball { file: name.to_owned(), inside: None, kind })
}

/// Returns the digest of a file, which is then at its start again.
pub(super) fn digest(file: &mut File) -> std::io::Result<Digest> {
    let mut hashing = Hashing::new(std::io::sink());
    std::io::copy(&mut BufReader::with_capacity(1 << 20, &mut *file), &mut hashing)?;
    file.rewind()?;
    Ok(hashing.digest())
}

/// Reads the beginning of a stream.
fn start(input: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(LOOKED_AT as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Digests what is written.
struct Hashing<W> {
    output: W,
    hasher: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(output: W) -> Self {
        Self { output, hasher: Sha256::new() }
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.hasher.finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
