//! `pib.lock`: what a project's build consists of, exactly.

use semver::Version;

use crate::id::{Arch, Digest, StageName};
use crate::index::{HookRef, SourceId};

/// The name of the file, beside `pib.toml`.
pub const FILE_NAME: &str = "pib.lock";

/// The newest schema that this code reads, and the one that it writes.
pub const VERSION: u32 = 1;

/// The contents of `pib.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// The digest of `pib.fetch.lock`, where there is one.
    pub fetch: Option<Digest>,
    /// The bases, one for each architecture, os and release; sorted by these.
    pub bases: Vec<LockedBase>,
    /// The stages, sorted by name.
    pub stages: Vec<LockedStage>,
}

/// The base that an architecture's build starts from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedBase {
    /// The architecture.
    pub arch: Arch,
    /// The operating system, e.g. `debian`.
    pub os: String,
    /// The release, e.g. `trixie`.
    pub release: String,
    /// The digest of its root file system.
    pub digest: Digest,
    /// Where it came from, if pib did not make it itself.
    pub source: Option<String>,
}

/// One stage of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedStage {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// Where it comes from, for git with the commit.
    pub source: SourceId,
    /// The digest of its archive (registries only).
    pub checksum: Option<Digest>,
    /// The digest of its canonical tar; for a path stage only a note.
    pub content: Option<Digest>,
    /// Its hook.
    pub hook: Option<HookRef>,
    /// The stages that it needs, sorted; there is one version of each.
    pub dependencies: Vec<StageName>,
}
