//! What can go wrong with a base.

use std::path::{Path, PathBuf};

use pib_net::NetError;
use pib_plan::id::Digest;

use super::identify::{Kind, TAKEN};

/// Says why there is no base, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BaseError {
    /// Its tarball could not be fetched.
    #[error(transparent)]
    #[diagnostic(code(pib::base::net))]
    Net(#[from] NetError),
    /// The tarball of a base is another file than the manifest names.
    #[error(
        "the base {file} is not the file that `digest` in [base] names: expected {expected}, found {found}{}; get the file \
         again, or correct `digest`", what.map(|what| format!(", which is {what}")).unwrap_or_default()
    )]
    #[diagnostic(code(pib::base::other_tarball))]
    OtherTarball {
        /// The file.
        file: String,
        /// The digest that the manifest names.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
        /// What is there, where that is no tarball.
        what: Option<&'static str>,
    },
    /// The tarball of a base is no tarball.
    #[error("the base {file} is{} {}; pib takes {TAKEN}: {}", within(*inside), kind.name, kind.remedy)]
    #[diagnostic(code(pib::base::not_tarball))]
    NotTarball {
        /// The file.
        file: String,
        /// The compression in which it is, where there is one.
        inside: Option<&'static str>,
        /// What it is.
        kind: Kind,
    },
    /// A tarball has a form that pib does not accept.
    #[error("the base {file} cannot be unpacked: {reason}")]
    #[diagnostic(code(pib::base::archive))]
    Archive {
        /// The file.
        file: String,
        /// What was found.
        reason: String,
    },
    /// The signature of a tarball is not available.
    #[error("the base {file} has no signature that pib can check, and nothing of it was used: {source}")]
    #[diagnostic(code(pib::base::no_signature))]
    #[diagnostic(help(
        "Try again. If its owner no longer signs it, the init stage has to name another tarball, or the project a [base]."
    ))]
    NoSignature {
        /// The tarball.
        file: String,
        /// Why its signature cannot be fetched.
        source: NetError,
    },
    /// A tarball is not signed as it must be.
    #[error("the base {file} is not signed as it must be: {reason}; nothing of it was used")]
    #[diagnostic(code(pib::base::signature))]
    #[diagnostic(help(
        "Try again: the tarball may have been replaced between two downloads. If it stays so, the server or somebody on the way \
         sends another file than its owner signed."
    ))]
    Signature {
        /// The tarball.
        file: String,
        /// What was found.
        reason: String,
    },
    /// The keys of a tarball are not those that the init stage names.
    #[error("the keys of the base {file} in {place} cannot be used: {reason}; nothing of the base was used")]
    #[diagnostic(code(pib::base::keys))]
    #[diagnostic(help("Correct `keys` or `key-url` in the init stage's [[base.OS.tarball]]."))]
    Keys {
        /// The tarball.
        file: String,
        /// Where the keys are.
        place: String,
        /// What was found.
        reason: String,
    },
    /// The tarball that a lock holds is not at its address any more.
    #[error(
        "the base {file} was replaced since pib.lock was written: the lock holds {locked}, and the address has {found} now"
    )]
    #[diagnostic(code(pib::base::replaced))]
    #[diagnostic(help(
        "Take the new one with `pib update --base`; or, to build the old image again, name a copy of the old tarball in [base] \
         of pib.toml, by `path` and `digest`."
    ))]
    Replaced {
        /// The tarball.
        file: String,
        /// The digest in the lock.
        locked: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// The file system refused.
    #[error("{action} {path} failed")]
    #[diagnostic(code(pib::base::io))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A stream could not be read to its end.
    #[error("reading the base's file tree from the container engine failed")]
    #[diagnostic(code(pib::base::stream))]
    Stream(#[source] std::io::Error),
    /// A worker thread died.
    #[error("a worker that unpacks a base stopped unexpectedly; please report this as a bug")]
    #[diagnostic(code(pib::base::worker))]
    Worker(#[source] tokio::task::JoinError),
}

impl BaseError {
    /// Returns a closure that turns an IO error on `path` into a [`BaseError`].
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Returns an error about the form of `file`.
    pub(super) fn archive(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Archive { file: file.into(), reason: reason.to_string() }
    }
}

fn within(compression: Option<&str>) -> String {
    compression.map(|name| format!(", within its {name} compression,")).unwrap_or_default()
}
