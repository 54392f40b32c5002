//! What can go wrong with a Debian archive.

use std::path::{Path, PathBuf};

use pib_plan::id::{Arch, Digest};
use pib_plan::moment::Moment;

use pib_net::NetError;

/// Says why there is no base, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DebianError {
    /// Where the system's packages are is not known.
    #[error(
        "pib cannot bootstrap `{os}`: the init stage names no archives of its packages; give the project a base by tarball or \
         container image"
    )]
    #[diagnostic(code(pib::debian::unsupported_os))]
    UnsupportedOs {
        /// The system that was asked for.
        os: String,
    },
    /// The distribution has no port for the processor.
    #[error(
        "Debian has no port for {arch}; use `arch = \"arm64\"` or `arch = \"armv7\"`, or give a base by tarball"
    )]
    #[diagnostic(code(pib::debian::unsupported_arch))]
    UnsupportedArch {
        /// The architecture that was asked for.
        arch: Arch,
    },
    /// The release's name cannot be one.
    #[error("`{release}` is not the name of a Debian release: expected a name such as `trixie`")]
    #[diagnostic(code(pib::debian::bad_release))]
    BadRelease {
        /// The name that was given.
        release: String,
    },
    /// The mirror's address cannot be used.
    #[error(
        "`{mirror}` is not a usable mirror: {reason}; give an http or https address such as http://deb.debian.org/debian"
    )]
    #[diagnostic(code(pib::debian::bad_mirror))]
    BadMirror {
        /// The address that was given.
        mirror: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something could not be fetched.
    #[error(transparent)]
    #[diagnostic(code(pib::debian::net))]
    Net(#[from] NetError),
    /// Something would have to be fetched.
    #[error("pib may not use the network here, and its cache does not have {url}")]
    #[diagnostic(code(pib::debian::offline))]
    Offline {
        /// What is missing.
        url: String,
    },
    /// The mirror does not carry the release.
    #[error("{mirror} (from {origin}) has no release `{release}`: {source}")]
    #[diagnostic(code(pib::debian::no_release))]
    NoRelease {
        /// The mirror's address.
        mirror: String,
        /// Where the address came from.
        origin: String,
        /// The release that was asked for.
        release: String,
        /// What the server answered.
        source: NetError,
    },
    /// The archive of the past has nothing of the moment.
    #[error(
        "Debian's archive of the past has nothing as of {moment} ({place}): {reason}; choose a later day, or another release"
    )]
    #[diagnostic(code(pib::debian::not_in_the_past))]
    NotInThePast {
        /// The moment that was asked for.
        moment: Moment,
        /// Where it was looked for.
        place: String,
        /// What was found.
        reason: String,
    },
    /// Nobody keeps the past of an archive.
    #[error(
        "the archive `{archive}` has no archive of the past, so that it cannot be used as of a day; only Debian's own archives have one. \
         Lock what it has today, without --as-of, and keep that with `pib push`"
    )]
    #[diagnostic(code(pib::debian::without_past))]
    WithoutPast {
        /// The archive.
        archive: String,
    },
    /// A signed file is not signed as it must be.
    #[error(
        "{url} is not signed as it must be: {reason}; nothing of it was used (the mirror comes from {origin})"
    )]
    #[diagnostic(code(pib::debian::signature))]
    Signature {
        /// The file.
        url: String,
        /// What was found.
        reason: String,
        /// Where the mirror's address came from.
        origin: String,
    },
    /// The keys of an archive are not those that the init stage names.
    #[error(
        "the keys of the archive `{archive}` in {place} cannot be used: {reason}; nothing of the archive was used"
    )]
    #[diagnostic(code(pib::debian::keys))]
    Keys {
        /// The archive.
        archive: String,
        /// Where the keys are.
        place: String,
        /// What was found.
        reason: String,
    },
    /// A signed file is not the one that was asked for, is out of date or malformed.
    #[error("{url} cannot be used: {reason}")]
    #[diagnostic(code(pib::debian::index))]
    Index {
        /// The file.
        url: String,
        /// What was found and what to do.
        reason: String,
    },
    /// The files of a mirror do not fit each other.
    #[error(
        "the mirror {mirror} is being updated: {reason}; try again in some minutes, or name another `mirror` in [project]"
    )]
    #[diagnostic(code(pib::debian::updating))]
    Updating {
        /// The mirror's address.
        mirror: String,
        /// Which files do not fit.
        reason: String,
    },
    /// None of the places that may have a package gives it.
    #[error(
        "a package that pib.lock names is not available anywhere: {}; name a `mirror` in [project] that has it, or take today's \
         packages with `pib update --base`",
        list(problems)
    )]
    #[diagnostic(code(pib::debian::nowhere))]
    Nowhere {
        /// What each place said.
        problems: Vec<DebianError>,
    },
    /// A fetched file does not have the digest that its signed index names.
    #[error(
        "{url} is damaged or was changed: expected {expected}, found {found}; try again, or use another mirror"
    )]
    #[diagnostic(code(pib::debian::mismatch))]
    Mismatch {
        /// The file.
        url: String,
        /// The digest that the index, the manifest or the lock names.
        expected: Digest,
        /// The digest of what arrived.
        found: Digest,
    },
    /// The packages do not add up to a system.
    #[error("choosing the packages of the base failed: {0}")]
    #[diagnostic(code(pib::debian::resolve))]
    Resolve(String),
    /// A package or tarball has a form that pib does not accept.
    #[error("{file} cannot be unpacked: {reason}")]
    #[diagnostic(code(pib::debian::archive))]
    Archive {
        /// The file.
        file: String,
        /// What was found.
        reason: String,
    },
    /// The file system refused.
    #[error("{action} {path} failed")]
    #[diagnostic(code(pib::debian::io))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A worker thread died.
    #[error("a worker of the bootstrap stopped unexpectedly; please report this as a bug")]
    #[diagnostic(code(pib::debian::worker))]
    Worker(#[source] tokio::task::JoinError),
}

fn list(problems: &[DebianError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl DebianError {
    /// Returns a closure that turns an IO error on `path` into a [`DebianError`].
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Returns an error about the form of `file`.
    pub(super) fn archive(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Archive { file: file.into(), reason: reason.to_string() }
    }
}
