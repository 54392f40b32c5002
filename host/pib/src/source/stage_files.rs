//! The files of a stage's folder, and the one tar that stands for them.
//!
//! The canonical tar is what a stage's `content` digest is taken of, so it must come out the same on every
//! machine: ustar, entries sorted by the bytes of their paths, mtime 0, uid and gid 0 without names. A folder is in
//! it where something is below it, or where the stage has it as an empty one.
//!
//! What counts as a file of the stage is told in `found`, how modes are known in `modes`.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter::repeat_n;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use pib_file::{Folder, LinkError};
use pib_plan::id::Digest;
use pib_plan::manifest::stage::{FILE_NAME, StageManifest};
use pib_plan::manifest::{MAX_MANIFEST, ManifestText};
use pib_plan::mode::Mode;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::SourceError;
use super::contents::Contents;
use super::found::{Found, walk};
use super::modes::{self, Settled};

pub(super) use super::found::{MAX_BYTES, MAX_ENTRIES, is_left_out, is_part};
pub(super) use super::modes::{Modes, is_usual};

/// The size of a tar block.
const BLOCK: usize = 512;
/// How much of a large file is read at once.
const PIECE: usize = 64 << 10;
/// How a file begins that stands for one in Git LFS (its specification, "The Pointer").
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The largest such file.
const MAX_LFS_POINTER: u64 = 1024;

/// A file of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// The path within the stage's folder, with `/` between its parts.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// Its permissions.
    pub mode: Mode,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// A folder of a stage that has something of its own: it is empty, or has not the usual mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFolder {
    /// The path within the stage's folder, with `/` between its parts.
    pub path: String,
    /// Its permissions.
    pub mode: Mode,
}

/// What a stage's folder holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listing {
    /// The files, sorted by path.
    pub(super) files: Vec<PackageFile>,
    /// The folders that do not follow from the files, sorted by path.
    pub(super) folders: Vec<PackageFolder>,
    /// The digest of the canonical tar.
    pub(super) content: Digest,
    /// The bytes of small files.
    pub(super) contents: Contents,
    /// The entries of `[modes]` that are missing: what only this copy of the folder has.
    pub(super) unrecorded: Vec<String>,
    /// What the stage says of itself, where that was read to know the modes.
    pub(super) manifest: Option<StageManifest>,
}

/// Returns what is below `root`.
pub(super) fn read(root: &Path, modes: Modes<'_>) -> Result<Listing, SourceError> {
    write_tar(root, modes, &mut io::sink())
}

/// Writes the canonical tar of what is below `root` to `out`.
pub(super) fn write_tar(root: &Path, modes: Modes<'_>, out: &mut dyn Write) -> Result<Listing, SourceError> {
    let found = walk(root)?;
    let without_records = |settled| (settled, Contents::default(), None);
    let (settled, mut contents, manifest) = match modes {
        Modes::Recorded(shown) => recorded(root, shown, found)?,
        Modes::Exact => without_records(modes::exactly(root, found)?),
        Modes::First => without_records(modes::by_default(found)),
        Modes::Listed(listed) => without_records(modes::by_list(found, listed)),
    };
    let component =
        manifest.as_ref().and_then(|manifest| manifest.hook.as_ref()).map(|hook| &*hook.component);
    let mut out = Hashing { out, hasher: Sha256::new() };
    let fail = SourceError::io;
    let mut files = Vec::new();
    // Folders carry a slash at the end, which also gives them their place in the order.
    for path in settled.entries() {
        let full = root.join(&path);
        let unfit = |reason| SourceError::Unfit { path: full.clone(), reason };
        let Some((size, mode)) = settled.files.get(&path).copied() else {
            let mode = settled.folders.get(path.trim_end_matches('/')).copied().unwrap_or(Mode::FOLDER);
            let header = header(&path, EntryType::Directory, 0, mode.bits()).map_err(unfit)?;
            out.write_all(header.as_bytes()).map_err(fail("packing", &full))?;
            continue;
        };
        let header = header(&path, EntryType::Regular, size, mode.bits()).map_err(unfit)?;
        out.write_all(header.as_bytes()).map_err(fail("packing", &full))?;
        let digest = match Contents::is_small(&path, size, component) {
            true => {
                let bytes = match contents.get(&path) {
                    Some(bytes) => Arc::clone(bytes),
                    None => read_whole(&full, size)?,
                };
                if matches!(modes, Modes::Recorded(_)) && is_lfs_pointer(&bytes) {
                    return Err(SourceError::LfsPointer { path: full });
                }
                contents.keep(&path, Arc::clone(&bytes));
                copy(&full, size, &*bytes, &mut out)?
            }
            false => {
                let file = BufReader::with_capacity(PIECE, open(&full, size)?);
                copy(&full, size, file, &mut out)?
            }
        };
        files.push(PackageFile { path, size, mode, digest });
    }
    out.write_all(&[0; 2 * BLOCK]).map_err(fail("packing", root))?;
    let folders = settled.own_folders().map(|(path, mode)| PackageFolder { path: path.clone(), mode: *mode });
    let folders = folders.collect();
    let content = Digest::from_bytes(out.hasher.finalize().into());
    Ok(Listing { files, folders, content, contents, unrecorded: settled.unrecorded, manifest })
}

