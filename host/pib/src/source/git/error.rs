//! What can go wrong with a git repository, each with the way out.

use std::io;
use std::path::PathBuf;

use pib_plan::id::StageName;

use super::permission::Denied;

/// Says why a git repository does not give a stage.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum GitError {
    /// The address is none that pib fetches from.
    #[error("the git address `{url}` cannot be used: {reason}")]
    #[diagnostic(code(pib::git::address))]
    #[diagnostic(help("{help}"))]
    Address {
        /// The address, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The repository does not have what was asked for.
    #[error("the git repository {url} has no {wanted}")]
    #[diagnostic(code(pib::git::no_reference))]
    #[diagnostic(help("{help}"))]
    NoReference {
        /// The repository.
        url: String,
        /// E.g. "tag `v3`".
        wanted: String,
        /// What it has instead.
        help: String,
    },
    /// A tag names another commit than when it was locked.
    #[error(
        "tag `{tag}` of the git repository {url} moved since stage `{name}` was locked: pib.lock has commit \
         {locked}, the tag now names {found}"
    )]
    #[diagnostic(code(pib::git::moved))]
    #[diagnostic(help(
        "A published tag should never move. Find out why it did; if the new commit is right, take it with \
         `pib update {name} --accept-republished`."
    ))]
    Moved {
        /// The stage.
        name: StageName,
        /// The repository.
        url: String,
        /// The tag.
        tag: String,
        /// The commit in the lock.
        locked: String,
        /// The commit that the tag names now.
        found: String,
    },
    /// A locked commit is no longer available.
    #[error("the git repository {url} does not give commit {commit} of stage `{name}`, which pib.lock holds")]
    #[diagnostic(code(pib::git::commit_gone))]
    #[diagnostic(help(
        "Its history was rewritten, or the branch or tag was removed. If what it has now is right, take it with \
         `pib update {name}`."
    ))]
    CommitGone {
        /// The stage.
        name: StageName,
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// There is no stage at the path.
    #[error("the git repository {url} has no stage at `{path}` (commit {commit})")]
    #[diagnostic(code(pib::git::no_stage))]
    #[diagnostic(help("{help}"))]
    NoStage {
        /// The repository.
        url: String,
        /// The path inside it; `.` is its root.
        path: String,
        /// The commit.
        commit: String,
        /// Where there are stages.
        help: String,
    },
    /// Something in the repository cannot be part of a stage.
    #[error("`{path}` of the git repository {url} cannot be part of a stage: {reason}")]
    #[diagnostic(code(pib::git::unfit))]
    #[diagnostic(help(
        "A stage holds regular files and folders only, within bounds. Make links in the part, with RUN ln -s."
    ))]
    Unfit {
        /// The repository.
        url: String,
        /// The path inside it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A submodule cannot be taken.
    #[error("the submodule `{path}` of the git repository {url} cannot be taken: {reason}")]
    #[diagnostic(code(pib::git::submodule))]
    #[diagnostic(help(
        "Correct the repository's .gitmodules, or take a stage that does without the submodule."
    ))]
    Submodule {
        /// The repository.
        url: String,
        /// The path inside it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's answer is not git's.
    #[error("could not fetch from {url}: {reason}")]
    #[diagnostic(code(pib::git::server))]
    #[diagnostic(help("{help}"))]
    Server {
        /// The repository.
        url: String,
        /// What the server said.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The server did not let this user in.
    #[error("the server of {url} asks for a login, and {reason}")]
    #[diagnostic(code(pib::git::credentials))]
    #[diagnostic(help("{help}"))]
    Credentials {
        /// The repository.
        url: String,
        /// E.g. "no git credential helper knows".
        reason: String,
        /// What to do.
        help: String,
    },
    /// The user has not allowed the project what it takes.
    #[error("{0}")]
    #[diagnostic(code(pib::git::denied))]
    Denied(Denied),
    /// ssh did not reach the repository.
    #[error("ssh to {host} failed: {said}")]
    #[diagnostic(code(pib::git::ssh))]
    #[diagnostic(help("{help}"))]
    Ssh {
        /// The machine, with the user where one is named.
        host: String,
        /// What ssh said.
        said: String,
        /// What to do.
        help: String,
    },
    /// Nothing arrived for too long.
    #[error("{url} did not answer: nothing arrived for {seconds} seconds")]
    #[diagnostic(code(pib::git::timed_out))]
    #[diagnostic(help(
        "Check the network and the address, and try again. git's `http.lowSpeedTime` setting changes how long pib \
         waits."
    ))]
    TimedOut {
        /// The repository.
        url: String,
        /// How long pib waited.
        seconds: u64,
    },
    /// The answer came too slowly.
    #[error("fetching {url} was stopped: for {seconds} seconds it brought fewer than {floor} bytes a second")]
    #[diagnostic(code(pib::git::too_slow))]
    #[diagnostic(help(
        "Check the network and the address, and try again. git's `http.lowSpeedLimit` and `http.lowSpeedTime` settings \
         change what pib takes for too slow."
    ))]
    TooSlow {
        /// The repository.
        url: String,
        /// The fewest bytes a second.
        floor: u64,
        /// For how many seconds there were fewer.
        seconds: u64,
    },
    /// A repository has more branches and tags than any can rightly have.
    #[error("fetching {url} was stopped: its list of branches and tags is larger than {} MiB", limit >> 20)]
    #[diagnostic(code(pib::git::too_many_references))]
    #[diagnostic(help("Take the stage from another repository, or from a registry."))]
    TooManyReferences {
        /// The repository.
        url: String,
        /// The most bytes that are read of the list.
        limit: u64,
    },
    /// A repository is larger than any stage's can rightly be.
    #[error("fetching {url} was stopped after {} MiB", limit >> 20)]
    #[diagnostic(code(pib::git::too_large))]
    #[diagnostic(help("Take the stage from a smaller repository, or from a registry."))]
    TooLarge {
        /// The repository.
        url: String,
        /// The most bytes that are taken.
        limit: u64,
    },
    /// The transfer failed.
    #[error("fetching {url} failed")]
    #[diagnostic(code(pib::git::fetch))]
    #[diagnostic(help(
        "Check the network and the address; what was fetched before can be used with --offline."
    ))]
    Fetch {
        /// The repository.
        url: String,
        /// What the library or the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The copy of a repository in the cache could not be used.
    #[error("{action} the copy of {url} at `{}` failed", path.display())]
    #[diagnostic(code(pib::git::database))]
    #[diagnostic(help(
        "Check that the folder may be written and the disk is not full. Removing the folder has it fetched again."
    ))]
    Database {
        /// What was being done.
        action: &'static str,
        /// The repository.
        url: String,
        /// The folder in the cache.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user stopped the program.
    #[error("fetching {url} was interrupted")]
    #[diagnostic(code(pib::git::interrupted))]
    Interrupted {
        /// The repository.
        url: String,
    },
}

impl GitError {
    /// Returns an error of a stream, for what the library expects; the real one is kept beside it.
    pub(super) fn as_io(&self) -> io::Error {
        io::Error::other(self.to_string())
    }

    /// Returns whether the manifest or the repository's content is at fault, not what lies between.
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::NoReference { .. } | Self::NoStage { .. } | Self::Unfit { .. }
        )
    }
}
