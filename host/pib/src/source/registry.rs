//! Registries: static files, embedded in the binary, in a folder, behind a web server, or in a bucket; and OCI registries.
//!
//! ```text
//! config.json                             the schema of the rest
//! wa/tc/watchdog                          one line per version (see `pib_plan::index`)
//! archives/watchdog/watchdog-1.0.0.stage  the archives
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use pib_plan::credential::Credential;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, IndexFile, SourceId, shard_path};
use pib_plan::object_address::ObjectAddress;
use pib_plan::{registry_snapshot, stage_artifact};
use semver::Version;
use serde::{Deserialize, Serialize};
use url::Url;

use super::SourceError;
use super::archive::MAX_ARCHIVE;
use super::entry::MAX_INDEX;
use super::kept::KeptIndex;
use super::registry_list::{self, ListedStage};
use super::registry_oci::{self, OciRegistry};
use super::registry_trust::{COMPARED_AGAIN, COMPARISONS, RegistryTrust};
use pib_net::{Http, NetError, Validators};
use pib_objects::{Bucket, Found, ObjectError, ObjectServers};

/// The registry that is part of this program. Its folder is watched by the build script.
static BUNDLED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../registry-index");

/// The name of the file that says what the rest of a registry is.
pub(crate) const CONFIG: &str = "config.json";
/// The folder of the archives.
pub(super) const ARCHIVES: &str = "archives";
/// The schema of a registry that this code reads and writes.
const VERSION: u32 = 1;
/// The most files that a registry in a bucket may have.
pub(super) const MAX_FILES: usize = 1_000_000;
/// The largest `config.json` that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 64 << 10;

/// `config.json`. Unknown fields are ignored; what an old pib must not overlook raises `v`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    v: u32,
}

impl Config {
    /// Returns the config of a registry that this code writes.
    pub(super) fn current() -> Self {
        Self { v: VERSION }
    }
}

/// A registry that can be read.
#[derive(Debug, Clone)]
pub struct Registry {
    source: SourceId,
    location: Location,
    /// What its files are compared with.
    trust: Option<Arc<RegistryTrust>>,
}

/// An index file as it was read.
struct ReadFile {
    /// `None` where there is none.
    bytes: Option<Vec<u8>>,
    /// What tells these bytes from others later, where they have come just now.
    fresh: Option<Validators>,
}

/// Where a registry's files are.
#[derive(Debug, Clone)]
enum Location {
    Embedded(&'static Dir<'static>),
    Folder(PathBuf),
    Web { base: Url, http: Http, kept: KeptIndex },
    Bucket { bucket: Arc<Bucket>, kept: KeptIndex },
    Oci { registry: OciRegistry, kept: KeptIndex },
}

impl Registry {
    /// Returns the registry that is embedded in this program.
    pub fn bundled() -> Self {
        Self { source: SourceId::bundled(), location: Location::Embedded(&BUNDLED), trust: None }
    }

    /// Returns the registry in a folder.
    ///
    /// # Errors
    /// When the folder's path cannot be written as a URL.
    pub fn folder(path: &Path) -> Result<Self, SourceError> {
        let absolute = std::path::absolute(path).map_err(SourceError::io("finding", path))?;
        let url = Url::from_directory_path(&absolute).map_err(|()| SourceError::BadRegistry {
            registry: format!("the registry `{}`", path.display()),
            reason: "its path cannot be written as a URL".to_owned(),
        })?;
        Ok(Self {
            source: SourceId::registry(url.as_str())?,
            location: Location::Folder(absolute),
            trust: None,
        })
    }