/// Settles modes by the records in the stage's manifest; returns with them the manifest's bytes, and what it says.
fn recorded(
    root: &Path,
    shown: &str,
    found: Found,
) -> Result<(Settled, Contents, Option<StageManifest>), SourceError> {
    let file = manifest_name(shown);
    let text = manifest_text(root)?;
    // A manifest with mistakes counts as one without records here. Reading the package reports the mistakes.
    let manifest = text.as_deref().and_then(|text| StageManifest::parse(&file, text).ok());
    let records = manifest.as_ref().map_or(&[][..], |manifest| &manifest.modes);
    let shown = ManifestText::new(&file, text.as_deref().unwrap_or_default());
    let settled = modes::by_records(root, &shown, records, found)?;
    let mut contents = Contents::default();
    if let Some(text) = text {
        contents.keep(FILE_NAME, text.into_bytes().into());
    }
    Ok((settled, contents, manifest))
}

/// Gives the files and folders below `root`, which pib has just made, the modes that the stage's records say.
pub(super) fn apply_records(root: &Path, shown: &str) -> Result<Listing, SourceError> {
    let listing = read(root, Modes::Recorded(shown))?;
    for folder in &listing.folders {
        let path = root.join(&folder.path);
        fs::create_dir_all(&path).map_err(SourceError::io("creating", &path))?;
    }
    for entry in walkdir::WalkDir::new(root).min_depth(1).into_iter().flatten() {
        if entry.file_type().is_dir() {
            set_mode(entry.path(), Mode::FOLDER)?;
        }
    }
    for file in &listing.files {
        set_mode(&root.join(&file.path), file.mode)?;
    }
    for folder in &listing.folders {
        set_mode(&root.join(&folder.path), folder.mode)?;
    }
    Ok(Listing { unrecorded: Vec::new(), ..listing })
}

/// Sets the permissions of a file or folder.
pub(super) fn set_mode(path: &Path, mode: Mode) -> Result<(), SourceError> {
    fs::set_permissions(path, Permissions::from_mode(mode.bits())).map_err(SourceError::io("writing", path))
}

/// Returns the text of the stage's manifest; `None` where it has none.
fn manifest_text(root: &Path) -> Result<Option<String>, SourceError> {
    let path = root.join(FILE_NAME);
    if is_file(&path) { read_text(&path, MAX_MANIFEST as u64) } else { Ok(None) }
}

/// Returns what messages call the manifest of a folder that they call `shown`.
pub(super) fn manifest_name(shown: &str) -> String {
    if shown.is_empty() { FILE_NAME.to_owned() } else { format!("{shown}/{FILE_NAME}") }
}

