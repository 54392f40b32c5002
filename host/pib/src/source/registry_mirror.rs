//! Copies a registry into a folder: all of it, or some of its stages.
//!
//! What is copied is what the registry's key has signed, where it is signed, and its archives have the digests of the index. Archives
//! come first, each whole or not at all, so that a copy that was interrupted goes on where it ended; the index is replaced once they
//! are all there, and the snapshot after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_file::Folder;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, IndexFile, Offer, SourceId, shard_path};
use pib_plan::registry_snapshot::{FILE_NAME, MAX_SNAPSHOT, RegistryKey, SignedSnapshot, Snapshot};
use serde::{Deserialize, Serialize};
use url::Url;

use super::SourceError;
use super::archive::MAX_ARCHIVE;
use super::entry::MAX_INDEX;
use super::registry::{CONFIG, Config, MAX_CONFIG, Registry, archive_path, name_at};
use super::registry_audit::{self, Line};
use super::registry_error::RegistryError;
use super::registry_folder::{hold, replace};
use super::registry_trust::{RegistryTrust, verify};

/// The file by which a copy is known, and says of what it is one.
const MARK: &str = "mirror.json";
/// The largest such file, in bytes.
const MAX_MARK: u64 = 4 << 20;
/// How often the index is read again that somebody publishes to meanwhile, and the pause before that.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How many files are read at the same time.
const AT_ONCE: usize = 8;

/// What is copied.
#[derive(Debug)]
pub struct MirrorSource<'a> {
    /// The registry.
    pub registry: &'a Registry,
    /// The key that signs it, where one is named.
    pub key: Option<RegistryKey>,
    /// The stages; all of them where none is named.
    pub stages: &'a [StageName],
    /// The cache, where the last snapshot is known.
    pub cache: &'a Path,
}

/// A registry that was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// How many stages the copy has.
    pub stages: usize,
    /// How many versions of them.
    pub versions: usize,
    /// How many archives were fetched; the others were there.
    pub fetched: usize,
    /// How many bytes these have.
    pub bytes: u64,
    /// The number of the snapshot; `None` where the registry is not signed.
    pub snapshot: Option<u64>,
    /// What is good to know, a sentence each.
    pub notes: Vec<String>,
}

/// What a copy is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    source: String,
    /// The stages that were asked for; all where there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    stages: BTreeSet<StageName>,
}

/// The index of a registry at a moment.
struct Index {
    /// The index files, by stage.
    files: BTreeMap<StageName, Vec<u8>>,
    config: Vec<u8>,
    snapshot: Option<(Vec<u8>, Snapshot)>,
}

/// Returns the stages that the copy in a folder has been asked for; `None` where it is no copy, or one of all stages.
pub(super) fn asked_for(root: &Path) -> Option<BTreeSet<StageName>> {
    mark(root).map(|mark| mark.stages).filter(|stages| !stages.is_empty())
}