    /// Returns the registry at `url`; `http` gives the client for one behind a web server, and `credential` lets the user in
    /// there; `objects` reach one in a bucket or an OCI registry. Index files from elsewhere are kept in the cache below `cache_root`.
    ///
    /// # Errors
    /// When the address is not that of a registry.
    pub fn at(
        url: &str,
        cache_root: &Path,
        credential: Option<&Credential>,
        objects: &ObjectServers,
        http: impl FnOnce() -> Result<Http, SourceError>,
    ) -> Result<Self, SourceError> {
        let source = SourceId::registry(url)?;
        let bad = |reason: String| SourceError::BadRegistry { registry: source.describe(), reason };
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|_| {
            bad(format!("`{}` is not a URL; of a folder it is file:///PATH", url.trim_end_matches('/')))
        })?;
        let location = match base.scheme() {
            "file" => Location::Folder(base.to_file_path().map_err(|()| {
                bad("a `file://` address names a folder on this machine: file:///FOLDER".to_owned())
            })?),
            "http" | "https" => {
                let http = http()?;
                let http = match credential {
                    Some(credential) => http.with_credential(credential).map_err(SourceError::client)?,
                    None => http,
                };
                Location::Web { kept: KeptIndex::new(cache_root, &base), base, http }
            }
            "s3" => match url.trim_end_matches('/').parse() {
                Ok(ObjectAddress::Bucket { bucket, prefix }) => Location::Bucket {
                    bucket: objects.buckets.get(&bucket, &prefix).map_err(|error| bad(error.to_string()))?,
                    kept: KeptIndex::new(cache_root, &base),
                },
                Ok(other) => return Err(bad(format!("`{other}` is no bucket"))),
                Err(error) => return Err(bad(error.to_string())),
            },
            "oci" => Location::Oci {
                registry: OciRegistry::at(url, &objects.repositories).map_err(bad)?,
                kept: KeptIndex::new(cache_root, &base),
            },
            other => return Err(bad(format!("it cannot be reached by `{other}`"))),
        };
        Ok(Self { source, location, trust: None })
    }

    /// Returns the registry, of which only what its key has signed counts.
    #[must_use]
    pub(super) fn trusting(self, trust: Arc<RegistryTrust>) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Returns where this registry is, as the lock writes it.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Returns whether reading it takes the network.
    pub fn is_remote(&self) -> bool {
        matches!(self.location, Location::Web { .. } | Location::Bucket { .. } | Location::Oci { .. })
    }

    /// Returns whether it is a namespace of an OCI registry.
    pub fn is_oci(&self) -> bool {
        matches!(self.location, Location::Oci { .. })
    }

    /// Checks that there is a registry that this code can read.
    ///
    /// # Errors
    /// When there is none, or it is written for a newer pib.
    pub async fn check(&self) -> Result<(), SourceError> {
        let bad = |reason: String| SourceError::BadRegistry { registry: self.source.describe(), reason };
        if let Location::Oci { registry, .. } = &self.location {
            return registry.check().await;
        }
        let bytes = self.read(CONFIG, MAX_CONFIG).await?;
        let bytes = bytes.ok_or_else(|| bad(format!("it has no {CONFIG}")))?;
        if let Some(trust) = &self.trust
            && let Some(snapshot) = trust.current(false, || self.snapshot_file()).await?
        {
            trust.compare(&snapshot, CONFIG, Some(&bytes), None)?;
        }
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| bad(format!("its {CONFIG} cannot be read ({error})")))?;
        if config.v > VERSION {
            return Err(bad(format!("it has schema {}, this pib reads up to {VERSION}", config.v)));
        }
        Ok(())
    }

    /// Returns every version of `name`; none where the registry does not have the stage.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn versions(&self, name: &StageName) -> Result<IndexFile, SourceError> {
        let path = shard_path(name);
        if let Location::Oci { registry, kept } = &self.location {
            let manifests = registry.current(name, kept, self.trust.as_deref()).await?;
            return Ok(stage_artifact::index_file(name, &self.source, &manifests));
        }
        let read = match &self.trust {
            Some(trust) => self.read_trusted(trust, &path).await?,
            None => self.read_index(&path).await?,
        };
        self.keep(&path, &read)?;
        self.parse(name, &read.bytes.unwrap_or_default())
    }

    /// Reads an index file that is what the registry's key has signed.
    async fn read_trusted(&self, trust: &RegistryTrust, path: &str) -> Result<ReadFile, SourceError> {
        let before = self.kept().and_then(|kept| kept.get(path)).map(|kept| Digest::of(&kept.bytes));
        let mut attempt = 0;
        loop {
            let snapshot = trust.current(attempt > 0, || self.snapshot_file()).await?;
            let read = self.read_index(path).await?;
            let Some(snapshot) = snapshot else { return Ok(read) };
            match trust.compare(&snapshot, path, read.bytes.as_deref(), before) {
                Ok(()) => return Ok(read),
                // A publisher writes the index first, and the snapshot a moment later.
                Err(_) if attempt < COMPARISONS => tokio::time::sleep(COMPARED_AGAIN).await,
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Returns the file of the snapshot, which is to be judged.
    async fn snapshot_file(&self) -> Result<Option<Vec<u8>>, SourceError> {
        let read = self.read_index(registry_snapshot::FILE_NAME).await?;
        self.keep(registry_snapshot::FILE_NAME, &read)?;
        Ok(read.bytes)
    }

    /// Reads an index file; a server sends it only if it has changed.
    async fn read_index(&self, path: &str) -> Result<ReadFile, SourceError> {
        match &self.location {
            Location::Web { base, http, kept } => self.revalidate(base, http, kept, path).await,
            Location::Bucket { bucket, kept } => self.revalidate_object(bucket, kept, path).await,
            _ => Ok(ReadFile { bytes: self.read(path, MAX_INDEX).await?, fresh: None }),
        }
    }

    /// Keeps what was read, for the next time.
    fn keep(&self, path: &str, read: &ReadFile) -> Result<(), SourceError> {
        match (self.kept(), &read.bytes, &read.fresh) {
            (Some(kept), Some(bytes), Some(validators)) => kept.put(path, bytes, validators),
            (Some(kept), None, _) => {
                kept.forget(path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn kept(&self) -> Option<&KeptIndex> {
        match &self.location {
            Location::Web { kept, .. } | Location::Bucket { kept, .. } | Location::Oci { kept, .. } => {
                Some(kept)
            }
            Location::Embedded(_) | Location::Folder(_) => None,
        }
    }

    /// Returns every version of `name` as the web server or the bucket had it when it was last asked; `None` where it never was.
    pub fn kept_versions(&self, name: &StageName) -> Option<IndexFile> {
        if self.trust.as_ref().is_some_and(|trust| trust.is_new()) {
            return None;
        }
        if let Location::Oci { kept, .. } = &self.location {
            let manifests = registry_oci::kept_manifests(kept, &shard_path(name))?;
            return Some(stage_artifact::index_file(name, &self.source, &manifests));
        }
        self.parse(name, &self.kept()?.get(&shard_path(name))?.bytes).ok()
    }

    fn parse(&self, name: &StageName, bytes: &[u8]) -> Result<IndexFile, SourceError> {
        // A line that is no UTF-8 is told of as a line that cannot be read, the others stay.
        let file = IndexFile::parse(name, &self.source, &String::from_utf8_lossy(bytes));
        file.map_err(|error| SourceError::BadRegistry {
            registry: self.source.describe(),
            reason: error.to_string(),
        })
    }

    /// Returns the index file at `path`, `None` where there is none; the server sends it only if it has changed.
    async fn revalidate(
        &self,
        base: &Url,
        http: &Http,
        kept: &KeptIndex,
        path: &str,
    ) -> Result<ReadFile, SourceError> {
        let before = kept.get(path);
        let known = before.as_ref().map(|kept| kept.validators.clone()).unwrap_or_default();
        let url = self.url(base, path)?;
        match http.changed(&url, MAX_INDEX, &known).await {
            Ok(Some((bytes, validators))) => Ok(ReadFile { bytes: Some(bytes), fresh: Some(validators) }),
            Ok(None) => Ok(ReadFile { bytes: before.map(|kept| kept.bytes), fresh: None }),
            Err(error) if error.is_not_found() => Ok(ReadFile { bytes: None, fresh: None }),
            Err(source) => Err(self.unreachable(path, source)),
        }
    }

    /// Returns the index file at `path`, `None` where there is none; the bucket gives it only if it has changed.
    async fn revalidate_object(
        &self,
        bucket: &Bucket,
        kept: &KeptIndex,
        path: &str,
    ) -> Result<ReadFile, SourceError> {
        let before = kept.get(path);
        let known = before.as_ref().and_then(|kept| kept.validators.etag.as_deref());
        match bucket.changed(path, MAX_INDEX, known).await {
            Ok(Found::Object(bytes, version)) => {
                let etag = version.tag().map(str::to_owned);
                Ok(ReadFile { bytes: Some(bytes), fresh: Some(Validators { etag, last_modified: None }) })
            }
            Ok(Found::Unchanged) => Ok(ReadFile { bytes: before.map(|kept| kept.bytes), fresh: None }),
            Ok(Found::Nothing) => Ok(ReadFile { bytes: None, fresh: None }),
            Err(source) => Err(self.unreadable(path, source)),
        }
    }

    fn unreadable(&self, path: &str, source: ObjectError) -> SourceError {
        SourceError::Objects {
            action: "reading",
            what: format!("`{path}` of {}", self.source.describe()),
            source,
        }
    }

    fn url(&self, base: &Url, path: &str) -> Result<Url, SourceError> {
        base.join(path).map_err(|error| SourceError::BadRegistry {
            registry: self.source.describe(),
            reason: format!("`{path}` cannot be added to its address ({error})"),
        })
    }

    fn unreachable(&self, path: &str, source: NetError) -> SourceError {
        SourceError::Net { what: format!("`{path}` of {}", self.source.describe()), source }
    }

    /// Returns the names of all stages, sorted; none for a web server, which cannot list its files, and for a bucket or an OCI
    /// registry, which take their time.
    pub fn names(&self) -> Vec<StageName> {
        let mut names = Vec::new();
        match &self.location {
            Location::Embedded(folder) => embedded_names(folder, &mut names),
            Location::Folder(folder) => folder_names(folder, &mut names),
            Location::Web { .. } | Location::Bucket { .. } | Location::Oci { .. } => {}
        }
        names.sort();
        names
    }

    /// Returns the stages that a registry's own server lists; `None` where it has no such server.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn listed(&self) -> Result<Option<Vec<ListedStage>>, SourceError> {
        let Location::Web { base, http, .. } = &self.location else { return Ok(None) };
        registry_list::read(http, base).await.map_err(|source| self.unreachable(registry_list::PATH, source))
    }

    /// Returns the names of all stages, sorted, also of one that must be asked for them; `None` where it has no list of them.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn all_names(&self) -> Result<Option<Vec<StageName>>, SourceError> {
        match &self.location {
            Location::Web { .. } => {
                Ok(self.listed().await?.map(|stages| stages.into_iter().map(|stage| stage.name).collect()))
            }
            Location::Oci { registry, .. } => registry.names().await,
            Location::Bucket { bucket, .. } => {
                let files = bucket.list("", MAX_FILES).await.map_err(|source| self.unreadable("", source))?;
                Ok(Some(files.iter().filter_map(|file| name_at(Path::new(file))).collect()))
            }
            Location::Embedded(_) | Location::Folder(_) => Ok(Some(self.names())),
        }
    }

    /// Returns the archive of a version, with the digest that its entry promises.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or has another digest.
    pub async fn archive(&self, entry: &IndexEntry) -> Result<Vec<u8>, SourceError> {
        let path = archive_path(&entry.name, &entry.vers);
        let limit = entry.size.unwrap_or(MAX_ARCHIVE).min(MAX_ARCHIVE);
        let bytes = match (&self.location, entry.cksum) {
            (Location::Oci { registry, .. }, Some(digest)) => {
                registry.archive(&entry.name, &digest, limit).await?
            }
            _ => self.read(&path, limit).await?,
        };
        let bytes = bytes.ok_or_else(|| SourceError::NoArchive {
            registry: self.source.describe(),
            name: entry.name.clone(),
            version: entry.vers.clone(),
        })?;
        let found = Digest::of(&bytes);
        match entry.cksum {
            Some(expected) if expected != found => Err(SourceError::WrongDigest {
                what: format!("the archive of {} {}", entry.name, entry.vers),
                expected,
                found,
            }),
            _ => Ok(bytes),
        }
    }

    /// Returns the file at `path`, `None` where there is none.
    pub(super) async fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match &self.location {
            Location::Embedded(folder) => Ok(folder.get_file(path).map(|file| file.contents().to_owned())),
            Location::Folder(folder) => self.read_file(&folder.join(path), limit),
            Location::Web { base, http, .. } => match http.bytes(&self.url(base, path)?, limit).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(source) => Err(self.unreachable(path, source)),
            },
            Location::Bucket { bucket, .. } => match bucket.get(path, limit).await {
                Ok(found) => Ok(found.map(|(bytes, _)| bytes)),
                Err(source) => Err(self.unreadable(path, source)),
            },
            // It has no files.
            Location::Oci { .. } => Ok(None),
        }
    }

    fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match pib_file::read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let reason =
                    format!("`{}` is larger than the {limit} bytes expected at most", path.display());
                Err(SourceError::BadRegistry { registry: self.source.describe(), reason })
            }
            Err(error) => Err(SourceError::io("reading", path)(error)),
        }
    }
}

/// Returns where a registry keeps the archive of a version.
pub(super) fn archive_path(name: &StageName, version: &Version) -> String {
    format!("{ARCHIVES}/{name}/{name}-{version}.stage")
}

fn embedded_names(folder: &Dir<'_>, names: &mut Vec<StageName>) {
    for file in folder.files() {
        names.extend(name_at(file.path()));
    }
    for below in folder.dirs() {
        embedded_names(below, names);
    }
}

/// Collects what can be read of a folder; what cannot be is no more than a name that is not suggested.
fn folder_names(root: &Path, names: &mut Vec<StageName>) {
    let files = walkdir::WalkDir::new(root).max_depth(3).into_iter();
    for entry in files.filter_entry(|entry| entry.file_name() != ARCHIVES).flatten() {
        let path = entry.path().strip_prefix(root).ok().filter(|_| entry.file_type().is_file());
        names.extend(path.and_then(name_at));
    }
}

/// Returns the name of the stage whose index file this is, if it is one.
pub(super) fn name_at(path: &Path) -> Option<StageName> {
    let name: StageName = path.file_name()?.to_str()?.parse().ok()?;
    (path == Path::new(&shard_path(&name))).then_some(name)
}
