//! The copies of repositories in the cache: one bare repository for each address.
//!
//! ```text
//! <cache>/git/<name>-<hash>/        the repository
//! <cache>/git/<name>-<hash>.lock    held while something is fetched into it
//! <cache>/git/tmp/                  being made
//! ```
//!
//! Objects are only ever added, so that reading takes no lock. `refs/pib/commits/<commit>` says that everything
//! below a commit has arrived; `refs/pib/seen/...` what a tag or branch was when it was last fetched, for
//! `--offline`. `refs/pib/private` is there if something was fetched with the user's password or ssh. A process may be
//! killed at any moment: what has no reference yet is fetched again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::{Direction, ErrorCode, Oid, Repository};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{GitReference, GitSource};

use super::GitError;
use super::address::Address;
use super::link::Link;
use super::meter::Meter;
use super::transport;
use super::wanted::{self, Head, Target};
use crate::source::leftovers;

/// The depth that stands for a whole history, also where an earlier fetch cut it off.
const WHOLE: i32 = i32::MAX;
/// Says that something was fetched with the user's password or ssh.
const PRIVATE: &str = "refs/pib/private";
/// How often a wait for another process looks whether the program is being stopped.
const TICK: Duration = Duration::from_millis(50);

/// One repository's copy.
pub(super) struct Database {
    address: Address,
    folder: PathBuf,
}

/// What came of a conversation with a repository.
struct Heard {
    /// What it offers.
    heads: Vec<Head>,
    /// Whether what was chosen of it has arrived.
    outcome: Result<(), GitError>,
}

impl Database {
    /// Returns the copy of the repository at `address` below the folder `root`, which need not be there yet.
    pub(super) fn new(root: &Path, address: &Address) -> Self {
        let hash = Digest::of(address.text().as_bytes()).hex();
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name: String = address.short_name().chars().filter(|c| fine(*c)).take(40).collect();
        let folder = root.join(format!("{}-{}", name.trim_start_matches('.'), &hash[..16]));
        Self { address: address.clone(), folder }
    }

    /// Opens the copy for reading, if it is there.
    pub(super) fn open(&self) -> Result<Repository, git2::Error> {
        Repository::open_bare(&self.folder)
    }

    /// Returns the error for a copy whose objects cannot be read.
    pub(super) fn damaged(&self, source: git2::Error) -> GitError {
        self.failed("reading")(source)
    }

    /// Returns whether the copy has all of a commit.
    pub(super) fn has(&self, commit: &str) -> bool {
        self.open().is_ok_and(|repository| has(&repository, commit))
    }

    /// Returns whether something in the copy was fetched with what the user has for git.
    pub(super) fn is_private(&self) -> bool {
        self.open().is_ok_and(|repository| repository.find_reference(PRIVATE).is_ok())
    }

    /// Returns what a reference was when it was last fetched.
    pub(super) fn seen(&self, reference: &GitReference) -> Option<String> {
        let commit = self.open().ok()?.find_reference(&seen_name(reference)?).ok()?.target()?.to_string();
        self.has(&commit).then_some(commit)
    }

    /// Fetches what `reference` stands for now; returns the commit.
    pub(super) fn fetch(&self, reference: &GitReference, link: &Arc<Link>) -> Result<String, GitError> {
        let _lock = self.lock(link)?;
        let repository = self.create()?;
        let mut target = None;
        let heard = self.converse(&repository, link, |heads| {
            let found = target.insert(wanted::find(&self.address, reference, heads)?);
            Ok(match found {
                Target::Head { commit, .. } if has(&repository, &commit.to_string()) => None,
                Target::Head { name, .. } => Some(name.clone()),
                Target::Commit(commit) if has(&repository, commit) => None,
                Target::Commit(commit) => Some(spec_of(commit, heads)),
                Target::Prefix(_) => None,
            })
        })?;
        let commit = match target {
            Some(Target::Head { commit, .. }) if has(&repository, &commit.to_string()) => commit.to_string(),
            Some(Target::Head { name, oid, .. }) => {
                if let Err(fault) = heard.outcome {
                    self.again(&repository, link, name, fault)?;
                }
                self.commit_of(&repository, reference, oid)?
            }
            Some(Target::Commit(commit)) if has(&repository, &commit) => commit,
            Some(Target::Commit(commit)) => self.complete(&repository, &commit, heard, link)?,
            Some(Target::Prefix(prefix)) => {
                self.fetch_all(&repository, link)?;
                let found = repository.revparse_single(&prefix).and_then(|object| object.peel_to_commit());
                let missing = |_| wanted::missing(&self.address, reference, &heard.heads);
                found.map_err(missing)?.id().to_string()
            }
            None => return Err(wanted::missing(&self.address, reference, &heard.heads)),
        };
        self.keep(&repository, &commit, Some(reference), link)?;
        Ok(commit)
    }

