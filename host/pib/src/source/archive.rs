//! The archive of a stage: `<name>-<version>.stage`, a canonical tar (see `files`) compressed by Zstandard.
//!
//! The digest of the tar, `content`, is the same on every machine; that of the archive, `checksum`, depends on
//! the release of the compressor and only says which bytes were published.
//!
//! Invariant of [`unpack`]: nothing is written outside the given folder, whatever the bytes are; time, memory and
//! disk are bounded. It refuses everything that packing cannot have made: links, devices, extended headers,
//! absolute and `..` paths, duplicates, and names that differ in case only.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pib_plan::id::Digest;
use pib_plan::path::Collisions;
use tar::{Archive, EntryType};

use super::files::{self, MAX_BYTES, MAX_ENTRIES, PackageFile};
use super::{Package, SourceError};

/// The largest archive that is read, in bytes.
pub(super) const MAX_ARCHIVE: u64 = MAX_BYTES;
/// How strongly archives are compressed: they are written once and read often.
const LEVEL: i32 = 19;
/// How many times larger than the archive its contents may be, beyond [`FREE_BYTES`].
const MAX_RATIO: u64 = 200;
/// What even the smallest archive may unpack to.
const FREE_BYTES: u64 = 8 << 20;

/// A packed stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// The archive's bytes.
    pub archive: Vec<u8>,
    /// The digest of the archive.
    pub checksum: Digest,
    /// The stage that was packed.
    pub package: Package,
}

/// Packs the stage in the folder `root`; messages call the folder `shown`.
///
/// # Errors
/// When the folder is no stage, or holds what no stage may hold: links, devices, names that are not UTF-8 or
/// differ in case only, too many bytes or files.
pub fn pack(root: &Path, shown: &str) -> Result<Packed, SourceError> {
    let fail = |error| SourceError::io("packing", root)(error);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(fail)?;
    encoder.include_checksum(true).map_err(fail)?;
    let (files, content) = files::write_tar(root, &mut encoder)?;
    let archive = encoder.finish().map_err(fail)?;
    let package = Package::with_files(root, shown, files, content)?;
    Ok(Packed { checksum: Digest::of(&archive), archive, package })
}

/// What was promised of an archive.
pub(super) struct Promise<'a> {
    /// The stage and version, for messages.
    pub(super) what: &'a str,
    /// The digest of the archive.
    pub(super) checksum: Digest,
    /// The digest of the canonical tar.
    pub(super) content: Digest,
}

/// Unpacks an archive to the empty folder `into`; returns its files.
///
/// The digest is checked before anything is parsed, and the contents' digest afterwards.
pub(super) fn unpack(
    archive: &[u8],
    promise: &Promise<'_>,
    into: &Path,
) -> Result<Vec<PackageFile>, SourceError> {
    let Promise { what, checksum, content } = promise;
    let wrong = |what: String, expected: &Digest, found: Digest| SourceError::WrongDigest {
        what,
        expected: *expected,
        found,
    };
    let found = Digest::of(archive);
    if found != *checksum {
        return Err(wrong(format!("the archive of {what}"), checksum, found));
    }
    unpack_entries(archive, into).map_err(|fault| match fault {
        Fault::Refused(reason) => SourceError::BadArchive { what: (*what).to_owned(), reason },
        Fault::Write(error) => *error,
    })?;
    let (files, found) = files::read(into)?;
    if found != *content {
        return Err(wrong(format!("the content of {what}"), content, found));
    }
    Ok(files)
}

/// Why unpacking stopped: the archive is to blame, or this machine.
enum Fault {
    Refused(String),
    Write(Box<SourceError>),
}

impl Fault {
    fn read(error: io::Error) -> Self {
        Self::Refused(format!("it cannot be read ({error})"))
    }
}

fn unpack_entries(archive: &[u8], into: &Path) -> Result<(), Fault> {
    let limit = MAX_BYTES.min(FREE_BYTES + MAX_RATIO * archive.len() as u64);
    let decoder = zstd::stream::read::Decoder::with_buffer(archive).map_err(Fault::read)?;
    let mut tar = Archive::new(Bounded { inner: decoder, left: limit, limit });
    let mut collisions = Collisions::default();
    // Raw: an extended header is an entry like any other then, and refused like any other unknown one.
    for entry in tar.entries().map_err(Fault::read)?.raw(true) {
        let mut entry = entry.map_err(Fault::read)?;
        let header = entry.header().clone();
        let path = entry_path(&header)?;
        let refused = |reason: String| Fault::Refused(format!("entry `{path}`: {reason}"));
        let folder = match header.entry_type() {
            EntryType::Regular => false,
            EntryType::Directory => true,
            other => return Err(refused(format!("a stage holds no entries of type {}", kind(other)))),
        };
        pib_plan::path::check(&path).map_err(refused)?;
        collisions.add(&path, folder).map_err(refused)?;
        if collisions.len() > MAX_ENTRIES {
            return Err(Fault::Refused(format!("it has more than {MAX_ENTRIES} files and folders")));
        }
        let target = into.join(&path);
        if folder {
            fs::create_dir_all(&target).map_err(|error| write_fault(&target, error))?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| write_fault(parent, error))?;
        }
        let executable = header.mode().map_err(Fault::read)? & 0o100 != 0;
        let size = header.size().map_err(Fault::read)?;
        write_file(&mut entry, size, executable, &target)?;
    }
    Ok(())
}

fn entry_path(header: &tar::Header) -> Result<String, Fault> {
    if header.as_ustar().is_none() {
        return Err(Fault::Refused("it has an entry that is not in the ustar format".to_owned()));
    }
    let bytes = header.path_bytes();
    let path = std::str::from_utf8(&bytes)
        .map_err(|_| Fault::Refused("it has a name that is not UTF-8".to_owned()))?;
    // Exactly one slash ends a folder's name; any further one stays and is refused with the path.
    Ok(match header.entry_type() {
        EntryType::Directory => path.strip_suffix('/').unwrap_or(path),
        _ => path,
    }
    .to_owned())
}

fn kind(kind: EntryType) -> String {
    match kind {
        EntryType::Symlink => "symbolic link".to_owned(),
        EntryType::Link => "hard link".to_owned(),
        EntryType::Char | EntryType::Block => "device".to_owned(),
        EntryType::Fifo => "pipe".to_owned(),
        EntryType::XHeader | EntryType::XGlobalHeader => "extended header".to_owned(),
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::GNUSparse => "GNU extension".to_owned(),
        other => format!("{:#04x}", other.as_byte()),
    }
}

fn write_file(entry: &mut impl Read, size: u64, executable: bool, target: &Path) -> Result<(), Fault> {
    let mut file = File::create_new(target).map_err(|error| write_fault(target, error))?;
    let mut buffer = vec![0; 64 << 10];
    let mut left = size;
    while left > 0 {
        // Reading and writing are apart, so that a full disk is not blamed on the archive.
        let count = entry.read(&mut buffer).map_err(Fault::read)?;
        if count == 0 {
            return Err(Fault::Refused("it ends in the middle of a file".to_owned()));
        }
        left = left.saturating_sub(count as u64);
        file.write_all(&buffer[..count]).map_err(|error| write_fault(target, error))?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(Permissions::from_mode(mode)).map_err(|error| write_fault(target, error))
}

fn write_fault(path: &Path, error: io::Error) -> Fault {
    Fault::Write(Box::new(SourceError::io("writing", path)(error)))
}

/// Fails once more bytes come out than may.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(io::Error::other(format!("it unpacks to more than {} MiB", self.limit >> 20)));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
