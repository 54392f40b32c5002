//! Git repositories: stages by branch, tag or commit, also in a folder or a submodule.
//!
//! | module | what it does |
//! |---|---|
//! | `address` | which addresses there are: https, ssh, folders |
//! | `work` | one operation: which commit, which files |
//! | `database` | the copies of repositories in the cache |
//! | `wanted` | finds what a manifest asks for among what a repository offers |
//! | `link` | the transports that libgit2 uses, and why one failed |
//! | `meter` | watches a transfer |
//! | `web`, `login` | over HTTP; who the user is there |
//! | `ssh` | through the user's own ssh |
//! | `checkout`, `modules` | writes a stage's files, with those of submodules |
//! | `worktree` | what an author has changed in a stage since the last commit |
//!
//! Invariants: a locked commit that is in the cache is used without the network. A locked tag that is fetched and
//! names another commit is an error. Nothing of a repository is written but a stage's files, and those only into the
//! cache. Whatever a server does, or does not do, ends within a bound.

mod address;
mod checkout;
mod database;
mod error;
mod link;
mod login;
mod meter;
mod modules;
mod ssh;
mod wanted;
mod web;
mod work;
mod worktree;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use pib_plan::id::{Digest, StageName};
use pib_plan::index::{Candidate, GitReference, GitSource, IndexEntry, Offer, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::manifest::{MAX_MANIFEST, stage};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cache::{CachedStage, StageCache};
use super::{Package, SourceError, entry};
use address::Address;
use pib_event::{Reporter, Silent};
use pib_net::Http;
use work::{Work, bare_name, stage_folders};

pub use error::GitError;
pub use worktree::changed_files;

/// What the user's environment says about git, and what this run of the program has fetched.
#[derive(Clone)]
pub struct GitOptions {
    /// The command that stands for ssh, where the user has set one.
    ssh: Option<String>,
    reporter: Arc<dyn Reporter>,
    fetched: Fetched,
}

impl GitOptions {
    /// Returns the options of a run whose user has perhaps set a command that stands for ssh; `reporter` takes
    /// how far transfers are.
    pub fn new(ssh: Option<String>, reporter: Arc<dyn Reporter>) -> Self {
        Self { ssh, reporter, fetched: Fetched::default() }
    }
}

impl Default for GitOptions {
    fn default() -> Self {
        Self::new(None, Arc::new(Silent))
    }
}

impl fmt::Debug for GitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitOptions").field("ssh", &self.ssh).finish_non_exhaustive()
    }
}

/// What references stood for when this run fetched them: it asks each only once, and so gets one answer.
type Fetched = Arc<Mutex<BTreeMap<(String, GitReference), String>>>;

/// The git repositories of a project.
pub(super) struct Git {
    pub(super) root: PathBuf,
    pub(super) stages: StageCache,
    pub(super) offline: bool,
    pub(super) options: GitOptions,
    pub(super) http: Arc<OnceLock<Http>>,
}

/// Why a stage could not be had from its repository.
enum Fault {
    /// The copy in the cache is damaged.
    Damaged { address: Address, source: git2::Error },
    /// Anything else.
    Source(Box<SourceError>),
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self::Source(Box::new(error))
    }
}

impl From<GitError> for Fault {
    fn from(error: GitError) -> Self {
        SourceError::from(error).into()
    }
}

impl Git {
    /// Returns what the stage at `source` is now, or as `wish` has it.
    pub(super) async fn candidate(
        self,
        name: StageName,
        source: GitSource,
        wish: Wish,
    ) -> Result<Candidate, SourceError> {
        self.run(move |work| {
            let locked = match &wish {
                Wish::Stay(locked) => locked.as_ref().and_then(|locked| Locked::of(locked, &source)),
                Wish::Move(rev) => Some(Locked { commit: work.commit(&source, rev)?, content: None }),
            };
            let fixed = work.fix(&name, &source, locked.as_ref())?;
            let stage = work.stage(&name, &fixed, locked.as_ref())?;
            let entry = stage.entry()?;
            Ok(Candidate {
                version: entry.vers.clone(),
                source: fixed.into(),
                offer: Offer::Entry(Arc::new(entry)),
            })
        })
        .await
    }

    /// Returns the stage that was resolved.
    pub(super) async fn package(
        self,
        name: StageName,
        source: GitSource,
        content: Option<Digest>,
    ) -> Result<Package, SourceError> {
        self.run(move |work| {
            let locked = source.commit().map(|commit| Locked { commit: commit.to_owned(), content });
            let fixed = work.fix(&name, &source, locked.as_ref())?;
            let stage = work.stage(&name, &fixed, locked.as_ref())?;
            let Located { cached, manifest } = stage;
            Ok(Package::with_manifest(&cached.root, manifest, cached.listing)?)
        })
        .await
    }

    /// Returns the stages of a repository: their names and the folders that hold them.
    pub(super) async fn list(
        self,
        source: GitSource,
    ) -> Result<Vec<(StageName, Option<String>)>, SourceError> {
        self.run(move |work| {
            let address = Address::parse(source.url())?;
            let commit = work.current(&address, source.reference())?;
            let spot = work.spot(&address, &commit)?;
            let mut found = Vec::new();
            for folder in stage_folders(&spot)? {
                let below = spot.tree()?;
                let manifest = below.get_path(&Path::new(&folder).join(stage::FILE_NAME)).ok();
                let text = match &manifest {
                    Some(entry) => spot.blob(entry, MAX_MANIFEST as u64)?,
                    None => None,
                };
                let text = text.and_then(|text| String::from_utf8(text).ok());
                let name = match text {
                    Some(text) => stage::StageManifest::parse(&folder, &text).ok().map(|stage| stage.name),
                    None => bare_name(&address, Some(&folder)).parse().ok(),
                };
                let folder = Some(folder).filter(|folder| !folder.is_empty());
                found.extend(name.map(|name| (name, folder)));
            }
            Ok(found)
        })
        .await
    }

    /// Runs what blocks in a thread of its own, which stops when nobody waits for it any more.
    async fn run<T: Send + 'static>(
        self,
        work: impl Fn(&Work) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, SourceError> {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let this = Work::new(self, Handle::current(), stop);
        super::blocking(move || this.run(work)).await
    }
}

/// Which commit a stage is wanted at.
pub(super) enum Wish {
    /// Where the lock has it, if it does and is about the same; else what the manifest's reference stands for now.
    Stay(Option<Box<LockedStage>>),
    /// At this commit, whose first digits or name will do.
    Move(String),
}

/// What the lock holds of a stage.
struct Locked {
    commit: String,
    content: Option<Digest>,
}

impl Locked {
    /// Returns what `stage` holds, where it is about what `source` asks for.
    fn of(stage: &LockedStage, source: &GitSource) -> Option<Self> {
        match &stage.source {
            SourceId::Git(git) if stage.source.satisfies(&source.clone().into()) => {
                Some(Self { commit: git.commit()?.to_owned(), content: stage.content })
            }
            _ => None,
        }
    }
}

/// A stage in the cache.
struct Located {
    cached: CachedStage,
    manifest: stage::StageManifest,
}

impl Located {
    fn entry(&self) -> Result<IndexEntry, SourceError> {
        let entry = entry::of(&self.manifest, &self.cached.root, &self.cached.listing.contents)?;
        Ok(IndexEntry { content: Some(self.cached.listing.content), ..entry })
    }
}
