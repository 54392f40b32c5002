//! Where stages come from: registries and folders, and the cache of what was fetched.
//!
//! | module | what it does |
//! |---|---|
//! | [`registry`] | reads a registry: embedded, in a folder, over HTTP, in a bucket or an OCI registry |
//! | [`path`] | takes a folder as a stage, also a bare one that has only a part |
//! | [`git`] | takes a stage out of a git repository |
//! | [`archive`] | packs a stage to one file, and unpacks a stranger's safely |
//! | [`registry_folder`] | adds stages to a registry that is a folder |
//! | [`registry_bucket`] | adds stages to a registry in a bucket, and looks after one |
//! | [`registry_oci`], [`registry_oci_publish`] | read a namespace of an OCI registry, add stages to it |
//! | [`registry_store`] | reads and replaces the files of a registry in a folder or a bucket |
//! | [`registry_sign`], [`registry_trust`] | sign what a registry has, and compare what is read of one with that |
//! | [`registry_owners`] | keeps who owns the stages of a registry that has a server |
//! | [`registry_list`], [`registry_mirror`] | ask a registry's server which stages it has, copy a registry into a folder |
//! | [`registry_audit`] | yanks versions, checks such a registry, rebuilds its index |
//! | [`stage_cache`] | unpacked stages by the digest of their content |
//! | [`vendor_folder`] | stages that the project holds itself |
//! | `retrieval` | a resolved stage: vendored, cached or from its source, with its digests checked |
//! | `stage_files` | a stage's files and their canonical tar |
//! | `found`, `modes` | what there is in a stage's folder, and how its modes are known |
//! | `package` | a stage on this machine, read and checked |
//! | `entry` | what the index knows of a stage |
//! | `threads` | what reads many files, where it does not hold up other tasks |
//! | `leftovers` | where things are made before they get their names, and what killed processes leave |
//! | `kept` | index files of web servers, asked for again only if they have changed |
//!
//! Invariants: what comes out of [`Sources::fetch`] has the digests that the index and the lock promise; nothing
//! a registry sends is parsed before its digest is checked, nor written outside the cache. Deliberately absent:
//! choosing versions, which `pib_plan::resolve` does.

