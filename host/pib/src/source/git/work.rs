//! One operation on repositories: which commit, which files, and what to say when there are none.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use git2::{ObjectType, Oid, Repository};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{GitReference, GitSource, IndexEntry, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::manifest::stage;
use pib_plan::suggest;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::address::{Address, Location};
use super::checkout::{Checkout, Spot};
use super::database::Database;
use super::fault::Fault;
use super::link::{self, Link};
use super::settings::Git;
use super::{GitError, wanted};
use crate::source::stage_cache::CachedStage;
use crate::source::{SourceError, entry, package};

/// How many stages of a repository a message lists.
const SHOWN: usize = 8;
/// How many folders of a repository are looked at for stages.
const MAX_LOOKED_AT: usize = 20_000;
/// The longest time without an answer that the user's settings can ask for.
const LONGEST_PATIENCE: u64 = 600;

/// One operation on repositories, in a thread that may wait.
pub(super) struct Work {
    git: Git,
    runtime: Handle,
    stop: CancellationToken,
}

/// What the lock holds of a stage.
pub(super) struct Locked {
    pub(super) commit: String,
    pub(super) content: Option<Digest>,
}

impl Locked {
    /// Returns what `stage` holds, where it is about what `source` asks for.
    pub(super) fn of(stage: &LockedStage, source: &GitSource) -> Option<Self> {
        match &stage.source {
            SourceId::Git(git) if stage.source.satisfies(&source.clone().into()) => {
                Some(Self { commit: git.commit()?.to_owned(), content: stage.content })
            }
            _ => None,
        }
    }
}

/// A stage in the cache.
pub(super) struct Located {
    pub(super) cached: CachedStage,
    pub(super) manifest: stage::StageManifest,
}

impl Located {
    pub(super) fn entry(&self) -> Result<IndexEntry, SourceError> {
        let CachedStage { root, listing } = &self.cached;
        let entry = entry::of(&self.manifest, root, &listing.files, &listing.contents)?;
        Ok(IndexEntry { content: Some(listing.content), ..entry })
    }
}

impl Work {
    /// Returns an operation that ends early when `stop` says so; `runtime` runs what the web takes.
    pub(super) fn new(git: Git, runtime: Handle, stop: CancellationToken) -> Self {
        Self { git, runtime, stop }
    }

    /// Does the work; where a copy in the cache turns out damaged, once more with a new one.
    pub(super) fn run<T>(&self, work: impl Fn(&Self) -> Result<T, Fault>) -> Result<T, SourceError> {
        let damaged = match work(self) {
            Ok(done) => return Ok(done),
            Err(Fault::Source(error)) => return Err(*error),
            Err(Fault::Damaged { address, source }) => (address, source),
        };
        if !self.git.offline {
            self.database(&damaged.0).discard(&self.link(&damaged.0))?;
            self.fetched().clear();
            match work(self) {
                Ok(done) => return Ok(done),
                Err(Fault::Source(error)) => return Err(*error),
                Err(Fault::Damaged { .. }) => {}
            }
        }
        Err(self.database(&damaged.0).damaged(damaged.1).into())
    }

    /// Returns the address of a source, whose repository the project may have.
    pub(super) fn address(&self, source: &GitSource) -> Result<Address, Fault> {
        let address = Address::parse(source.url())?;
        self.admit(&address)?;
        Ok(address)
    }

    /// Checks that the project may have what was, or will be, fetched with what the user has for git.
    fn admit(&self, address: &Address) -> Result<(), GitError> {
        let is_private = match address.location {
            Location::Ssh(_) => true,
            Location::Web(_) => self.database(address).is_private(),
            Location::File => false,
        };
        match &self.git.options.permitted {
            Some(permission) if is_private => permission.log_in(address.text()).map_err(GitError::Denied),
            _ => Ok(()),
        }
    }

    /// Checks that the project may have the repository of a submodule.
    fn admit_submodule(&self, address: &Address) -> Result<(), GitError> {
        match &self.git.options.permitted {
            Some(permission) if address.location == Location::File => {
                permission.open(address.text()).map_err(GitError::Denied)
            }
            _ => self.admit(address),
        }
    }

    /// Returns the source at its commit: the locked one, else what the reference stands for now.
    pub(super) fn fix(
        &self,
        name: &StageName,
        source: &GitSource,
        locked: Option<&Locked>,
    ) -> Result<GitSource, Fault> {
        let address = self.address(source)?;
        let commit = match locked {
            Some(locked) => {
                let cached = match locked.content {
                    Some(content) => self.git.stages.find(content)?.is_some(),
                    None => false,
                };
                if !cached {
                    self.locked_commit(&address, name, source, &locked.commit)?;
                }
                locked.commit.clone()
            }
            None => self.current(&address, source.reference())?,
        };
        Ok(source.clone().at_commit(&commit).map_err(SourceError::from)?)
    }

