//! What a resolution is asked for.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};

use crate::id::{Arch, CLEANUP, INIT, StageName};
use crate::index::SourceId;

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
    /// Where it comes from if the default source does not have it: the first of these that does.
    pub further_sources: Vec<SourceId>,
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

impl ResolveRequest {
    /// Returns where `name` comes from in this build: a patch first, then what the project says, then the first of the
    /// default source and the further ones that has it.
    pub fn places_of(&self, name: &StageName, root: Option<&Root>) -> Vec<SourceId> {
        let own = root.and_then(|root| root.source.as_ref());
        match self.patches.get(name).or(own) {
            Some(placed) => vec![placed.clone()],
            None => std::iter::once(&self.default_source).chain(&self.further_sources).cloned().collect(),
        }
    }

    /// Returns what the project and every build ask for, by name.
    pub(crate) fn all_roots(&self) -> Vec<Root> {
        let mut roots = self.roots.clone();
        for name in [INIT, CLEANUP].into_iter().flat_map(str::parse::<StageName>) {
            if !roots.iter().any(|root| root.name == name) {
                let from_registry = self.places_of(&name, None).iter().all(SourceId::is_registry);
                let requirement = from_registry.then_some(VersionReq::STAR);
                roots.push(Root { name, requirement, source: None });
            }
        }
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        roots
    }
}