    /// Fetches a locked commit, unless it is there.
    ///
    /// # Errors
    /// When it is not available, or is that of a tag which names another one by now.
    pub(super) fn fetch_locked(
        &self,
        name: &StageName,
        source: &GitSource,
        commit: &str,
        link: &Arc<Link>,
    ) -> Result<(), GitError> {
        let check = |heads: &[Head]| match source.reference() {
            GitReference::Tag(tag) => wanted::check_tag(&self.address, name, tag, commit, heads),
            _ => Ok(()),
        };
        self.fetch_commit(commit, link, check).map_err(|error| match error {
            GitError::NoReference { .. } => GitError::CommitGone {
                name: name.clone(),
                url: self.address.to_string(),
                commit: commit.to_owned(),
            },
            other => other,
        })
    }

    /// Fetches a commit, unless it is there, with as little of its history as the server can leave out; `check`
    /// may object to what the repository offers.
    pub(super) fn fetch_commit(
        &self,
        commit: &str,
        link: &Arc<Link>,
        check: impl FnOnce(&[Head]) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let _lock = self.lock(link)?;
        let repository = self.create()?;
        if has(&repository, commit) {
            return Ok(());
        }
        let heard = self.converse(&repository, link, |heads| {
            check(heads)?;
            Ok(Some(spec_of(commit, heads)))
        })?;
        self.complete(&repository, commit, heard, link)?;
        self.keep(&repository, commit, None, link)
    }

