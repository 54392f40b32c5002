//! Git repositories: stages by branch, tag or commit, also in a folder or a submodule.
//!
//! | module | what it does |
//! |---|---|
//! | `address` | which addresses there are: https, ssh, folders |
//! | `settings` | what the user has set for git |
//! | `work` | one operation: which commit, which files |
//! | `database` | the copies of repositories in the cache |
//! | `wanted` | finds what a manifest asks for among what a repository offers |
//! | `permission` | whether the project may have what its repositories lead to |
//! | `link`, `transport` | what one fetch needs, and why it failed; libgit2's transports for it |
//! | `meter`, `flow` | watch a transfer, and one answer of a server |
//! | `web`, `login` | over HTTP; who the user is there |
//! | `ssh` | through the user's own ssh |
//! | `checkout`, `modules` | writes a stage's files, with those of submodules |
//! | `worktree` | what an author has changed in a stage since the last commit |
//!
//! Invariants: a locked commit that is in the cache is used without the network. A locked tag that is fetched and
//! names another commit is an error. Nothing of a repository is written but a stage's files, and those only into the
//! cache. Whatever a server does, or does not do, ends within a bound. What the user has for git is used with permission.

mod address;
mod checkout;
mod database;
mod error;
mod fault;
mod flow;
mod link;
mod login;
mod meter;
mod modules;
mod permission;
mod settings;
mod ssh;
mod transport;
mod wanted;
mod web;
mod work;
mod worktree;

use std::path::Path;
use std::sync::Arc;

use pib_plan::id::{Digest, StageName};
use pib_plan::index::{Candidate, GitReference, GitSource, Offer, SourceId};
use pib_plan::lockfile::LockedStage;
use pib_plan::manifest::{MAX_MANIFEST, stage};
use pib_plan::resolve::ResolvedStage;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::threads::blocking;
use super::{Package, SourceError};
use address::Address;
use fault::Fault;
use work::{Located, Locked, Work, bare_name, stage_folders};

pub use address::takes_ssh;
pub use error::GitError;
pub use permission::{Denied, Permission};
pub(super) use settings::Git;
pub use settings::GitOptions;
pub use worktree::{UnfitRepository, changed_files, is_never_committed};

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
            let address = work.address(&source)?;
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
        blocking(move || this.run(work)).await
    }
}

/// Checks that a tag names the commit that the lock holds, where both are about the same tag.
///
/// # Errors
/// When it names another one; the error has both.
pub(super) fn check_tag(resolved: &ResolvedStage, locked: &LockedStage) -> Result<(), GitError> {
    let (SourceId::Git(now), SourceId::Git(before)) = (&resolved.source, &locked.source) else {
        return Ok(());
    };
    let GitReference::Tag(tag) = now.reference() else { return Ok(()) };
    let is_same =
        (now.url(), now.reference(), now.path()) == (before.url(), before.reference(), before.path());
    match (before.commit(), now.commit()) {
        (Some(locked), Some(found)) if is_same && locked != found => Err(GitError::Moved {
            name: resolved.name.clone(),
            url: Address::parse(now.url())?.to_string(),
            tag: tag.clone(),
            locked: locked.to_owned(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Which commit a stage is wanted at.
pub(super) enum Wish {
    /// Where the lock has it, if it does and is about the same; else what the manifest's reference stands for now.
    Stay(Option<Box<LockedStage>>),
    /// At this commit, whose first digits or name will do.
    Move(String),
}