fn header(path: &str, kind: EntryType, size: u64, mode: u32) -> Result<Header, String> {
    let mut header = Header::new_ustar();
    let (prefix, name) = split(path).ok_or_else(|| {
        format!("the path `{path}` is too long for ustar, which takes 100 bytes after a slash and 155 before")
    })?;
    if let Some(fields) = header.as_ustar_mut() {
        fields.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// Splits a path for ustar's two fields, at the first slash that does.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let fits = |(at, _): &(usize, &str)| *at > 0 && *at <= 155 && (1..=100).contains(&(path.len() - at - 1));
    path.match_indices('/').find(fits).map(|(at, _)| (&path[..at], &path[at + 1..]))
}

/// Opens a file that had `size` bytes. One byte more can be read of it, which tells that it has grown.
fn open(path: &Path, size: u64) -> Result<io::Take<fs::File>, SourceError> {
    let file = pib_file::open(path).map_err(SourceError::io("opening", path))?;
    Ok(file.take(size + 1))
}

/// Reads a small file into the memory that all its users share.
fn read_whole(path: &Path, size: u64) -> Result<Arc<[u8]>, SourceError> {
    let mut file = open(path, size)?;
    let mut shared: Arc<[u8]> = repeat_n(0, usize::try_from(size).unwrap_or(0)).collect();
    let Some(bytes) = Arc::get_mut(&mut shared) else { return Err(changed(path)) };
    match file.read_exact(bytes).and_then(|()| file.read(&mut [0])) {
        Ok(0) => Ok(shared),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(SourceError::io("reading", path)(error))
        }
        _ => Err(changed(path)),
    }
}

/// Returns the error for a file that somebody writes at this moment.
fn changed(path: &Path) -> SourceError {
    SourceError::Unfit { path: path.to_owned(), reason: "it changed while it was read".to_owned() }
}

/// Copies the `size` bytes of a file and fills the block up; returns the digest of the bytes.
fn copy(path: &Path, size: u64, mut from: impl BufRead, out: &mut dyn Write) -> Result<Digest, SourceError> {
    let (mut hasher, mut copied) = (Sha256::new(), 0);
    loop {
        let piece = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            piece => piece.map_err(SourceError::io("reading", path))?,
        };
        let length = piece.len();
        if length == 0 {
            break;
        }
        hasher.update(piece);
        out.write_all(piece).map_err(SourceError::io("packing", path))?;
        from.consume(length);
        copied += length as u64;
    }
    if copied != size {
        return Err(changed(path));
    }
    let digest = Digest::from_bytes(hasher.finalize().into());
    let fill = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    out.write_all(&[0; BLOCK][..fill]).map_err(SourceError::io("packing", path))?;
    Ok(digest)
}

/// Returns whether a file only stands for one that Git LFS has not fetched.
pub fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() as u64 <= MAX_LFS_POINTER && bytes.starts_with(LFS_POINTER)
}

/// Hashes what passes through.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the text of a stage's file of at most `limit` bytes; `None` where there is no such file. A link is no file of
/// the stage: what it leads to may be any file of the user's.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<Option<String>, SourceError> {
    let file = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Folder::open(folder).and_then(|folder| folder.open_file(name)),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    text(path, file, limit)
}

/// Returns the text of a file that was opened; `None` where there is no such file.
pub(super) fn text(
    path: &Path,
    file: io::Result<fs::File>,
    limit: u64,
) -> Result<Option<String>, SourceError> {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, NotFound};
    match file.and_then(|file| pib_file::text_of(pib_file::read_open(file, limit)?)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(error) if LinkError::of(&error).is_some() => Err(SourceError::io("reading", path)(error)),
        Err(error) if matches!(error.kind(), FileTooLarge | InvalidData | InvalidInput) => {
            Err(SourceError::Unfit { path: path.to_owned(), reason: error.to_string() })
        }
        Err(error) => Err(SourceError::io("reading", path)(error)),
    }
}

/// Returns whether there is a regular file, not a link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
#[path = "stage_files_tests.rs"]
mod tests;
