//! A cache of files that are believed only with the user's own seal on them: compiled code, answers, records.
//!
//! Compiled code is machine code. Whoever can put a file where pib loads it from runs what they like, so that a name
//! and a checksum, which anyone can make, are not enough. Every file begins with a keyed digest (HMAC-SHA256) over its
//! name and its content. The key is 64 random bytes in a file that only its owner can read; it is made where it is
//! missing and never leaves this machine. The folder and the key are used only if they belong to the user who runs
//! pib and nobody else can write, respectively read, them. A file without the right seal counts as missing: it is made
//! anew and replaced. What this cannot keep out is a program that runs as the same user, which needs no cache to do
//! harm.
//!
//! Any number of processes share the folder: files appear whole, by renaming, and the first key stays.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What every sealed file begins with, before the seal.
const MAGIC: &[u8; 8] = b"pibseal1";
/// The length of the seal.
const SEAL: usize = 32;
/// The length of the key: a whole block of the hash.
const KEY_LENGTH: usize = 64;
/// The largest file that is read; compiled code of an interpreter has some 60 MiB.
const MAX_FILE: u64 = 1 << 30;
/// The key's file.
const KEY: &str = "key";

/// A folder of sealed files.
#[derive(Debug)]
pub struct Sealed {
    folder: PathBuf,
    /// Read when it is first needed; why it cannot be used otherwise.
    key: OnceLock<Result<[u8; KEY_LENGTH], String>>,
}

/// What was kept, as it was read: copying it would cost as much as loading it.
#[derive(Debug, PartialEq, Eq)]
pub struct Content(Vec<u8>);

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[MAGIC.len() + SEAL..]
    }
}

impl Sealed {
    /// Names the folder; nothing is read or made before it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, key: OnceLock::new() }
    }

    /// Returns why nothing can be kept here, if that is so.
    pub fn trouble(&self) -> Option<&str> {
        self.key().err()
    }

    /// Returns the content that was kept under `name`; nothing if it is not there or not as it was kept.
    pub fn get(&self, name: &str) -> Option<Content> {
        let key = self.key().ok()?;
        let path = self.folder.join(name);
        let (file, metadata) = open_own(&path).ok()?;
        let bytes = read(file, metadata.len(), MAX_FILE).ok()?;
        let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
        let (seal, content) = rest.split_at_checked(SEAL)?;
        if magic != MAGIC || mac(key, name, content).verify_slice(seal).is_err() {
            return None;
        }
        touch(&path, &metadata);
        Some(Content(bytes))
    }

    /// Keeps `content` under `name`. A cache that cannot be written makes pib slower and nothing else.
    pub fn put(&self, name: &str, content: &[u8]) {
        if let Ok(key) = self.key() {
            let seal = mac(key, name, content).finalize().into_bytes();
            let _ = self.write(name, &[MAGIC, &seal, content]);
        }
    }

    /// Returns a digest that only this user's key gives of a text; nothing where there is no key.
    pub fn derived(&self, text: &str) -> Option<[u8; 32]> {
        let key = self.key().ok()?;
        Some(mac(key, text, b"derived").finalize().into_bytes().into())
    }

    /// Returns how many files are whole, and removes the others.
    pub fn verify(&self) -> io::Result<(usize, Vec<PathBuf>)> {
        let entries = match self.folder.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, Vec::new())),
            entries => entries?,
        };
        let (mut whole, mut removed) = (0, Vec::new());
        for entry in entries {
            let name = entry?.file_name();
            if name == KEY {
                continue;
            }
            let path = self.folder.join(&name);
            match name.to_str().and_then(|name| self.get(name)) {
                Some(_) => whole += 1,
                None => {
                    fs::remove_file(&path)?;
                    removed.push(path);
                }
            }
        }
        Ok((whole, removed))
    }

    fn key(&self) -> Result<&[u8; KEY_LENGTH], &str> {
        self.key.get_or_init(|| self.open()).as_ref().map_err(String::as_str)
    }

    /// Makes the folder and the key where they are missing, and checks whose they are.
    fn open(&self) -> Result<[u8; KEY_LENGTH], String> {
        let shown = self.folder.display();
        super::make_private(&self.folder).map_err(|error| format!("{shown} cannot be made: {error}"))?;
        let metadata =
            fs::symlink_metadata(&self.folder).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if !metadata.is_dir() || metadata.uid() != own_uid() || metadata.mode() & 0o022 != 0 {
            return Err(format!("{shown} belongs to somebody else, or others can write it"));
        }
        let fail = |error| format!("{shown}/{KEY} cannot be made: {error}");
        if let Some(key) = self.read_key() {
            return Ok(key);
        }
        let mut key = [0; KEY_LENGTH];
        getrandom::fill(&mut key).map_err(|error| fail(io::Error::other(error.to_string())))?;
        self.new_key(&key).map_err(fail)?;
        // Another process may have been first; its key is the one that both use from now on.
        self.read_key().ok_or_else(|| fail(io::Error::other("it is not as it was written")))
    }

    /// Returns the key; nothing if there is none that is secret and the user's own.
    fn read_key(&self) -> Option<[u8; KEY_LENGTH]> {
        let (file, metadata) = open_own(&self.folder.join(KEY)).ok()?;
        if metadata.mode() & 0o077 != 0 || metadata.nlink() != 1 {
            return None;
        }
        read(file, metadata.len(), KEY_LENGTH as u64).ok()?.try_into().ok()
    }

    fn new_key(&self, key: &[u8]) -> io::Result<()> {
        let path = self.folder.join(KEY);
        let mut file = self.temporary()?;
        file.write_all(key)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                // A key that others could read is worth nothing, nor is what was sealed with it.
                match self.read_key() {
                    Some(_) => Ok(()),
                    None => error.file.persist(&path).map(drop).map_err(|error| error.error),
                }
            }
            kept => kept.map(drop).map_err(|error| error.error),
        }
    }

    /// Puts a file in its place in one step. It is not synced: what a crash leaves of it has no right seal.
    fn write(&self, name: &str, pieces: &[&[u8]]) -> io::Result<()> {
        let mut file = self.temporary()?;
        for piece in pieces {
            file.write_all(piece)?;
        }
        file.persist(self.folder.join(name)).map(drop).map_err(|error| error.error)
    }

    /// Makes a file that nobody else can read.
    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder)
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Opens a regular file, no link, that belongs to the user.
fn open_own(path: &Path) -> io::Result<(File, Metadata)> {
    let file = super::open_no_link(path)?;
    let metadata = file.metadata()?;
    match metadata.uid() == own_uid() {
        true => Ok((file, metadata)),
        false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
    }
}

fn read(file: File, length: u64, limit: u64) -> io::Result<Vec<u8>> {
    if length > limit {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn mac(key: &[u8; KEY_LENGTH], name: &str, content: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(key.into());
    mac.update(MAGIC);
    mac.update(&(name.len() as u64).to_le_bytes());
    mac.update(name.as_bytes());
    mac.update(content);
    mac
}

/// Notes that a file is in use, once a day at most: what nobody uses can be pruned.
fn touch(path: &Path, metadata: &Metadata) {
    let day = Duration::from_secs(24 * 3600);
    let old = metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > day));
    if old {
        let _ = super::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