fn mark(root: &Path) -> Option<Mark> {
    let bytes = Folder::open(root).and_then(|folder| folder.read(Path::new(MARK), MAX_MARK)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Copies a registry into a folder, which is made if need be.
///
/// # Errors
/// When the registry cannot be read or is not to be trusted, when it has no stage of a name that was asked for, or when the folder
/// holds something else or cannot be written.
pub async fn mirror(source: &MirrorSource<'_>, root: &Path) -> Result<Mirrored, SourceError> {
    let mark =
        Mark { source: source.registry.source().describe(), stages: source.stages.iter().cloned().collect() };
    check_target(root, &mark)?;
    source.registry.check().await?;
    let index = source.index().await?;
    let folder = Folder::make(root).map_err(SourceError::io("opening", root))?;
    let mut mirrored = Mirrored {
        stages: index.files.len(),
        snapshot: index.snapshot.as_ref().map(|(_, snapshot)| snapshot.version),
        ..Mirrored::default()
    };
    // An interrupted copy is known as one.
    let text = serde_json::to_vec(&mark).unwrap_or_default();
    replace(&folder, Path::new(MARK), &text)?;
    source.copy_archives(&folder, &index, &mut mirrored).await?;
    write_index(root, &index, &mark)?;
    Ok(mirrored)
}

/// Checks that a folder holds nothing, or a copy of the same registry.
fn check_target(root: &Path, wanted: &Mark) -> Result<(), SourceError> {
    let bad = |reason: String| SourceError::BadRegistry {
        registry: format!("the folder `{}`", root.display()),
        reason,
    };
    match mark(root) {
        Some(found) if found.source == wanted.source => Ok(()),
        Some(found) => Err(bad(format!("it is a copy of {}, not of {}", found.source, wanted.source))),
        None => match root.read_dir().ok().and_then(|mut entries| entries.next()) {
            None => Ok(()),
            Some(_) => Err(bad("it is not empty, and not a copy of a registry".to_owned())),
        },
    }
}

impl MirrorSource<'_> {
    fn bad(&self, reason: String) -> SourceError {
        SourceError::BadRegistry { registry: self.registry.source().describe(), reason }
    }

    /// Reads the index. All of it is of one moment, where the registry is signed.
    async fn index(&self) -> Result<Index, SourceError> {
        let trust = self.trust();
        if self.registry.is_oci() {
            // What is signed there is compared whenever a stage is read.
            let reader = match trust {
                Some(trust) => self.registry.clone().trusting(Arc::new(trust)),
                None => self.registry.clone(),
            };
            return self.index_of(&reader, None, None).await;
        }
        let mut attempt = 1;
        loop {
            let file = self.registry.read(FILE_NAME, MAX_SNAPSHOT).await?;
            let snapshot = match &trust {
                Some(trust) => trust.judge_now(file.clone())?,
                None => None,
            };
            match self.index_of(self.registry, trust.as_ref(), file.zip(snapshot)).await {
                // Somebody publishes meanwhile.
                Err(SourceError::Registry(RegistryError::Misfit { .. })) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                read => return read,
            }
        }
    }

    /// Returns what is known of the registry's key.
    fn trust(&self) -> Option<RegistryTrust> {
        let SourceId::Registry(address) = self.registry.source() else { return None };
        let url: Url = address.url()?.parse().ok()?;
        Some(RegistryTrust::new(self.registry.source(), &url, self.key, self.cache))
    }

    async fn index_of(
        &self,
        reader: &Registry,
        trust: Option<&RegistryTrust>,
        snapshot: Option<(Vec<u8>, Snapshot)>,
    ) -> Result<Index, SourceError> {
        let signed = snapshot.as_ref().map(|(_, snapshot)| snapshot);
        let compare = |path: &str, bytes: Option<&[u8]>| match (trust, signed) {
            (Some(trust), Some(snapshot)) => trust.compare(snapshot, path, bytes, None),
            _ => Ok(()),
        };
        let read = self.names(signed).await?.into_iter().map(async |name| {
            let path = shard_path(&name);
            let bytes = self.index_file(reader, &name, &path).await?;
            compare(&path, bytes.as_deref())?;
            match bytes {
                Some(bytes) => Ok((name, bytes)),
                None => Err(self.bad(format!("it has no stage `{name}`"))),
            }
        });
        let files = stream::iter(read).buffer_unordered(AT_ONCE).try_collect().await?;
        let config = match self.registry.is_oci() {
            true => serde_json::to_vec(&Config::current()).unwrap_or_default(),
            false => self.registry.read(CONFIG, MAX_CONFIG).await?.unwrap_or_default(),
        };
        compare(CONFIG, Some(&config))?;
        Ok(Index { files, config, snapshot })
    }

    /// Returns the names of the stages that are copied.
    async fn names(&self, signed: Option<&Snapshot>) -> Result<Vec<StageName>, SourceError> {
        if !self.stages.is_empty() {
            let names: BTreeSet<_> = self.stages.iter().cloned().collect();
            return Ok(names.into_iter().collect());
        }
        if let Some(snapshot) = signed {
            return Ok(snapshot.files.keys().filter_map(|path| name_at(Path::new(path))).collect());
        }
        let names = self.registry.all_names().await?;
        names.ok_or_else(|| {
            self.bad("it does not list its stages: name those that are to be copied".to_owned())
        })
    }

    /// Returns an index file; of an OCI registry, one that says what its manifests say.
    async fn index_file(
        &self,
        reader: &Registry,
        name: &StageName,
        path: &str,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        if !reader.is_oci() {
            return reader.read(path, MAX_INDEX).await;
        }
        let file = reader.versions(name).await?;
        let entries = file.versions.iter().filter_map(|candidate| match &candidate.offer {
            Offer::Entry(entry) => Some(Line::of((**entry).clone())),
            Offer::Unreadable(_) => None,
        });
        let lines: Vec<Line> = entries.collect();
        Ok((!lines.is_empty()).then(|| registry_audit::lines_text(&lines).into_bytes()))
    }

    /// Fetches the archives that the folder does not have.
    async fn copy_archives(
        &self,
        folder: &Folder,
        index: &Index,
        mirrored: &mut Mirrored,
    ) -> Result<(), SourceError> {
        let mut entries = Vec::new();
        for (name, bytes) in &index.files {
            let file = IndexFile::parse(name, self.registry.source(), &String::from_utf8_lossy(bytes));
            let file = file.map_err(|error| self.bad(error.to_string()))?;
            let unread = file.skipped.iter().map(|line| format!("line {} of `{name}`", line.line));
            let unreadable = file.versions.iter().filter_map(|candidate| match &candidate.offer {
                Offer::Entry(entry) => {
                    entries.push(entry.clone());
                    None
                }
                Offer::Unreadable(_) => Some(format!("{name} {}", candidate.version)),
            });
            let unread: Vec<String> = unread.chain(unreadable).collect();
            mirrored.notes.extend(
                unread
                    .into_iter()
                    .map(|what| format!("{what} is for a newer pib: its archive is not copied")),
            );
        }
        mirrored.versions = entries.len();
        let fetched = entries.iter().map(|entry| self.copy_archive(folder, entry));
        let mut fetched = stream::iter(fetched).buffer_unordered(AT_ONCE);
        while let Some(bytes) = fetched.try_next().await? {
            mirrored.fetched += usize::from(bytes.is_some());
            mirrored.bytes += bytes.unwrap_or_default();
        }
        Ok(())
    }

    /// Fetches an archive that the folder does not have; returns its size where it did not.
    async fn copy_archive(&self, folder: &Folder, entry: &IndexEntry) -> Result<Option<u64>, SourceError> {
        let path = archive_path(&entry.name, &entry.vers);
        let Some(digest) = entry.cksum else {
            return Err(self.bad(format!("its index has no digest of {} {}", entry.name, entry.vers)));
        };
        let there = folder.read(Path::new(&path), MAX_ARCHIVE).ok();
        if there.is_some_and(|bytes| Digest::of(&bytes) == digest) {
            return Ok(None);
        }
        // Compared with the digest by the registry.
        let bytes = self.registry.archive(entry).await?;
        replace(folder, Path::new(&path), &bytes)?;
        Ok(Some(bytes.len() as u64))
    }
}

/// Replaces the index of a copy, unless somebody else has copied a newer one meanwhile.
fn write_index(root: &Path, index: &Index, mark: &Mark) -> Result<(), SourceError> {
    let (folder, _lock) = hold(root)?;
    let number = |bytes: &[u8]| {
        let signed = SignedSnapshot::parse(bytes).ok()?;
        signed.own(&verify).ok().map(|snapshot| snapshot.version)
    };
    let there = folder.read(Path::new(FILE_NAME), MAX_SNAPSHOT).ok().and_then(|bytes| number(&bytes));
    if there > index.snapshot.as_ref().map(|(_, snapshot)| snapshot.version) {
        return Ok(());
    }
    let write = |path: &str, bytes: &[u8]| {
        let is_there = folder.read(Path::new(path), MAX_SNAPSHOT).is_ok_and(|there| there == bytes);
        if is_there { Ok(()) } else { replace(&folder, Path::new(path), bytes) }
    };
    write(CONFIG, &index.config)?;
    for (name, bytes) in &index.files {
        write(&shard_path(name), bytes)?;
    }
    if let Some((bytes, _)) = &index.snapshot {
        write(FILE_NAME, bytes)?;
    }
    // A copy of everything has nothing that the registry does not have.
    for name in Registry::folder(root)?.names() {
        if mark.stages.is_empty() && !index.files.contains_key(&name) {
            let path = shard_path(&name);
            folder.remove_file(Path::new(&path)).map_err(SourceError::io("removing", &root.join(&path)))?;
        }
    }
    Ok(())
}