    /// Returns the commit that a person means by `rev`.
    pub(super) fn commit(&self, source: &GitSource, rev: &str) -> Result<String, Fault> {
        let address = self.address(source)?;
        let full = rev.len() == 40 && rev.bytes().all(|byte| byte.is_ascii_hexdigit());
        match full && self.database(&address).has(&rev.to_ascii_lowercase()) {
            true => Ok(rev.to_ascii_lowercase()),
            false => self.current(&address, &GitReference::Rev(rev.to_owned())),
        }
    }

    /// Has a locked commit in the cache.
    fn locked_commit(
        &self,
        address: &Address,
        name: &StageName,
        source: &GitSource,
        commit: &str,
    ) -> Result<(), Fault> {
        let database = self.database(address);
        if database.has(commit) {
            return Ok(());
        }
        self.check_network(address, || format!("commit {commit} of stage `{name}`, from {address},"))?;
        Ok(database.fetch_locked(name, source, commit, &self.link(address))?)
    }

    /// Returns the commit that a reference stands for now, or stood for when it was last fetched.
    pub(super) fn current(&self, address: &Address, reference: &GitReference) -> Result<String, Fault> {
        let key = (address.text().to_owned(), reference.clone());
        if let Some(commit) = self.fetched().get(&key) {
            return Ok(commit.clone());
        }
        let database = self.database(address);
        if self.git.offline
            && address.is_remote()
            && let Some(commit) = database.seen(reference)
        {
            return Ok(commit);
        }
        self.check_network(address, || format!("the {} of {address}", wanted::describe(reference)))?;
        let commit = database.fetch(reference, &self.link(address))?;
        self.fetched().insert(key, commit.clone());
        Ok(commit)
    }

    /// Returns the stage at a commit, from the cache if it is there.
    pub(super) fn stage(
        &self,
        name: &StageName,
        source: &GitSource,
        locked: Option<&Locked>,
    ) -> Result<Located, Fault> {
        let address = self.address(source)?;
        let promised = locked.and_then(|locked| locked.content);
        let cached = match promised {
            Some(content) => self.git.stages.find(content)?,
            None => None,
        };
        let cached = match cached {
            Some(found) => found,
            None => self.check_out(&address, source)?,
        };
        let content = cached.listing.content;
        if let Some(promised) = promised
            && promised != content
        {
            return Err(SourceError::ChangedSinceLock {
                what: format!("the content of stage `{name}`"),
                name: name.clone(),
                place: SourceId::from(source.clone()).describe(),
                locked: promised,
                found: content,
            }
            .into());
        }
        let shown = shown(&address, source.path());
        let bare = bare_name(&address, source.path());
        let Some(manifest) = package::copied_manifest(&cached.root, &shown, &bare, &cached.listing.contents)?
        else {
            return Err(self.no_stage(&address, source));
        };
        if manifest.name != *name {
            let (found, wanted) = (manifest.name, name.clone());
            return Err(SourceError::WrongName { place: format!("`{shown}`"), found, wanted }.into());
        }
        Ok(Located { cached, manifest })
    }

    fn check_out(&self, address: &Address, source: &GitSource) -> Result<CachedStage, Fault> {
        let path = source.path();
        if let Some(path) = path {
            pib_plan::path::check(path.trim_end_matches('/')).map_err(|reason| {
                let (url, path) = (address.to_string(), path.to_owned());
                GitError::Unfit { url, path, reason }
            })?;
        }
        let spot = self.spot(address, source.commit().unwrap_or_default())?;
        let submodule = |address: &Address, commit: &str| self.submodule(address, commit);
        let shown = shown(address, path);
        self.git.stages.insert_folder(&shown, |into| {
            match Checkout::new(into, &submodule).write(&spot, path)? {
                true => Ok(()),
                false => Err(self.no_stage(address, source)),
            }
        })
    }

    fn submodule(&self, address: &Address, commit: &str) -> Result<Repository, Fault> {
        self.admit_submodule(address)?;
        let database = self.database(address);
        if !database.has(commit) {
            self.check_network(address, || format!("commit {commit} of the submodule {address}"))?;
            database.fetch_commit(commit, &self.link(address), |_| Ok(()))?;
        }
        self.open(address)
    }

    pub(super) fn spot(&self, address: &Address, commit: &str) -> Result<Spot, Fault> {
        let repository = self.open(address)?;
        let oid = Oid::from_str(commit);
        let oid = oid.map_err(|source| Fault::Damaged { address: address.clone(), source })?;
        Ok(Spot::new(repository, address.clone(), oid))
    }

