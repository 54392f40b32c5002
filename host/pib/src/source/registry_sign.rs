//! Signs registries in folders, buckets and OCI registries: the snapshot that names all their index files.
//!
//! A publisher writes the index first, and the snapshot after it. Only what was published is signed anew: what somebody else has put
//! into the index stays unsigned, and readers refuse it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pib_objects::{Bucket, ObjectVersion};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, shard_path};
use pib_plan::publisher::{PublisherSignature, signed_text};
use pib_plan::registry_snapshot::{
    FILE_NAME, KeySignature, MAX_SNAPSHOT, RegistryKey, Rotation, SignedSnapshot, Snapshot, rotation_text,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::SourceError;
use super::entry::MAX_INDEX;
use super::registry::{CONFIG, MAX_FILES, Registry, name_at};
use super::registry_error::RegistryError;
use super::registry_mirror;
use super::registry_oci::OciRegistry;
use super::registry_store::RegistryStore;
use super::registry_trust::{now, verify};

/// How long a snapshot counts where nobody says.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a snapshot is written again that somebody else has written meanwhile.
const ATTEMPTS: u64 = 100;
/// How often the index is compared with the snapshot, and how long pib waits in between for that of another publisher.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// The key that signs a registry.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: RegistryKey,
    /// The greatest number that it is known to have signed; 0 where none is.
    last: AtomicU64,
}

impl SigningKey {
    /// Returns the key of a secret; `None` where it is none.
    pub fn of(secret: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
        let public = RegistryKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public, last: AtomicU64::new(0) })
    }

    /// Returns the public key.
    pub fn public(&self) -> RegistryKey {
        self.public
    }

    /// Says that the key has signed a snapshot with this number: it signs none with a smaller one.
    pub fn has_signed(&self, number: u64) {
        self.last.fetch_max(number, Ordering::Relaxed);
    }

    /// Returns the greatest number that the key is known to have signed; 0 where none is.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Returns the signature of a version, where the key is its publisher's; `None` where the version has no content to be signed.
    pub fn sign_version(&self, entry: &IndexEntry) -> Option<PublisherSignature> {
        let text = signed_text(&entry.name, &entry.vers, &entry.content?);
        Some(PublisherSignature { key: self.public, signature: self.sign(&text) })
    }

    fn sign(&self, text: &str) -> KeySignature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        KeySignature(bytes)
    }
}

/// What is signed.
pub enum Change<'a> {
    /// All of the registry as it is.
    All {
        /// For how long the snapshot counts; as before where nobody says.
        lifetime: Option<Duration>,
        /// The key that signs from now on.
        next: Option<&'a SigningKey>,
        /// The number of the snapshot, where it is not the next one.
        number: Option<u64>,
    },
    /// The index files of these stages.
    Stages(&'a [StageName]),
    /// Nothing but the time: the snapshot counts longer where half of its time is over.
    Renewal,
}

/// A snapshot that was signed.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// The key.
    pub key: RegistryKey,
    /// The snapshot.
    pub snapshot: Snapshot,
}