pub mod archive;
mod cache_check;
mod contents;
mod entry;
mod error;
mod found;
pub mod git;
mod kept;
mod leftovers;
mod modes;
mod package;
pub mod path;
pub mod registry;
pub mod registry_audit;
pub mod registry_bucket;
pub mod registry_error;
pub mod registry_folder;
pub mod registry_list;
pub mod registry_mirror;
pub mod registry_oci;
pub mod registry_oci_publish;
pub mod registry_owners;
pub mod registry_publisher;
pub mod registry_sign;
pub mod registry_store;
pub mod registry_trust;
mod retrieval;
pub mod stage_cache;
mod stage_files;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod threads;
pub mod vendor_folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pib_plan::credential::Credentials;
use pib_plan::id::StageName;
use pib_plan::index::{Candidate, GitSource, IndexFile, PathSource, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::registry_snapshot::RegistryKey;
use pib_plan::resolve::ResolvedStage;
use pib_plan::suggest;

use git::{Git, GitOptions, Wish};
use path::{PathPackages, PathStage};
use pib_net::Http;
use pib_objects::{Access, ObjectServers};
use registry::Registry;
use registry_list::ListedStage;
use registry_trust::RegistryTrust;
use stage_cache::StageCache;
use threads::Readers;
use vendor_folder::Vendor;

pub use cache_check::check_cache;
pub use error::SourceError;
pub use leftovers::sweep;
pub use package::{Package, manifest};
pub use retrieval::{check_locked, check_signature};
pub use stage_files::{PackageFile, PackageFolder, is_lfs_pointer};

/// All the places that a project's stages may come from.
#[derive(Debug, Clone)]
pub struct Sources {
    cache: StageCache,
    project: PathBuf,
    registries: BTreeMap<String, String>,
    /// Made when it is first needed: setting TLS up takes longer than everything else that needs no network.
    http: Arc<OnceLock<Http>>,
    offline: bool,
    git: GitOptions,
    cache_root: PathBuf,
    locked: Arc<[LockedStage]>,
    /// What lets the user in at registries.
    credentials: Credentials,
    /// The keys of registries, by their addresses, and what is known of what these sign.
    keys: BTreeMap<String, RegistryKey>,
    trusts: Arc<Mutex<BTreeMap<String, Arc<RegistryTrust>>>>,
    /// What reaches registries in buckets and OCI registries.
    objects: ObjectServers,
    /// Whether web servers are asked even where the lock and what is kept of them would do.
    fresh: bool,
    /// Whether some were not asked.
    assumed: Arc<AtomicBool>,
    /// Held by the one question about git repositories: those after it find what it has fetched.
    git_turn: Arc<tokio::sync::Mutex<()>>,
    /// What was read of path stages.
    path_packages: PathPackages,
    /// Where files of stages are read.
    readers: Readers,
    /// The stages that the project holds itself.
    vendor: Option<Vendor>,
    /// What git stages move to, instead of what the lock or the manifest says.
    pins: BTreeMap<StageName, String>,
}

impl Sources {
    /// Opens the sources of the project in `project_dir`, with the cache below `cache_root` and the registries
    /// that the project names, by name.
    pub fn new(cache_root: &Path, project_dir: &Path, registries: BTreeMap<String, String>) -> Self {
        let (cache, project) = (StageCache::new(cache_root), project_dir.to_owned());
        Self {
            cache,
            project,
            registries,
            http: Arc::default(),
            offline: false,
            git: GitOptions::default(),
            cache_root: cache_root.to_owned(),
            locked: Arc::default(),
            credentials: Credentials::default(),
            keys: BTreeMap::new(),
            trusts: Arc::default(),
            objects: ObjectServers::default(),
            fresh: false,
            assumed: Arc::default(),
            path_packages: PathPackages::default(),
            readers: Readers::default(),
            git_turn: Arc::default(),
            vendor: None,
            pins: BTreeMap::new(),
        }
    }

    /// Sets whether the network may not be used.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets what git repositories are reached with.
    #[must_use]
    pub fn git(mut self, options: GitOptions) -> Self {
        self.git = options;
        self
    }

    /// Sets what the lock holds to: a git stage stays at its commit.
    #[must_use]
    pub fn locked(mut self, stages: &[LockedStage]) -> Self {
        self.locked = stages.into();
        self
    }

    /// Sets what lets the user in at registries.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets the keys that sign what registries have, by the addresses of these.
    #[must_use]
    pub fn keys(mut self, keys: BTreeMap<String, RegistryKey>) -> Self {
        self.keys = keys;
        self
    }

    /// Sets what lets the user in at registries in buckets and OCI registries.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.objects = ObjectServers::new(access);
        self
    }

    /// Sets the stages that the project holds itself: what the lock holds is taken from there.
    #[must_use]
    pub fn vendored(mut self, vendor: Option<Vendor>) -> Self {
        self.vendor = vendor;
        self
    }

    /// Sets what git stages move to: a commit, its first digits, or a name.
    #[must_use]
    pub fn pinned(mut self, pins: BTreeMap<StageName, String>) -> Self {
        self.pins = pins;
        self
    }

    /// Returns sources that ask every web server, also about what the lock holds.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { fresh: true, ..self.clone() }
    }

    /// Returns whether an answer was what had been kept of a web server which may have more by now.
    pub fn assumed(&self) -> bool {
        self.assumed.load(Ordering::Relaxed)
    }

    /// Returns the stages of a git repository: their names, and their folders inside it; `None` is its root.
    ///
    /// # Errors
    /// When the repository is not available.
    pub async fn git_stages(
        &self,
        source: &GitSource,
    ) -> Result<Vec<(StageName, Option<String>)>, SourceError> {
        self.repositories().list(source.clone()).await
    }

    /// Returns the place of the registry that the project calls `name`; `None` is the bundled one.
    ///
    /// # Errors
    /// When the project does not define it, or its address is none.
    pub fn registry_source(&self, name: Option<&str>) -> Result<SourceId, SourceError> {
        let Some(name) = name else { return Ok(SourceId::bundled()) };
        let known = || self.registries.keys().map(String::as_str);
        match self.registries.get(name) {
            Some(url) => Ok(SourceId::registry(url)?),
            None => Err(SourceError::UnknownRegistry {
                name: name.to_owned(),
                help: match suggest::nearest(name, known()) {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => format!("Add it to pib.toml: [registries.{name}] with index = \"https://...\"."),
                },
            }),
        }
    }

    /// Checks that the registry that the project calls `name` can be reached and read.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn check_registry(&self, name: &str) -> Result<(), SourceError> {
        self.registry(&self.registry_source(Some(name))?)?.check().await
    }

    /// Reads those of these stages that are folders, several at the same time. An error in one of them is dropped here:
    /// [`candidates`](Self::candidates) reads that folder again, and returns the error.
    pub async fn read_ahead(&self, stages: &[(StageName, SourceId)]) {
        let paths: Vec<_> = stages
            .iter()
            .filter(|(_, source)| matches!(source, SourceId::Path(_)) && self.vendor_for(source).is_none())
            .cloned()
            .collect();
        if paths.len() < 2 {
            return;
        }
        let this = self.clone();
        let read = move |(name, source): &(StageName, SourceId)| {
            if let SourceId::Path(path) = source {
                let _ = this.path_stage(name, path).candidate(source);
            }
        };
        self.readers.each(paths, read).await;
    }

    /// Returns every version of `name` at `source`; none where a registry does not have the stage.
    ///
    /// # Errors
    /// When the source cannot be read, or a folder holds no stage or another one.
    pub async fn candidates(&self, name: &StageName, source: &SourceId) -> Result<IndexFile, SourceError> {
        if let Some(vendor) = self.vendor_for(source).filter(|_| !self.fresh)
            && let Some(candidate) = vendor.candidate(name, source, &self.locked)?
        {
            self.assumed.store(true, Ordering::Relaxed);
            return Ok(IndexFile::of(candidate));
        }
        match source {
            SourceId::Registry(_) => {
                let registry = self.registry(source)?;
                if let Some(file) = self.kept(&registry, name) {
                    return Ok(file);
                }
                self.check_network(&registry, || format!("the index of stage `{name}`"))?;
                let file = registry.versions(name).await?;
                if file.versions.is_empty() {
                    if let Some(line) = file.skipped.first() {
                        let registry = source.describe();
                        let reason = format!(
                            "line {} of its index file of stage `{name}` is not a valid entry: {}",
                            line.line, line.reason
                        );
                        return Err(SourceError::BadRegistry { registry, reason });
                    }
                    // A wrong address is told apart from a stage that does not exist.
                    registry.check().await?;
                }
                Ok(file)
            }
            SourceId::Path(path) => {
                if let Some(known) = self.path_stage(name, path).known_candidate(source) {
                    return Ok(IndexFile::of(known));
                }
                let (this, name, path) = (self.clone(), name.clone(), path.clone());
                let source = source.clone();
                let read = move || this.path_stage(&name, &path).candidate(&source);
                let candidate = self.readers.run(read).await?;
                Ok(IndexFile::of(candidate))
            }
            SourceId::Git(git) => {
                let _turn = self.git_turn.lock().await;
                let wish = match self.pins.get(name) {
                    Some(rev) => Wish::Move(rev.clone()),
                    None => {
                        let locked = self.locked.iter().find(|stage| stage.name == *name);
                        Wish::Stay(locked.cloned().map(Box::new))
                    }
                };
                let candidate = self.repositories().candidate(name.clone(), git.clone(), wish).await?;
                Ok(IndexFile::of(candidate))
            }
        }
    }

    /// Returns the names of the stages at `source`, as far as they can be listed, for suggestions and search.
    pub fn names(&self, source: &SourceId) -> Vec<StageName> {
        match source {
            SourceId::Registry(_) => self.registry(source).map(|found| found.names()).unwrap_or_default(),
            SourceId::Git(_) | SourceId::Path(_) => Vec::new(),
        }
    }

    /// Returns the stages of a registry, for search; `None` where it is a server that has no list of them.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn searchable(&self, source: &SourceId) -> Result<Option<Vec<ListedStage>>, SourceError> {
        let registry = self.registry(source)?;
        if let Some(stages) = registry.listed().await? {
            return Ok(Some(stages));
        }
        if registry.is_remote() && !registry.is_oci() {
            return Ok(None);
        }
        let Some(names) = registry.all_names().await? else { return Ok(None) };
        let mut stages = Vec::new();
        for name in names {
            let file = self.candidates(&name, source).await?;
            stages.extend(registry_list::newest(&file.versions).map(ListedStage::of));
        }
        Ok(Some(stages))
    }

    /// Returns what is kept of a web server's index, where it is not to be asked: without the network, or since the
    /// lock holds a version that was there.
    fn kept(&self, registry: &Registry, name: &StageName) -> Option<IndexFile> {
        let file = registry.kept_versions(name).filter(|_| !self.fresh || self.offline)?;
        let holds = |candidate: &Candidate| {
            let locked = |stage: &LockedStage| {
                (&stage.name, &stage.source, &stage.version) == (name, &candidate.source, &candidate.version)
            };
            self.locked.iter().any(locked)
        };
        if !self.offline && !file.versions.iter().any(holds) {
            return None;
        }
        self.assumed.fetch_or(!self.offline, Ordering::Relaxed);
        Some(file)
    }

    /// Returns whether a stage can only be had from outside of the project: it is in no folder of it.
    pub fn is_outside(&self, source: &SourceId) -> bool {
        let SourceId::Path(path) = source else { return true };
        let real = |path: &Path| path.canonicalize().ok();
        match (real(&self.project), real(&self.project.join(path.as_str()))) {
            (Some(project), Some(folder)) => !folder.starts_with(project),
            // What is not there is told by whoever needs it.
            _ => path.as_str().split('/').any(|part| part.is_empty() || part == ".."),
        }
    }

    /// Returns whether the project holds the stage that was resolved itself, in the folder of vendored stages.
    pub fn is_vendored(&self, resolved: &ResolvedStage) -> bool {
        self.vendor.as_ref().is_some_and(|vendor| vendor.holds(resolved))
    }

    /// Returns whether a path stage's own folder is there and has another content than `vendored`. This blocks.
    pub fn has_moved_on(&self, source: &SourceId, vendored: &Package) -> bool {
        let SourceId::Path(path) = source else { return false };
        let own = self.path_stage(&vendored.name, path).package();
        own.is_ok_and(|own| own.content != vendored.content)
    }

    /// Returns the vendored stages, unless the folder of a path stage is there and they are about to be renewed.
    fn vendor_for(&self, source: &SourceId) -> Option<&Vendor> {
        let vendor = self.vendor.as_ref()?;
        match source {
            SourceId::Path(path) if vendor.is_renewing() && self.project.join(path.as_str()).is_dir() => None,
            _ => Some(vendor),
        }
    }

    fn repositories(&self) -> Git {
        Git {
            root: self.cache_root.join("git"),
            stages: self.cache.clone(),
            offline: self.offline,
            options: self.git.clone(),
            http: Arc::clone(&self.http),
        }
    }

    fn registry(&self, source: &SourceId) -> Result<Registry, SourceError> {
        match source {
            SourceId::Registry(registry) => match registry.url() {
                Some(url) => {
                    let credential = self.credentials.for_registry(url);
                    let registry =
                        Registry::at(url, &self.cache_root, credential, &self.objects, || self.http())?;
                    Ok(match self.trust(source, url, &registry) {
                        Some(trust) => registry.trusting(trust),
                        None => registry,
                    })
                }
                None => Ok(Registry::bundled()),
            },
            SourceId::Git(_) | SourceId::Path(_) => Err(SourceError::BadRegistry {
                registry: source.describe(),
                reason: "it is no registry".to_owned(),
            }),
        }
    }

    /// Returns what is known of what signs a registry: of one on this machine only where a key is named.
    fn trust(&self, source: &SourceId, url: &str, registry: &Registry) -> Option<Arc<RegistryTrust>> {
        let pinned = self.keys.get(url).copied();
        let address = url.parse().ok()?;
        if pinned.is_none() && !registry.is_remote() {
            return None;
        }
        let mut trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(RegistryTrust::new(source, &address, pinned, &self.cache_root));
        Some(Arc::clone(trusts.entry(url.to_owned()).or_insert_with(made)))
    }

    fn http(&self) -> Result<Http, SourceError> {
        if let Some(http) = self.http.get() {
            return Ok(http.clone());
        }
        let http = Http::new().map_err(SourceError::client)?;
        Ok(self.http.get_or_init(|| http).clone())
    }

    fn check_network(&self, registry: &Registry, what: impl Fn() -> String) -> Result<(), SourceError> {
        match self.offline && registry.is_remote() {
            true => Err(SourceError::Offline { what: what() }),
            false => Ok(()),
        }
    }

    fn path_stage<'a>(&'a self, name: &'a StageName, path: &'a PathSource) -> PathStage<'a> {
        let (shown, root) = (path.as_str(), self.project.join(path.as_str()));
        PathStage { name, shown, root, read: &self.path_packages }
    }
}
