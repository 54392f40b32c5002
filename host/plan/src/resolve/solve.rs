//! Hands the stages to the solver.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError, VersionSet};
use semver::VersionReq;

use super::catalog::{Catalog, StageId, excludes};
use super::picks::Picks;
use super::request::Root;
use crate::index::{Index, IndexError};

/// The explanation that the solver gives for a failure.
pub(super) type Derivation = pubgrub::DerivationTree<Node, Picks, String>;

/// The version chosen for each stage, by its position among the usable ones.
pub(super) type Choices = BTreeMap<StageId, u32>;

/// What the solver takes for a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    /// The project.
    Root,
    /// A stage.
    Stage(StageId),
    /// Says which version of the stage is in the build, or that none is.
    ///
    /// The solver knows dependencies only. A conflict "`a` excludes `b` 1" becomes the dependency of `a` on any guard
    /// of `b` but 1; `b` in version 1 depends on its guard 1. The position after the last says that `b` is absent.
    Guard(StageId),
}

/// Why there are no choices.
pub(super) enum Failure {
    Index(IndexError),
    Cancelled,
    TooHard,
    Unsatisfiable(Box<Derivation>),
}

/// A failure to answer the solver.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("cancelled")]
    Cancelled,
    #[error("too hard")]
    TooHard,
}

/// What a decision costs that was taken before, beside the versions that are looked at: it was a dead end, and what the
/// solver learns there makes every further step longer.
const DEAD_END: u64 = 100_000;

struct Provider<'a, I> {
    catalog: &'a Catalog<'a, I>,
    roots: &'a [Root],
    asked: BTreeSet<StageId>,
    /// The stages whose conflicts are enforced.
    guarded: &'a BTreeSet<StageId>,
    /// What was decided already, perhaps for another version by now.
    decided: RefCell<HashSet<Node>>,
    cancelled: &'a dyn Fn() -> bool,
}

/// Chooses a version of each stage that `roots` need.
///
/// Conflicts are rare, and each costs the solver another package, so they are enforced only where the choices made
/// without them turn out to break one.
pub(super) fn solve<I: Index>(
    catalog: &Catalog<'_, I>,
    roots: &[Root],
    cancelled: &dyn Fn() -> bool,
) -> Result<Choices, Failure> {
    let mut asked = BTreeSet::new();
    for root in roots {
        asked.insert(catalog.id(&root.name).map_err(Failure::Index)?);
    }
    let mut guarded = BTreeSet::new();
    loop {
        let provider = Provider {
            catalog,
            roots,
            asked: asked.clone(),
            guarded: &guarded,
            decided: RefCell::default(),
            cancelled,
        };
        let choices = provider.choices()?;
        let broken = broken_conflicts(catalog, &choices).map_err(Failure::Index)?;
        // A guarded stage cannot break a conflict again; the check keeps the loop finite even so.
        let before = guarded.len();
        guarded.extend(broken);
        if guarded.len() == before {
            return Ok(choices);
        }
    }
}

fn broken_conflicts<I: Index>(
    catalog: &Catalog<'_, I>,
    choices: &Choices,
) -> Result<Vec<StageId>, IndexError> {
    let names: BTreeMap<_, _> =
        choices.iter().map(|(id, position)| (catalog.known(*id).name.clone(), (*id, *position))).collect();
    let mut broken = Vec::new();
    for (id, position) in choices {
        let known = catalog.known(*id);
        let Some(usable) = known.at(*position) else { continue };
        for (other, requirement) in &usable.entry.conflicts {
            let Some((other, position)) = names.get(other) else { continue };
            let chosen = catalog.known(*other);
            if chosen.at(*position).is_some_and(|chosen| excludes(requirement, &chosen.version)) {
                broken.push(*other);
            }
        }
    }
    Ok(broken)
}

