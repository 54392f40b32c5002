//! The files of a stage's folder, and the one tar that stands for them.
//!
//! The canonical tar is what a stage's `content` digest is taken of, so it must come out the same on every
//! machine: ustar, entries sorted by the bytes of their paths, mtime 0, uid and gid 0 without names, mode 0755
//! for folders and for files that their owner may execute, else 0644. A folder is in it for as long as a file is
//! below it: git cannot tell an empty one, so neither does the digest.
//!
//! Everything in the folder is part of the stage but: names that start with a dot, and `target`, at the top (what
//! tools leave there); `hook` at the top, the source that the hook's component is built of; and `.git` anywhere.
//! Dot-files further down are meant: `files/etc/skel/.profile`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pib_plan::id::Digest;
use pib_plan::path::{self, Collisions};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::SourceError;

/// The most bytes that a stage's files may have together.
pub(super) const MAX_BYTES: u64 = 256 << 20;
/// The most files and folders that a stage may have.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// The size of a tar block.
const BLOCK: usize = 512;

/// A file of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// The path within the stage's folder, with `/` between its parts.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// What a walk finds, before anything is read.
struct Found {
    size: u64,
    executable: bool,
}

/// Returns the files below `root`, sorted by path, and the digest of their canonical tar.
pub(super) fn read(root: &Path) -> Result<(Vec<PackageFile>, Digest), SourceError> {
    write_tar(root, &mut io::sink())
}

/// Writes the canonical tar of the files below `root` to `out`; returns the files and the tar's digest.
pub(super) fn write_tar(root: &Path, out: &mut dyn Write) -> Result<(Vec<PackageFile>, Digest), SourceError> {
    let found = walk(root)?;
    let mut out = Hashing { out, hasher: Sha256::new() };
    let fail = SourceError::io;
    let mut files = Vec::new();
    // Folders carry a slash at the end, which also gives them their place in the order.
    for path in with_folders(found.keys()) {
        let full = root.join(&path);
        let unfit = |reason| SourceError::Unfit { path: full.clone(), reason };
        let Some(file) = found.get(&path) else {
            let header = header(&path, EntryType::Directory, 0, 0o755).map_err(unfit)?;
            out.write_all(header.as_bytes()).map_err(fail("packing", &full))?;
            continue;
        };
        let mode = if file.executable { 0o755 } else { 0o644 };
        let header = header(&path, EntryType::Regular, file.size, mode).map_err(unfit)?;
        out.write_all(header.as_bytes()).map_err(fail("packing", &full))?;
        let digest = copy_file(&full, file.size, &mut out)?;
        files.push(PackageFile { path, size: file.size, executable: file.executable, digest });
    }
    out.write_all(&[0; 2 * BLOCK]).map_err(fail("packing", root))?;
    Ok((files, Digest::from_bytes(out.hasher.finalize().into())))
}

fn walk(root: &Path) -> Result<BTreeMap<String, Found>, SourceError> {
    let mut found = BTreeMap::new();
    let mut collisions = Collisions::default();
    let mut bytes = 0;
    let entries = walkdir::WalkDir::new(root).min_depth(1).follow_root_links(true).into_iter();
    let part_of_it = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        !is_left_out(&name, entry.file_type().is_dir(), entry.depth() == 1)
    };
    for entry in entries.filter_entry(part_of_it) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            SourceError::Io { action: "reading", path, source: error.into() }
        })?;
        let unfit = |reason: String| SourceError::Unfit { path: entry.path().to_owned(), reason };
        let kind = entry.file_type();
        if !kind.is_file() && !kind.is_dir() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" };
            return Err(unfit(format!("it is {what}")));
        }
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_str();
        let path = path.ok_or_else(|| unfit("its name is not UTF-8".to_owned()))?;
        path::check(path).map_err(unfit)?;
        if kind.is_dir() {
            continue;
        }
        collisions.add(path, false).map_err(unfit)?;
        let metadata = entry.metadata().map_err(|error| SourceError::Io {
            action: "reading",
            path: entry.path().to_owned(),
            source: error.into(),
        })?;
        bytes += metadata.len();
        if bytes > MAX_BYTES || collisions.len() > MAX_ENTRIES {
            let reason =
                format!("the stage has more than {} MiB or {MAX_ENTRIES} files by then", MAX_BYTES >> 20);
            return Err(unfit(reason));
        }
        let executable = metadata.permissions().mode() & 0o100 != 0;
        found.insert(path.to_owned(), Found { size: metadata.len(), executable });
    }
    Ok(found)
}

/// Returns whether a file or folder is no part of a stage.
pub(super) fn is_left_out(name: &str, is_folder: bool, at_the_top: bool) -> bool {
    let of_tools = name.starts_with('.') || name == "target" || (name == "hook" && is_folder);
    name == ".git" || (at_the_top && of_tools)
}

/// Returns the paths and those of all folders above them, the latter with a slash at the end.
fn with_folders<'a>(paths: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in paths {
        all.extend(path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
        all.insert(path.clone());
    }
    all
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

/// Copies exactly `size` bytes of the file and fills the block up; returns the digest of the bytes.
fn copy_file(path: &Path, size: u64, out: &mut dyn Write) -> Result<Digest, SourceError> {
    let file = pib_file::open(path).map_err(SourceError::io("opening", path))?;
    // One byte more than expected tells a file that has grown since the walk.
    let mut input = Hashing { out, hasher: Sha256::new() };
    let copied = io::copy(&mut file.take(size + 1), &mut input).map_err(SourceError::io("reading", path))?;
    if copied != size {
        let reason = "it changed while it was read".to_owned();
        return Err(SourceError::Unfit { path: path.to_owned(), reason });
    }
    let digest = Digest::from_bytes(input.hasher.finalize().into());
    let fill = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    out.write_all(&[0; BLOCK][..fill]).map_err(SourceError::io("packing", path))?;
    Ok(digest)
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

/// Returns the text of a file of at most `limit` bytes; `None` where there is no such file.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<Option<String>, SourceError> {
    let file = match pib_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SourceError::io("opening", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(SourceError::io("reading", path))?;
    let unfit = |reason: String| SourceError::Unfit { path: path.to_owned(), reason };
    if bytes.len() as u64 > limit {
        return Err(unfit(format!("it is larger than {} KiB", limit >> 10)));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| unfit("it is not UTF-8 text".to_owned()))
}

/// Returns whether there is a regular file, not a link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}