impl RegistryStore<'_> {
    /// Returns whether the registry is signed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn is_signed(self) -> Result<bool, SourceError> {
        Ok(self.read(FILE_NAME, MAX_SNAPSHOT).await?.is_some())
    }

    /// Checks, before the index files of stages are changed, that this key signs the registry and that they are what the key has
    /// signed: what somebody else has put into them would be signed with the change. Another publisher's snapshot follows its
    /// change within moments; it is awaited.
    ///
    /// # Errors
    /// When another key signs the registry, its snapshot is damaged, or a file is not what it says.
    pub async fn check(self, key: &SigningKey, stages: &[StageName]) -> Result<(), SourceError> {
        let mut attempt = 1;
        loop {
            let Some((signed, own, _)) = self.snapshot().await? else { return self.check_newest(key, None) };
            self.check_signer(key, &signed)?;
            self.check_newest(key, Some(own.version))?;
            let Some(path) = self.unsigned(&own, stages).await? else { return Ok(()) };
            if attempt == LOOKS {
                return Err(RegistryError::Unvouched { registry: self.describe(), path }.into());
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the path of the first index file of these stages that is not what a snapshot says.
    async fn unsigned(self, own: &Snapshot, stages: &[StageName]) -> Result<Option<String>, SourceError> {
        for path in stages.iter().map(shard_path) {
            let found = self.read(&path, MAX_INDEX).await?.map(|(bytes, _)| Digest::of(&bytes));
            if found.as_ref() != own.files.get(&path) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Returns the snapshot, as it is written and as it was signed, and its state in a bucket; `None` where there is none.
    async fn snapshot(
        self,
    ) -> Result<Option<(SignedSnapshot, Snapshot, Option<ObjectVersion>)>, SourceError> {
        let Some((bytes, version)) = self.read(FILE_NAME, MAX_SNAPSHOT).await? else { return Ok(None) };
        let signed = SignedSnapshot::parse(&bytes).map_err(|reason| self.untrusted(reason))?;
        let own = signed.own(&verify).map_err(|reason| self.untrusted(reason))?;
        Ok(Some((signed, own, version)))
    }

    /// Checks that the number of the snapshot, where there is one, is not smaller than one that the key has signed: somebody may have
    /// put an older state back, and what is signed now would make it count.
    ///
    /// # Errors
    /// When it is smaller, or the snapshot is gone.
    pub fn check_newest(self, key: &SigningKey, found: Option<u64>) -> Result<(), SourceError> {
        let last = key.last();
        match found.unwrap_or_default() >= last {
            true => Ok(()),
            false => {
                let found = found.map_or("it has no snapshot".to_owned(), |found| {
                    format!("its snapshot has the number {found}")
                });
                let (registry, next) = (self.describe(), last.saturating_add(1));
                Err(RegistryError::RolledBack { registry, found, last, next }.into())
            }
        }
    }

    fn check_signer(self, key: &SigningKey, before: &SignedSnapshot) -> Result<(), SourceError> {
        if before.key == key.public() {
            return Ok(());
        }
        let (registry, expected) = (self.describe(), before.key);
        Err(RegistryError::OtherSigner { registry, expected, found: key.public() }.into())
    }

    /// Signs the registry; `None` where there is nothing to sign: a renewal is too early, or the stages are signed as they are.
    ///
    /// # Errors
    /// When another key signs it, its snapshot is damaged, or it cannot be read or written.
    pub async fn sign(
        self,
        key: &SigningKey,
        change: &Change<'_>,
    ) -> Result<Option<NewSnapshot>, SourceError> {
        for attempt in 0..ATTEMPTS {
            // Held until the snapshot is written; a bucket compares what is there instead.
            let _held = self.hold()?;
            let (signed, own, version) = match self.snapshot().await? {
                Some((signed, own, version)) => (Some(signed), Some(own), version),
                None => (None, None, None),
            };
            if let (Change::Renewal, Some(own)) = (change, &own)
                && own.expires > now() + own.lifetime / 2
            {
                return Ok(None);
            }
            let files = self.files(change, own.as_ref()).await?;
            if let (Change::Stages(_), Some(own)) = (change, &own)
                && own.files == files
            {
                return Ok(None);
            }
            let (signed, snapshot) = self.next(key, change, signed.as_ref(), own.as_ref(), files)?;
            if self.write(FILE_NAME, signed.to_text().into_bytes(), version.as_ref()).await? {
                key.has_signed(snapshot.version);
                return Ok(Some(NewSnapshot { key: signed.key, snapshot }));
            }
            tokio::time::sleep(Duration::from_millis(5 * (attempt + 1)).min(Duration::from_millis(500)))
                .await;
        }
        Err(self.bad(format!("others write `{FILE_NAME}` all the time")))
    }

    fn next(
        self,
        key: &SigningKey,
        change: &Change<'_>,
        before: Option<&SignedSnapshot>,
        own: Option<&Snapshot>,
        files: BTreeMap<String, Digest>,
    ) -> Result<(SignedSnapshot, Snapshot), SourceError> {
        before.map_or(Ok(()), |before| self.check_signer(key, before))?;
        let (lifetime, next, number) = match change {
            Change::All { lifetime, next, number } => (*lifetime, *next, *number),
            Change::Stages(_) | Change::Renewal => (None, None, None),
        };
        let found = own.map(|own| own.version);
        match number {
            None => self.check_newest(key, found)?,
            Some(number) => {
                let least = found.unwrap_or_default().max(key.last()).saturating_add(1);
                if number < least {
                    return Err(
                        RegistryError::SmallNumber { registry: self.describe(), number, least }.into()
                    );
                }
            }
        }
        let lifetime =
            lifetime.map_or(own.map_or(LIFETIME.as_secs(), |own| own.lifetime), |time| time.as_secs());
        let mut snapshot = Snapshot::next(own, files, now(), lifetime);
        snapshot.version = number.unwrap_or(snapshot.version);
        let signed = serde_json::to_string(&snapshot).map_err(|error| self.bad(error.to_string()))?;
        let mut rotations = before.map(|before| before.rotations.clone()).unwrap_or_default();
        rotations.extend(next.map(|next| Rotation {
            from: key.public(),
            to: next.public(),
            signature: key.sign(&rotation_text(&next.public())),
        }));
        let signer = next.unwrap_or(key);
        let signature = signer.sign(&signed);
        Ok((SignedSnapshot { signed, key: signer.public(), signature, rotations }, snapshot))
    }

    /// Returns the digests that the next snapshot has.
    async fn files(
        self,
        change: &Change<'_>,
        own: Option<&Snapshot>,
    ) -> Result<BTreeMap<String, Digest>, SourceError> {
        let (mut files, paths) = match (change, own) {
            (Change::Stages(names), Some(own)) => {
                (own.files.clone(), names.iter().map(shard_path).collect::<Vec<_>>())
            }
            (Change::Renewal, Some(own)) => return Ok(own.files.clone()),
            _ => (BTreeMap::new(), self.paths().await?),
        };
        for path in paths {
            match self.read(&path, MAX_INDEX).await? {
                Some((bytes, _)) => files.insert(path, Digest::of(&bytes)),
                None => files.remove(&path),
            };
        }
        Ok(files)
    }

    /// Returns what differs between the registry and its snapshot, a sentence each; nothing where it is not signed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn faults(self) -> Result<Vec<String>, SourceError> {
        let Some((bytes, _)) = self.read(FILE_NAME, MAX_SNAPSHOT).await? else { return Ok(Vec::new()) };
        let snapshot = match SignedSnapshot::parse(&bytes).and_then(|signed| signed.own(&verify)) {
            Ok(snapshot) => snapshot,
            Err(reason) => return Ok(vec![format!("`{FILE_NAME}`: it {reason}")]),
        };
        let mut faults = Vec::new();
        if snapshot.expires <= now() {
            faults.push(format!("`{FILE_NAME}`: it does not count any more; run `pib registry sign`"));
        }
        let files = self.files(&Change::All { lifetime: None, next: None, number: None }, None).await?;
        let all: std::collections::BTreeSet<_> = files.keys().chain(snapshot.files.keys()).collect();
        // A copy of some stages has the snapshot of all.
        let asked_for = match self {
            Self::Folder(root) => registry_mirror::asked_for(root),
            Self::Bucket(..) | Self::Oci(_) => None,
        };
        let is_left_out = |path: &str| {
            let name = name_at(Path::new(path)).filter(|_| !files.contains_key(path));
            asked_for.as_ref().zip(name).is_some_and(|(asked_for, name)| !asked_for.contains(&name))
        };
        let differs = all.into_iter().filter(|path| files.get(*path) != snapshot.files.get(*path));
        let differs = differs.filter(|path| !is_left_out(path));
        faults.extend(differs.map(|path| format!("`{path}` is not what `{FILE_NAME}` says")));
        Ok(faults)
    }

    /// Returns the paths of all files that a snapshot names.
    async fn paths(self) -> Result<Vec<String>, SourceError> {
        let mut paths = vec![CONFIG.to_owned()];
        match self {
            Self::Folder(root) => paths.extend(Registry::folder(root)?.names().iter().map(shard_path)),
            Self::Bucket(bucket, _) => {
                let files = bucket.list("", MAX_FILES).await.map_err(self.fail("listing", "files"))?;
                paths.extend(files.into_iter().filter(|path| name_at(Path::new(path)).is_some()));
            }
            Self::Oci(registry) => {
                let names = registry.names().await?;
                let names =
                    names.ok_or_else(|| RegistryError::Unlisted { registry: registry.to_string() })?;
                paths = names.iter().map(shard_path).collect();
            }
        }
        Ok(paths)
    }

    fn untrusted(self, reason: pib_plan::registry_snapshot::SnapshotError) -> SourceError {
        RegistryError::Snapshot { registry: self.describe(), reason }.into()
    }
}

/// A registry that can be signed, with what it owns.
#[derive(Debug, Clone)]
pub enum SignableRegistry {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(std::sync::Arc<Bucket>, String),
    /// In a namespace of an OCI registry.
    Oci(OciRegistry),
}

impl SignableRegistry {
    /// Returns it to be signed.
    pub fn borrow(&self) -> RegistryStore<'_> {
        match self {
            Self::Folder(root) => RegistryStore::Folder(root),
            Self::Bucket(bucket, address) => RegistryStore::Bucket(bucket, address),
            Self::Oci(registry) => RegistryStore::Oci(registry),
        }
    }
}
