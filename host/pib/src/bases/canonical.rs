//! Makes a file tree that a container engine exported the same on every run.
//!
//! What the engine or the passing of time put there is dropped, times are clamped, owners are numbers only and
//! entries are sorted by path. Owners, modes, links, devices and extended attributes stay as they are. The data
//! goes through a spool file, so that memory holds names and no contents.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use pib_disk::pax::{self, Meta};

/// The most entries that a tree may have.
const MAX_ENTRIES: usize = 4_000_000;

/// The folders over which engines mount something while a program runs; what is below them is not kept.
const MOUNT_POINTS: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", "var/tmp"];

/// Reads the tar `input`, writes the normalised one to `output` and returns its digest and size.
///
/// `spool` is an empty file that holds the data in between.
///
/// # Errors
/// When the input is no tar or leads out of the tree, or a file cannot be read or written.
pub(super) fn normalise(
    input: impl Read,
    output: &mut File,
    spool: &mut File,
    epoch: u64,
) -> io::Result<(Digest, u64)> {
    let tree = Tree::read(input, spool)?;
    let mut output =
        Hashing { output: BufWriter::with_capacity(1 << 20, output), hasher: Sha256::new(), size: 0 };
    tree.write(&mut output, spool, epoch)?;
    output.flush()?;
    Ok((Digest::from_bytes(output.hasher.finalize().into()), output.size))
}

/// Returns the time of the newest file of a tree that a container engine exported, in seconds since 1970.
///
/// Folders do not count, nor what engines put there: some of that has the time at which the engine was asked.
///
/// # Errors
/// When the input is no tar or breaks off.
pub fn newest_file(input: impl Read) -> io::Result<u64> {
    let mut newest = 0;
    pax::for_each(input, |meta, _data| {
        if meta.kind.is_file() && !is_dropped(&clean(&meta.path)?, &meta) {
            newest = newest.max(meta.mtime);
        }
        Ok(())
    })?;
    Ok(newest)
}

/// What a path holds; hard links share one.
struct Node {
    meta: Meta,
    /// Where the data begins in the spool.
    offset: u64,
}

struct Tree {
    nodes: Vec<Node>,
    paths: BTreeMap<Vec<u8>, usize>,
}

impl Tree {
    fn read(input: impl Read, spool: &mut File) -> io::Result<Self> {
        let mut spool = BufWriter::with_capacity(1 << 20, spool);
        let mut tree = Self { nodes: Vec::new(), paths: BTreeMap::new() };
        let mut offset = 0;
        pax::for_each(input, |meta, data| {
            let path = clean(&meta.path)?;
            if path.is_empty() {
                return Ok(());
            }
            if tree.paths.len() >= MAX_ENTRIES {
                return Err(invalid("the file tree has too many entries"));
            }
            if meta.kind == EntryType::Link {
                let target = clean(&meta.link.unwrap_or_default())?;
                let node = tree.paths.get(&target).copied();
                let node = node.ok_or_else(|| invalid("a hard link's target did not come before it"))?;
                tree.paths.insert(path, node);
                return Ok(());
            }
            let size = if meta.kind.is_file() { io::copy(data, &mut spool)? } else { 0 };
            tree.nodes.push(Node { meta: Meta { size, ..meta }, offset });
            tree.paths.insert(path, tree.nodes.len() - 1);
            offset += size;
            Ok(())
        })?;
        spool.flush()?;
        Ok(tree)
    }

    fn write(&self, output: &mut impl Write, spool: &mut File, epoch: u64) -> io::Result<()> {
        let mut tar = Builder::new(output);
        let mut written: HashMap<usize, &[u8]> = HashMap::new();
        for (path, index) in &self.paths {
            let Node { meta, offset } = &self.nodes[*index];
            if is_dropped(path, meta) {
                continue;
            }
            let mut header = header(meta, epoch)?;
            if MOUNT_POINTS.iter().any(|point| path == point.as_bytes()) {
                // Engines touch these, each in its own way.
                header.set_mtime(epoch);
            }
            let name =
                |path: &[u8]| String::from_utf8(path.to_vec()).map_err(|_| invalid("a path is not UTF-8"));
            if let Some(first) = written.get(index) {
                header.set_entry_type(EntryType::Link);
                tar.append_link(&mut header, name(path)?, name(first)?)?;
                continue;
            }
            if meta.kind.is_file() {
                written.insert(*index, path);
            }
            let records: Vec<_> = pax::xattr_records(&meta.xattrs).collect();
            tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))?;
            if let Some(link) = meta.link.as_ref().filter(|_| meta.kind.is_symlink()) {
                tar.append_link(&mut header, name(path)?, name(link)?)?;
            } else {
                let path = name(path)? + if meta.kind.is_dir() { "/" } else { "" };
                spool.seek(SeekFrom::Start(*offset))?;
                header.set_size(meta.size);
                tar.append_data(&mut header, path, Read::take(&mut *spool, meta.size))?;
            }
        }
        tar.into_inner()?.flush()
    }
}

fn header(meta: &Meta, epoch: u64) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(meta.kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid);
    header.set_gid(meta.gid);
    header.set_mtime(meta.mtime.min(epoch));
    header.set_size(0);
    if meta.kind.is_character_special() || meta.kind.is_block_special() {
        header.set_device_major(meta.device.0)?;
        header.set_device_minor(meta.device.1)?;
    }
    Ok(header)
}

/// Returns the path without `./` and slashes at its ends; refuses one that leads out of the tree.
fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(invalid(&format!("the path `{}` leads out of the tree", String::from_utf8_lossy(path))));
    }
    Ok(parts.join(&b'/'))
}

/// Returns whether what lies at the path is the engine's, or differs from run to run, or only takes up space.
fn is_dropped(path: &[u8], meta: &Meta) -> bool {
    let Ok(path) = std::str::from_utf8(path) else { return false };
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_engine = MOUNT_POINTS.iter().any(|folder| below(folder))
        || matches!(path, ".dockerenv" | "etc/mtab" | "etc/hostname" | "etc/hosts" | "etc/resolv.conf")
        || path == pib_debian::SECOND_PART
        || below(pib_debian::SECOND_PART);
    let is_identity = matches!(path, "etc/machine-id" | "var/lib/dbus/machine-id");
    let is_cache = !meta.kind.is_dir()
        && ["var/cache/apt", "var/lib/apt/lists", "var/cache/ldconfig"].iter().any(|folder| below(folder));
    // Empty logs stay: packages create them with the owner that their programs need.
    let is_log = below("var/log") && meta.kind.is_file() && meta.size > 0;
    let is_backup = (below("var/lib/dpkg") || below("var/cache/debconf")) && path.ends_with("-old")
        || matches!(path, "var/lib/dpkg/lock" | "var/lib/dpkg/lock-frontend" | "var/lib/dpkg/triggers/Lock");
    is_engine || is_identity || is_cache || is_log || is_backup
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Counts and digests what is written.
struct Hashing<W> {
    output: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
