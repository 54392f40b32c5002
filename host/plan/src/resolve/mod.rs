//! Chooses one version of each stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use semver::{Version, VersionReq};

use crate::id::{Arch, StageName};
use crate::index::{IndexEntry, SourceId};

/// Everything that decides a resolution, beside the index.
#[derive(Debug, Clone)]
pub struct ResolveRequest {
    /// What the project asks for; the order does not matter here.
    ///
    /// `__init__` and `__cleanup__` are asked for in every build, also where they are not listed.
    pub roots: Vec<Root>,
    /// Stages that come from elsewhere wherever they are asked for (`[patch]`).
    pub patches: BTreeMap<StageName, SourceId>,
    /// Where a stage comes from that neither the project nor a patch places.
    pub default_source: SourceId,
    /// What the build is for.
    pub facts: Facts,
    /// What the lock holds.
    pub locked: Vec<LockedVersion>,
    /// Which of it may move.
    pub update: Update,
}

/// One stage that the project asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The stage.
    pub name: StageName,
    /// The versions that will do; `None` takes any, also a pre-release, as for a path or git stage.
    pub requirement: Option<VersionReq>,
    /// Where it comes from; `None` is the default source. It holds for the stage's other dependents too, as a
    /// build has one version of each stage.
    pub source: Option<SourceId>,
}

/// What a build is for: a version that does not support it is not available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The operating system, e.g. `debian`.
    pub os: String,
    /// The architecture.
    pub arch: Arch,
    /// The board, e.g. `rpi4`.
    pub board: String,
    /// The version of this pib.
    pub pib: Version,
}

/// One choice of an earlier resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedVersion {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// Where it came from.
    pub source: SourceId,
}

/// Which locked choices may move though they still fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Update {
    /// None: only what must.
    #[default]
    None,
    /// All.
    All,
    /// Those of these stages.
    Stages(Vec<StageName>),
    /// That of this stage, to exactly this version (which may be yanked).
    Precise(StageName, Version),
}

/// One version of each stage, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The choices, sorted by name.
    pub stages: Vec<Resolved>,
}

/// The version that was chosen for a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The stage.
    pub name: StageName,
    /// The version.
    pub version: Version,
    /// Where it comes from, for git with the commit.
    pub source: SourceId,
    /// What the index knows of it.
    pub entry: Arc<IndexEntry>,
    /// Who asked for it; never empty. The project comes first, then stages by name.
    pub requested_by: Vec<Request>,
}

/// One reason why a stage is in the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub by: Requester,
    /// For which versions; `None` is any.
    pub requirement: Option<VersionReq>,
}

/// Who asks for a stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requester {
    /// `pib.toml`.
    Project,
    /// Every build has it.
    EveryBuild,
    /// Another stage of the build.
    Stage(StageName),
}

impl Resolution {
    /// Returns the choice for `name`.
    pub fn get(&self, name: &StageName) -> Option<&Resolved> {
        let position = self.stages.binary_search_by(|resolved| resolved.name.cmp(name)).ok()?;
        self.stages.get(position)
    }
}