    /// Throws the copy away: it is damaged, and will be fetched anew.
    pub(super) fn discard(&self, link: &Arc<Link>) -> Result<(), GitError> {
        let _lock = self.lock(link)?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("removing")(error)),
            _ => Ok(()),
        }
    }

    /// Returns the commit that was asked for alone, or with all that the repository has.
    fn complete(
        &self,
        repository: &Repository,
        commit: &str,
        heard: Heard,
        link: &Arc<Link>,
    ) -> Result<String, GitError> {
        let oid = Oid::from_str(commit).map_err(self.failed("reading"))?;
        if repository.find_commit(oid).is_err() {
            // Not every server gives a commit that no reference names; all references together lead to it.
            match heard.outcome {
                Err(fault) if !matches!(fault, GitError::Fetch { .. }) => return Err(fault),
                _ => self.fetch_all(repository, link)?,
            }
        }
        let reference = GitReference::Rev(commit.to_owned());
        let found = repository.find_commit(oid);
        let missing = |_| wanted::missing(&self.address, &reference, &heard.heads);
        Ok(found.map_err(missing)?.id().to_string())
    }

    fn fetch_all(&self, repository: &Repository, link: &Arc<Link>) -> Result<(), GitError> {
        // The right side is never written: only objects are taken.
        let specs = ["heads", "tags"].map(|kind| format!("refs/{kind}/*:refs/pib/all/{kind}/*"));
        self.download(repository, link, &specs)
    }

    /// Fetches with its history what a server did not give without.
    fn again(
        &self,
        repository: &Repository,
        link: &Arc<Link>,
        name: String,
        fault: GitError,
    ) -> Result<(), GitError> {
        match fault {
            GitError::Fetch { .. } if self.address.is_remote() => self.download(repository, link, &[name]),
            other => Err(other),
        }
    }

    /// Asks what the repository offers and fetches what `choose` makes of that, over one connection.
    ///
    /// Fetched is without history, where that is possible: libgit2 cannot leave it out of a folder's repository.
    fn converse(
        &self,
        repository: &Repository,
        link: &Arc<Link>,
        choose: impl FnOnce(&[Head]) -> Result<Option<String>, GitError>,
    ) -> Result<Heard, GitError> {
        let depth = if self.address.is_remote() { 1 } else { 0 };
        let mut heads = None;
        let mut chosen = Ok(None);
        let mut meter = Meter::new(link);
        let outcome = transport::run(link, || {
            let mut remote = repository.remote_anonymous(self.address.text())?;
            let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
            let listed = connection.list()?.iter().map(|head| (head.name().to_owned(), head.oid()));
            let heads = heads.insert(wanted::collect(listed));
            chosen = choose(heads);
            match &chosen {
                Ok(Some(spec)) => meter.download(connection.remote(), std::slice::from_ref(spec), depth),
                _ => Ok(()),
            }
        });
        let outcome = meter.judge(outcome);
        chosen?;
        match heads {
            Some(heads) => Ok(Heard { heads, outcome }),
            // It did not come to a conversation; without an error it would have.
            None => outcome.map(|()| Heard { heads: Vec::new(), outcome: Ok(()) }),
        }
    }

    /// Fetches with the whole history.
    fn download(&self, repository: &Repository, link: &Arc<Link>, specs: &[String]) -> Result<(), GitError> {
        let depth = if repository.is_shallow() { WHOLE } else { 0 };
        let mut meter = Meter::new(link);
        let outcome = transport::run(link, || {
            meter.download(&mut repository.remote_anonymous(self.address.text())?, specs, depth)
        });
        meter.judge(outcome)
    }

    fn commit_of(
        &self,
        repository: &Repository,
        reference: &GitReference,
        oid: Oid,
    ) -> Result<String, GitError> {
        match repository.find_object(oid, None).and_then(|object| object.peel_to_commit()) {
            Ok(commit) => Ok(commit.id().to_string()),
            Err(error) if error.code() == ErrorCode::NotFound => Err(self.failed("reading")(error)),
            // A tag may name a file or a tree.
            _ => Err(GitError::NoReference {
                url: self.address.to_string(),
                wanted: format!("commit behind its {}", wanted::describe(reference)),
                help: "The name leads to something else. Choose a tag or branch that names a commit."
                    .to_owned(),
            }),
        }
    }

    /// Remembers that a commit is there, and what named it.
    fn keep(
        &self,
        repository: &Repository,
        commit: &str,
        reference: Option<&GitReference>,
        link: &Link,
    ) -> Result<(), GitError> {
        let oid = Oid::from_str(commit).map_err(self.failed("reading"))?;
        if link.is_private() {
            repository.reference(PRIVATE, oid, true, "pib: fetched").map_err(self.failed("writing"))?;
        }
        repository
            .reference(&keep_name(commit), oid, true, "pib: fetched")
            .map_err(self.failed("writing"))?;
        if let Some(name) = reference.and_then(seen_name) {
            // Only `--offline` misses it, e.g. where a name is a folder of another by now.
            let _ = repository.reference(&name, oid, true, "pib: fetched");
        }
        Ok(())
    }

    /// Opens the copy for writing; one that cannot be opened was not finished, and is made anew.
    fn create(&self) -> Result<Repository, GitError> {
        if let Ok(repository) = self.open() {
            leftovers::sweep_repository(&self.folder);
            return Ok(repository);
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("removing")(error));
            }
            _ => {}
        }
        // It gets its name when it is whole: a process that is killed meanwhile leaves nothing that looks like one.
        let parent = self.folder.parent().unwrap_or(&self.folder);
        let temp = leftovers::TempFolder::new(parent).map_err(self.failed("creating"))?;
        let made = temp.path().join("repository");
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).external_template(false);
        Repository::init_opts(&made, &options).map_err(self.failed("creating"))?;
        fs::rename(&made, &self.folder).map_err(self.failed("creating"))?;
        self.open().map_err(self.failed("opening"))
    }

    /// Waits until no other process fetches into the copy. The lock ends with the file, also by a kill.
    fn lock(&self, link: &Link) -> Result<File, GitError> {
        let path = self.folder.with_added_extension("lock");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(self.failed("creating a folder for"))?;
        }
        let file = pib_file::open_or_create(&path);
        let file = file.map_err(self.failed("locking"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(self.failed("locking")(error)),
                Err(TryLockError::WouldBlock) if link.stop.is_cancelled() => return Err(link.interrupted()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TICK),
            }
        }
    }

    fn failed<E>(&self, action: &'static str) -> impl FnOnce(E) -> GitError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (url, path) = (self.address.to_string(), self.folder.clone());
        move |source| GitError::Database { action, url, path, source: source.into() }
    }
}

/// Returns how to ask for a commit: by a name of it, if it has one.
fn spec_of(commit: &str, heads: &[Head]) -> String {
    let named = heads.iter().find(|head| head.commit().to_string() == commit);
    named.map_or_else(|| commit.to_owned(), |head| head.name.clone())
}

fn has(repository: &Repository, commit: &str) -> bool {
    repository.find_reference(&keep_name(commit)).is_ok()
}

fn keep_name(commit: &str) -> String {
    format!("refs/pib/commits/{commit}")
}

/// Returns the name for what a reference was; `None` where it cannot be one.
fn seen_name(reference: &GitReference) -> Option<String> {
    let name = match reference {
        GitReference::Default => "refs/pib/seen/default".to_owned(),
        GitReference::Branch(name) => format!("refs/pib/seen/branch/{name}"),
        GitReference::Tag(name) => format!("refs/pib/seen/tag/{name}"),
        GitReference::Rev(name) => format!("refs/pib/seen/rev/{name}"),
    };
    git2::Reference::is_valid_name(&name).then_some(name)
}
