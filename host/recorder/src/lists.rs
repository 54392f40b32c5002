//! How the recorder learns from its caller what the signed lists of archives say. It knows no form of them itself.

use std::time::Duration;

use futures_util::future::BoxFuture;
use pib_plan::id::Digest;

/// How long is waited before a mirror is asked again that is being brought up to date. apt gives up after 30 seconds without
/// an answer, and asks again by itself.
pub const PAUSES: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(7), Duration::from_secs(10)];

/// A file that a list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The other paths at which a server may have it, from the list's folder.
    pub others: Vec<String>,
}

/// Reads the lists of a kind of archive.
pub trait Lists: Send + Sync {
    /// Returns the names that lists have.
    fn names(&self) -> &[&str];

    /// Returns what a list says of the file at a path below its folder.
    fn listed(&self, list: &str, path: &str) -> Option<Listed>;

    /// Returns the other paths, from its folder, at which a server may have a list of this name, by what the list there says.
    fn others(&self, list: &str, name: &str) -> Vec<String>;

    /// Returns where to ask for a list that is recorded by an address: where what the server has does not fit its list at
    /// `place`, and fits the one elsewhere.
    fn fitting<'a>(&'a self, address: &'a str, place: &'a str) -> BoxFuture<'a, Option<String>>;
}