    fn open(&self, address: &Address) -> Result<Repository, Fault> {
        self.database(address).open().map_err(|source| Fault::Damaged { address: address.clone(), source })
    }

    /// Says that there is no stage, and where there are some.
    fn no_stage(&self, address: &Address, source: &GitSource) -> Fault {
        let commit = source.commit().unwrap_or_default();
        let folders = self.spot(address, commit).and_then(|spot| stage_folders(&spot)).unwrap_or_default();
        let help = match folders.as_slice() {
            [] => "A stage is a folder with a stage.toml or a Dockerfile.part; the repository has none."
                .to_owned(),
            all => {
                let names =
                    |folder: &'_ String| if folder.is_empty() { ".".to_owned() } else { folder.clone() };
                let listed: Vec<String> = all.iter().take(SHOWN).map(names).collect();
                let more = all.len().saturating_sub(SHOWN);
                let more = if more > 0 { format!(" and {more} more folders") } else { String::new() };
                let listed = suggest::list(listed.iter().map(String::as_str));
                format!("Give its folder as `path`. There are stages at {listed}{more}.")
            }
        };
        let path = source.path().unwrap_or(".").to_owned();
        GitError::NoStage { url: address.to_string(), path, commit: commit.to_owned(), help }.into()
    }

    fn database(&self, address: &Address) -> Database {
        Database::new(&self.git.root, address)
    }

    fn link(&self, address: &Address) -> Arc<Link> {
        let config = git2::Config::open_default().and_then(|mut config| config.snapshot()).ok();
        let set = config.as_ref().and_then(|config| config.get_string("core.sshCommand").ok());
        Arc::new(Link {
            url: address.to_string(),
            named: address.text().to_owned(),
            permitted: self.git.options.permitted.clone(),
            is_private: AtomicBool::default(),
            runtime: self.runtime.clone(),
            http: Arc::clone(&self.git.http),
            ssh: self.git.options.ssh.clone().or(set),
            patience: patience(config.as_ref()),
            floor: floor(config.as_ref()),
            stop: self.stop.clone(),
            reporter: Arc::clone(&self.git.options.reporter),
            fault: Mutex::default(),
        })
    }

    /// A repository in a folder of this machine takes no network.
    fn check_network(&self, address: &Address, what: impl Fn() -> String) -> Result<(), SourceError> {
        match self.git.offline && address.is_remote() {
            true => Err(SourceError::Offline { what: what() }),
            false => Ok(()),
        }
    }

    fn fetched(&self) -> MutexGuard<'_, BTreeMap<(String, GitReference), String>> {
        self.git.options.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how long nothing may arrive: git's own setting, or ours.
fn patience(config: Option<&git2::Config>) -> Duration {
    let seconds = config.and_then(|config| config.get_i64("http.lowSpeedTime").ok());
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    seconds.map_or(link::PATIENCE, |seconds| Duration::from_secs(seconds.min(LONGEST_PATIENCE)))
}

/// Returns the fewest bytes a second: git's own setting, or ours.
fn floor(config: Option<&git2::Config>) -> u64 {
    let limit = config.and_then(|config| config.get_i64("http.lowSpeedLimit").ok());
    limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0).unwrap_or(link::FLOOR)
}

/// Returns the folders of a repository that hold stages, `""` for its root.
pub(super) fn stage_folders(spot: &Spot) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let mut visited = 0;
    let walked = spot.tree()?.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        visited += 1;
        if visited > MAX_LOOKED_AT {
            return git2::TreeWalkResult::Abort;
        }
        let is_part = |name: &str| name.starts_with("Dockerfile.") && name.ends_with(".part");
        let tells = entry.name().is_ok_and(|name| name == stage::FILE_NAME || is_part(name));
        let folder = folder.trim_end_matches('/');
        if tells && entry.kind() == Some(ObjectType::Blob) && !found.iter().any(|other| other == folder) {
            found.push(folder.to_owned());
        }
        git2::TreeWalkResult::Ok
    });
    match walked {
        Err(error) if visited <= MAX_LOOKED_AT => Err(spot.damaged()(error)),
        _ => Ok(found),
    }
}

/// Returns the name that a bare stage has: its folder's, or the repository's.
pub(super) fn bare_name(address: &Address, path: Option<&str>) -> String {
    let last = path.and_then(|path| path.trim_end_matches('/').rsplit('/').next());
    last.filter(|last| !last.is_empty()).unwrap_or(address.short_name()).to_owned()
}

/// Returns what messages call the folder of a stage.
fn shown(address: &Address, path: Option<&str>) -> String {
    match path {
        Some(path) => format!("{address}/{}", path.trim_end_matches('/')),
        None => address.to_string(),
    }
}