impl<I: Index> Provider<'_, I> {
    fn choices(&self) -> Result<Choices, Failure> {
        match pubgrub::resolve(self, Node::Root, 0_u32) {
            Ok(selected) => Ok(selected
                .into_iter()
                .filter_map(|(node, position)| match node {
                    Node::Stage(id) => Some((id, position)),
                    Node::Root | Node::Guard(_) => None,
                })
                .collect()),
            Err(PubGrubError::NoSolution(tree)) => Err(Failure::Unsatisfiable(Box::new(tree))),
            Err(
                PubGrubError::ErrorRetrievingDependencies { source, .. }
                | PubGrubError::ErrorChoosingVersion { source, .. }
                | PubGrubError::ErrorInShouldCancel(source),
            ) => Err(match source {
                ProviderError::Index(error) => Failure::Index(error),
                ProviderError::Cancelled => Failure::Cancelled,
                ProviderError::TooHard => Failure::TooHard,
            }),
        }
    }

    /// Returns how many positions a node has.
    fn count(&self, node: Node) -> u32 {
        match node {
            Node::Root => 1,
            Node::Stage(id) => self.catalog.known(id).count(),
            Node::Guard(id) => self.catalog.known(id).count().saturating_add(1),
        }
    }

    /// Returns the usable versions of a stage that satisfy a requirement.
    fn picks(&self, id: StageId, requirement: Option<&VersionReq>) -> Picks {
        let known = self.catalog.known(id);
        self.catalog.spend(known.count().into());
        known.picks(requirement)
    }

    fn needs_of_project(&self) -> Result<Vec<(Node, Picks)>, IndexError> {
        let needs = self.roots.iter().map(|root| {
            let id = self.catalog.id(&root.name)?;
            Ok((Node::Stage(id), self.picks(id, root.requirement.as_ref())))
        });
        needs.collect()
    }

    fn needs_of_stage(&self, id: StageId, position: u32) -> Result<Vec<(Node, Picks)>, IndexError> {
        let known = self.catalog.known(id);
        let Some(usable) = known.at(position) else { return Ok(Vec::new()) };
        let mut needs = Vec::new();
        for (name, requirement) in &usable.entry.deps {
            let needed = self.catalog.id(name)?;
            needs.push((Node::Stage(needed), self.picks(needed, Some(requirement))));
        }
        if self.guarded.contains(&id) {
            needs.push((Node::Guard(id), Picks::singleton(position)));
        }
        for (name, requirement) in &usable.entry.conflicts {
            // A stage that was never met is not in the build; looking it up would ask for more than was fetched.
            if let Some(other) = self.catalog.met(name)
                && self.guarded.contains(&other)
            {
                let known = self.catalog.known(other);
                self.catalog.spend(known.count().into());
                let allowed = Picks::matching(self.count(Node::Guard(other)), |position| {
                    known.at(position).is_none_or(|usable| !excludes(requirement, &usable.version))
                });
                needs.push((Node::Guard(other), allowed));
            }
        }
        Ok(needs)
    }
}

impl<I: Index> DependencyProvider for Provider<'_, I> {
    type P = Node;
    type V = u32;
    type VS = Picks;
    type M = String;
    type Err = ProviderError;
    type Priority = (bool, u32, bool, Reverse<u32>, Reverse<Node>);

    /// Decides first what is often in the way, then what the project asks for, then what has few choices left.
    ///
    /// Guards come last: whether a stage is absent is known when all stages are decided. The number at the end
    /// makes the order total, so that nothing depends on the solver's own tie-breaking.
    fn prioritize(
        &self,
        node: &Node,
        range: &Picks,
        statistics: &PackageResolutionStatistics,
    ) -> Self::Priority {
        let (is_stage, is_asked) = match node {
            Node::Root => (true, true),
            Node::Stage(id) => (true, self.asked.contains(id)),
            Node::Guard(_) => (false, false),
        };
        let count = range.count(self.count(*node));
        (is_stage, statistics.conflict_count() / 4, is_asked, Reverse(count), Reverse(*node))
    }

    fn choose_version(&self, node: &Node, range: &Picks) -> Result<Option<u32>, ProviderError> {
        let is_new = self.decided.borrow_mut().insert(*node);
        self.catalog.spend(if is_new { self.count(*node).into() } else { DEAD_END });
        let preferred = match node {
            Node::Stage(id) => self.catalog.known(*id).preferred,
            Node::Root | Node::Guard(_) => None,
        };
        let preferred = preferred.filter(|position| range.contains(position));
        Ok(preferred.or_else(|| range.highest(self.count(*node))))
    }

    fn get_dependencies(
        &self,
        node: &Node,
        position: &u32,
    ) -> Result<Dependencies<Node, Picks, String>, ProviderError> {
        let needs = match node {
            Node::Root => self.needs_of_project()?,
            Node::Stage(id) => self.needs_of_stage(*id, *position)?,
            Node::Guard(_) => Vec::new(),
        };
        Ok(Dependencies::Available(needs.into_iter().collect()))
    }

    fn should_cancel(&self) -> Result<(), ProviderError> {
        if (self.cancelled)() {
            return Err(ProviderError::Cancelled);
        }
        if self.catalog.is_spent() {
            return Err(ProviderError::TooHard);
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the project"),
            Self::Stage(id) => write!(f, "stage {id}"),
            Self::Guard(id) => write!(f, "guard {id}"),
        }
    }
}
