//! What a lock holds.

use std::collections::BTreeMap;

use semver::Version;

use crate::id::{Arch, Digest, StageName};
use crate::index::{HookRef, SourceId};
use crate::moment::Moment;
use crate::registry_snapshot::RegistryKey;
use crate::signed_tarball::LockedTarball;
use crate::snapshot::BaseSnapshot;

/// The newest schema that this code reads, and the one that it writes.
pub const VERSION: u32 = 1;

/// The contents of `pib.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// The moment that the packages are of which parts install, where the project records what they fetch.
    pub snapshot: Option<Moment>,
    /// The digest of `pib.fetch.lock`, where there is one.
    pub fetch: Option<Digest>,
    /// The moment of which the project takes what archives have, where it asks archives of the past.
    pub as_of: Option<Moment>,
    /// Whether engines are refused that cannot give the image everything.
    pub refuses_losses: bool,
    /// The bases, one for each architecture, os, release and recipe; sorted by these.
    pub bases: Vec<LockedBase>,
    /// The stages, sorted by name.
    pub stages: Vec<LockedStage>,
    /// The stages of those of the project's targets that do not have the same, by the target's name.
    pub targets: BTreeMap<String, Vec<LockedStage>>,
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
    /// The digest of what was asked for ([`BaseSource::recipe`](crate::base::BaseSource::recipe)); absent where a pib
    /// that did not note it wrote the lock.
    pub recipe: Option<Digest>,
    /// What it is; absent until the first build has made it of the packages, or fetched it.
    pub made: Option<MadeBase>,
    /// Where it comes from, if pib does not make it itself.
    pub source: Option<String>,
    /// The packages that pib makes it of; absent where a pib that did not note them wrote the lock.
    pub snapshot: Option<BaseSnapshot>,
    /// The tarball that it is, where its owner has newer ones at the same address.
    pub tarball: Option<LockedTarball>,
}

/// What only somebody who has a base can tell of it. All of it follows from what the lock says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MadeBase {
    /// The digest of its root file system.
    pub digest: Digest,
    /// No file of an image is newer than this: the time of the base's newest, in seconds since 1970.
    pub epoch: u64,
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
    /// The key of its publisher, where they sign what they publish.
    pub publisher: Option<RegistryKey>,
    /// Its hook.
    pub hook: Option<HookRef>,
    /// The stages that it needs, sorted; there is one version of each.
    pub dependencies: Vec<StageName>,
}
