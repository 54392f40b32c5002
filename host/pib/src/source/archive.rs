//! The archive of a stage: `<name>-<version>.stage`, a canonical tar (see `files`) compressed by Zstandard.
//!
//! The digest of the tar, `content`, is the same on every machine; that of the archive, `checksum`, depends on
//! the release of the compressor and only says which bytes were published. There are two versions: the first knows the
//! modes 0644 and 0755 and no empty folders, the second any permissions (schema 2 of index lines). A stage that needs
//! nothing of the second is packed to the same bytes in both.
//!
//! Invariant of [`unpack`]: nothing is written outside the given folder, whatever the bytes are; time, memory and
//! disk are bounded. It refuses everything that packing cannot have made: links, devices, extended headers,
//! absolute and `..` paths, duplicates, and names that differ in case only.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use pib_plan::id::Digest;
use pib_plan::mode::Mode;
use pib_plan::path::Collisions;
use tar::{Archive, EntryType};

use super::stage_files::{self, Listing, MAX_BYTES, MAX_ENTRIES, Modes};
use super::{Package, SourceError};

/// The largest archive that is read, in bytes.
pub const MAX_ARCHIVE: u64 = MAX_BYTES;
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
    let listing = stage_files::write_tar(root, Modes::Recorded(shown), &mut encoder)?;
    let archive = encoder.finish().map_err(fail)?;
    let package = Package::with_listing(root, shown, listing)?;
    if !package.unrecorded.is_empty() {
        return Err(SourceError::Unrecorded {
            name: package.name,
            path: root.to_owned(),
            help: package.unrecorded.join("\n"),
        });
    }
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
    /// Whether modes and empty folders count, as in the second version of archives. In the first one a file is a program
    /// or it is not.
    pub(super) has_modes: bool,
}

/// Unpacks an archive to the empty folder `into`; returns its files.
///
/// The digest is checked before anything is parsed, and the contents' digest afterwards.
pub(super) fn unpack(archive: &[u8], promise: &Promise<'_>, into: &Path) -> Result<Listing, SourceError> {
    let Promise { what, checksum, content, has_modes } = promise;
    let wrong = |what: String, expected: &Digest, found: Digest| SourceError::WrongDigest {
        what,
        expected: *expected,
        found,
    };
    let found = Digest::of(archive);
    if found != *checksum {
        return Err(wrong(format!("the archive of {what}"), checksum, found));
    }
    unpack_entries(archive, into, *has_modes).map_err(|fault| match fault {
        Fault::Refused(reason) => SourceError::BadArchive { what: (*what).to_owned(), reason },
        Fault::Write(error) => *error,
    })?;
    let listing = stage_files::read(into, if *has_modes { Modes::Exact } else { Modes::First })?;
    if listing.content != *content {
        return Err(wrong(format!("the content of {what}"), content, listing.content));
    }
    Ok(listing)
}

/// Unpacks an archive of which nothing is promised; returns the stage that it holds, which is there as long as its folder is kept.
/// Messages call the archive `what`.
///
/// # Errors
/// When it is not one that packing has made, or holds no stage.
pub fn open(archive: &[u8], what: &str) -> Result<(tempfile::TempDir, Package), SourceError> {
    let folder =
        tempfile::tempdir().map_err(SourceError::io("creating a folder in", &std::env::temp_dir()))?;
    let into = folder.path();
    let bad = |reason| SourceError::BadArchive { what: what.to_owned(), reason };
    unpack_entries(archive, into, true).map_err(|fault| match fault {
        Fault::Refused(reason) => bad(reason),
        Fault::Write(error) => *error,
    })?;
    let read =
        stage_files::read(into, Modes::Exact).and_then(|listing| Package::with_listing(into, what, listing));
    // Where it was unpacked is nobody's business.
    let package =
        read.map_err(|error| bad(error.to_string().replace(&into.display().to_string(), "its folder")))?;
    Ok((folder, package))
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

fn unpack_entries(archive: &[u8], into: &Path, has_modes: bool) -> Result<(), Fault> {
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
        if path.split('/').any(pib_plan::path::is_git) {
            return Err(refused("a stage holds no repository of git".to_owned()));
        }
        collisions.add(&path, folder).map_err(refused)?;
        if collisions.len() > MAX_ENTRIES {
            return Err(Fault::Refused(format!("it has more than {MAX_ENTRIES} files and folders")));
        }
        let target = into.join(&path);
        let mode = entry_mode(&header, folder, has_modes).map_err(refused)?;
        if folder {
            fs::create_dir_all(&target).map_err(|error| write_fault(&target, error))?;
            set_mode(&target, mode)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| write_fault(parent, error))?;
        }
        let size = header.size().map_err(Fault::read)?;
        write_file(&mut entry, size, &target)?;
        set_mode(&target, mode)?;
    }
    Ok(())
}

/// Returns the mode that an entry gets.
fn entry_mode(header: &tar::Header, folder: bool, has_modes: bool) -> Result<Mode, String> {
    let bits = header.mode().map_err(|error| format!("its mode cannot be read ({error})"))?;
    if !has_modes {
        return Ok(if folder { Mode::FOLDER } else { Mode::of_file(bits & 0o100 != 0) });
    }
    let mode = Mode::new(bits).map_err(|error| error.to_string())?;
    match if folder { mode.is_open() } else { mode.is_readable() } {
        true => Ok(mode),
        false => Err(format!("its owner could not use it with the mode {mode}")),
    }
}

fn set_mode(target: &Path, mode: Mode) -> Result<(), Fault> {
    stage_files::set_mode(target, mode).map_err(|error| Fault::Write(Box::new(error)))
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

fn write_file(entry: &mut impl Read, size: u64, target: &Path) -> Result<(), Fault> {
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
    Ok(())
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
