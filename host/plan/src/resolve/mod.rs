//! Chooses one version of each stage.
//!
//! | module | what it does |
//! |---|---|
//! | `request` | what is asked for, and what the lock holds |
//! | `catalog` | looks stages up, and judges which of their versions may be chosen |
//! | `picks` | sets of versions |
//! | `solve` | hands both to the solver, and adds conflicts, which it does not know |
//! | `explain`, `unsupported`, `error` | say why there is no choice |
//! | `prefetch` | says what a resolution can ask of the index |
//! | `excess` | how far indexes may lead |

mod catalog;
mod error;
mod excess;
mod explain;
mod picks;
mod prefetch;
mod request;
mod solve;
#[cfg(test)]
mod tests;
mod unsupported;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::{Version, VersionReq};

pub use error::{Problem, ProblemKind, ResolveError};
pub use excess::{Excess, MAX_BYTES, MAX_DEPTH, MAX_STAGES, Measure};
pub use prefetch::Prefetch;
pub use request::{Facts, LockedVersion, ResolveRequest, Root, Update};

use crate::id::StageName;
use crate::index::{Index, IndexEntry, SourceId};
use crate::suggest;
use catalog::Catalog;
use solve::{Choices, Failure};

/// One version of each stage, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The choices, sorted by name.
    pub stages: Vec<ResolvedStage>,
}

/// The version that was chosen for a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedStage {
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
    pub fn get(&self, name: &StageName) -> Option<&ResolvedStage> {
        let position = self.stages.binary_search_by(|resolved| resolved.name.cmp(name)).ok()?;
        self.stages.get(position)
    }
}

/// Chooses one version of each stage that the project needs.
///
/// The result depends on the request and the index only, not on the order of either's parts: the locked version
/// where it still fits and need not move, else the highest that goes together with the others.
///
/// # Errors
/// When no choice fits (each problem is explained), the index has no answer, or an update names a stage that is
/// not in the build.
pub fn resolve(request: &ResolveRequest, index: &impl Index) -> Result<Resolution, ResolveError> {
    resolve_unless(request, index, &|| false)
}

/// Does what [`resolve`] does, but stops soon after `cancelled` returns `true`.
///
/// # Errors
/// As [`resolve`], and [`ResolveError::Cancelled`].
pub fn resolve_unless(
    request: &ResolveRequest,
    index: &impl Index,
    cancelled: &dyn Fn() -> bool,
) -> Result<Resolution, ResolveError> {
    let catalog = Catalog::new(request, index);
    let roots = request.all_roots();
    let choices = choose(&catalog, &roots, cancelled)?;
    let resolution = describe(request, &catalog, &roots, &choices);
    check_update(request, &resolution)?;
    Ok(resolution)
}

/// Solves, and where that fails takes the requests at fault away and solves again, so that problems which have
/// nothing to do with each other are all told at once.
fn choose<I: Index>(
    catalog: &Catalog<'_, I>,
    roots: &[Root],
    cancelled: &dyn Fn() -> bool,
) -> Result<Choices, ResolveError> {
    let mut stories = Vec::new();
    let mut left = Vec::new();
    let unsatisfiable = |stories| {
        let problems = explain::problems(catalog, stories);
        Err(ResolveError::Unsatisfiable { problems })
    };
    for root in roots {
        let id = catalog.id(&root.name)?;
        match explain::explain_root(catalog, root, id) {
            Some(story) => stories.push(story),
            None => left.push(root.clone()),
        }
    }
    loop {
        match solve::solve(catalog, &left, cancelled) {
            Ok(choices) if stories.is_empty() => return Ok(choices),
            Ok(_) => return unsatisfiable(stories),
            Err(Failure::Index(error)) => return Err(error.into()),
            Err(Failure::Cancelled) => return Err(ResolveError::Cancelled),
            Err(Failure::TooHard) => return Err(ResolveError::TooHard),
            Err(Failure::Unsatisfiable(tree)) => {
                let (story, at_fault) = explain::explain(catalog, &left, &tree);
                stories.push(story);
                let before = left.len();
                left.retain(|root| !at_fault.contains(&root.name));
                if left.len() == before {
                    return unsatisfiable(stories);
                }
            }
        }
    }
}

fn describe<I: Index>(
    request: &ResolveRequest,
    catalog: &Catalog<'_, I>,
    roots: &[Root],
    choices: &Choices,
) -> Resolution {
    let mut requests: BTreeMap<StageName, Vec<Request>> = BTreeMap::new();
    let listed: BTreeSet<&StageName> = request.roots.iter().map(|root| &root.name).collect();
    for root in roots {
        let by = if listed.contains(&root.name) { Requester::Project } else { Requester::EveryBuild };
        let requirement = root.requirement.clone();
        requests.entry(root.name.clone()).or_default().push(Request { by, requirement });
    }
    let mut stages = Vec::with_capacity(choices.len());
    for (id, position) in choices {
        let known = catalog.known(*id);
        let Some(usable) = known.at(*position) else { continue };
        for (needed, requirement) in &usable.entry.deps {
            let by = Requester::Stage(known.name.clone());
            let requirement = Some(requirement.clone());
            requests.entry(needed.clone()).or_default().push(Request { by, requirement });
        }
        stages.push(ResolvedStage {
            name: known.name.clone(),
            version: usable.version.clone(),
            source: usable.source.clone(),
            entry: Arc::clone(&usable.entry),
            requested_by: Vec::new(),
        });
    }
    stages.sort_by(|a, b| a.name.cmp(&b.name));
    for stage in &mut stages {
        stage.requested_by = requests.remove(&stage.name).unwrap_or_default();
        stage.requested_by.sort_by(|a, b| a.by.cmp(&b.by));
    }
    Resolution { stages }
}

fn check_update(request: &ResolveRequest, resolution: &Resolution) -> Result<(), ResolveError> {
    let named: &[StageName] = match &request.update {
        Update::None | Update::All => &[],
        Update::Stages(names) => names,
        Update::Precise(name, _) => std::slice::from_ref(name),
    };
    let Some(missing) = named.iter().find(|name| resolution.get(name).is_none()) else { return Ok(()) };
    let present = resolution.stages.iter().map(|stage| stage.name.as_str());
    let help = match suggest::nearest(missing.as_str(), present) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => format!("Add it with `pib add {missing}`, or see what there is with `pib tree`."),
    };
    Err(ResolveError::NotInBuild { name: missing.clone(), help })
}
