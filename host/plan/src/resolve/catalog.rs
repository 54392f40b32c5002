//! The stages that a resolution has met so far: which versions are usable, and why the others are not.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use semver::{BuildMetadata, Prerelease, Version, VersionReq};

use super::picks::Picks;
use super::request::{Facts, ResolveRequest, Root, Update};
use crate::id::StageName;
use crate::index::{Candidate, Index, IndexEntry, IndexError, Offer, SourceId};
use crate::suggest;

/// The most work that a search may cost.
///
/// Finding versions that fit is as hard as any puzzle, and a registry may pose one that takes for ever. The unit is a
/// version that is looked at: the count is the same on every machine, which a time would not be.
const MAX_WORK: u64 = 300_000_000;

/// A stage's number within one resolution, in the order in which they were met.
pub(super) type StageId = u32;

/// Everything known of one stage.
pub(super) struct Known {
    pub(super) name: StageName,
    /// Where it comes from; the same for all of its dependents.
    pub(super) source: SourceId,
    /// Where else it was looked for, where no place has it.
    pub(super) elsewhere: Vec<SourceId>,
    /// The versions that may be chosen, lowest first.
    pub(super) usable: Vec<Usable>,
    /// The versions that may not, lowest first, each with the reasons.
    pub(super) refused: Vec<(Version, Vec<Refusal>)>,
    /// The position among the usable ones of what the lock holds.
    pub(super) preferred: Option<u32>,
}

/// A version that may be chosen.
pub(super) struct Usable {
    pub(super) version: Version,
    pub(super) source: SourceId,
    pub(super) entry: Arc<IndexEntry>,
}

/// A place, the others that were looked at, and the versions there.
type Found = (SourceId, Vec<SourceId>, Arc<[Candidate]>);

/// Why a version may not be chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// Its index line cannot be read; the text says why.
    Unreadable(String),
    /// An update asks for precisely another version.
    NotPrecise(Version),
    /// It needs another pib.
    Pib { needed: String, own: String },
    /// It supports only others of a kind (os, arch or board).
    Unsupported { kind: &'static str, wanted: String, supported: Vec<String> },
    /// It depends on itself, and so could never come first, or excludes itself.
    Contradictory,
    /// Its publisher withdrew it.
    Yanked(Option<String>),
}

/// Looks stages up once and remembers them.
pub(super) struct Catalog<'a, I> {
    request: &'a ResolveRequest,
    index: &'a I,
    roots: BTreeMap<&'a StageName, &'a Root>,
    met: RefCell<Vec<Rc<Known>>>,
    ids: RefCell<HashMap<StageName, StageId>>,
    /// How much the search has cost so far.
    work: Cell<u64>,
}

/// Returns whether a conflict with `requirement` excludes `version`; unlike for a dependency, `*` means any version.
pub(super) fn excludes(requirement: &VersionReq, version: &Version) -> bool {
    *requirement == VersionReq::STAR || requirement.matches(version)
}

impl Known {
    /// Returns how many versions may be chosen.
    pub(super) fn count(&self) -> u32 {
        self.usable.len().try_into().unwrap_or(u32::MAX)
    }

    /// Returns the usable versions that satisfy `requirement`; `None` takes all.
    pub(super) fn picks(&self, requirement: Option<&VersionReq>) -> Picks {
        Picks::matching(self.count(), |position| {
            let usable = self.usable.get(position as usize);
            usable.is_some_and(|usable| requirement.is_none_or(|asked| asked.matches(&usable.version)))
        })
    }

    /// Returns the usable version at `position`.
    pub(super) fn at(&self, position: u32) -> Option<&Usable> {
        self.usable.get(position as usize)
    }

    /// Returns where the stage was looked for, in a person's words.
    pub(super) fn places(&self) -> String {
        let places: Vec<String> =
            std::iter::once(&self.source).chain(&self.elsewhere).map(SourceId::describe).collect();
        places.join(" or ")
    }

    /// Returns whether the source has no version of it at all.
    pub(super) fn is_unknown(&self) -> bool {
        self.usable.is_empty() && self.refused.is_empty()
    }
}

impl<'a, I: Index> Catalog<'a, I> {
    pub(super) fn new(request: &'a ResolveRequest, index: &'a I) -> Self {
        let roots = request.roots.iter().map(|root| (&root.name, root)).collect();
        Self { request, index, roots, met: RefCell::default(), ids: RefCell::default(), work: Cell::new(0) }
    }

    /// Takes note of work that the search has cost.
    pub(super) fn spend(&self, work: u64) {
        self.work.set(self.work.get().saturating_add(work));
    }

    /// Returns whether the search has cost more than any real one.
    pub(super) fn is_spent(&self) -> bool {
        self.work.get() > MAX_WORK
    }

    /// Returns the number of `name`, looking it up if it is met for the first time.
    pub(super) fn id(&self, name: &StageName) -> Result<StageId, IndexError> {
        if let Some(id) = self.ids.borrow().get(name) {
            return Ok(*id);
        }
        let known = Rc::new(self.look_up(name)?);
        let mut met = self.met.borrow_mut();
        let id = StageId::try_from(met.len()).unwrap_or(StageId::MAX);
        met.push(known);
        self.ids.borrow_mut().insert(name.clone(), id);
        Ok(id)
    }

    /// Returns whether the project itself asks for `name`.
    pub(super) fn is_listed(&self, name: &StageName) -> bool {
        self.roots.contains_key(name)
    }

    /// Returns the number of `name` if it has been met.
    pub(super) fn met(&self, name: &StageName) -> Option<StageId> {
        self.ids.borrow().get(name).copied()
    }

    /// Returns what is known of a stage that has been met.
    pub(super) fn known(&self, id: StageId) -> Rc<Known> {
        Rc::clone(&self.met.borrow()[id as usize])
    }

    /// Returns the names to suggest instead of one that `source` does not have.
    pub(super) fn names(&self, source: &SourceId) -> Vec<StageName> {
        self.index.names(source)
    }

    fn look_up(&self, name: &StageName) -> Result<Known, IndexError> {
        let (source, elsewhere, versions) = self.find(name)?;
        let mut sorted: Vec<&Candidate> = versions.iter().collect();
        sorted.sort_by(|a, b| a.version.cmp(&b.version));
        let locked = self.locked_version(name, &source);
        let mut known = Known {
            name: name.clone(),
            source,
            elsewhere,
            usable: Vec::new(),
            refused: Vec::new(),
            preferred: None,
        };
        for candidate in sorted {
            match self.judge(name, candidate, locked) {
                Ok(entry) => {
                    if locked == Some(&candidate.version) {
                        known.preferred = Some(known.count());
                    }
                    let (version, source) = (candidate.version.clone(), candidate.source.clone());
                    known.usable.push(Usable { version, source, entry });
                }
                Err(refusals) => known.refused.push((candidate.version.clone(), refusals)),
            }
        }
        Ok(known)
    }

    /// Returns the first place that has the stage, with its versions; where none has, the first and the others.
    fn find(&self, name: &StageName) -> Result<Found, IndexError> {
        let places = self.request.places_of(name, self.roots.get(name).copied());
        for place in &places {
            let versions = self.index.versions(name, place)?;
            if !versions.is_empty() {
                return Ok((place.clone(), Vec::new(), versions));
            }
        }
        let mut places = places.into_iter();
        let first = places.next().unwrap_or_else(|| self.request.default_source.clone());
        Ok((first, places.collect(), Arc::new([])))
    }

    /// Returns the version to keep: what the lock holds, if it is from the same place and need not move.
    fn locked_version(&self, name: &StageName, source: &SourceId) -> Option<&'a Version> {
        let moves = match &self.request.update {
            Update::None => false,
            Update::All => true,
            Update::Stages(names) => names.contains(name),
            Update::Precise(moved, _) => moved == name,
        };
        let mut locked = self.request.locked.iter().filter(|_| !moves);
        let locked = locked.find(|locked| locked.name == *name && locked.source.satisfies(source))?;
        Some(&locked.version)
    }

    /// Returns the entry of a version that may be chosen, or why it may not.
    fn judge(
        &self,
        name: &StageName,
        candidate: &Candidate,
        locked: Option<&Version>,
    ) -> Result<Arc<IndexEntry>, Vec<Refusal>> {
        let mut asked_for = locked == Some(&candidate.version);
        if let Update::Precise(moved, version) = &self.request.update
            && moved == name
        {
            if bare(&candidate.version) != bare(version) {
                return Err(vec![Refusal::NotPrecise(version.clone())]);
            }
            asked_for = true;
        }
        let entry = match &candidate.offer {
            Offer::Entry(entry) => entry,
            Offer::Unreadable(reason) => return Err(vec![Refusal::Unreadable(reason.clone())]),
        };
        let mut refusals = unsupported(entry, &self.request.facts);
        let excludes_itself =
            entry.conflicts.get(name).is_some_and(|other| excludes(other, &candidate.version));
        if excludes_itself || entry.deps.contains_key(name) {
            refusals.push(Refusal::Contradictory);
        }
        if entry.yanked && !asked_for {
            refusals.push(Refusal::Yanked(entry.yank_reason.clone()));
        }
        if refusals.is_empty() { Ok(Arc::clone(entry)) } else { Err(refusals) }
    }
}

/// Returns what keeps a version from being built for `facts`.
fn unsupported(entry: &IndexEntry, facts: &Facts) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if let Some(needed) = &entry.pib {
        // A development build of pib 0.3 has what 0.3 has, though semver sorts it below.
        let release = Version { pre: Prerelease::EMPTY, ..facts.pib.clone() };
        if !needed.matches(&release) {
            refusals.push(Refusal::Pib { needed: needed.to_string(), own: facts.pib.to_string() });
        }
    }
    let archs = entry.support.arch.as_ref();
    let archs: Option<Vec<String>> = archs.map(|archs| archs.iter().map(ToString::to_string).collect());
    let checks = [
        ("os", facts.os.as_str(), entry.support.os.as_ref()),
        ("arch", facts.arch.as_str(), archs.as_ref()),
        ("board", facts.board.as_str(), entry.support.boards.as_ref()),
    ];
    for (kind, wanted, supported) in checks {
        if let Some(supported) = supported
            && !supported.iter().any(|one| one == wanted)
        {
            refusals.push(Refusal::Unsupported {
                kind,
                wanted: wanted.to_owned(),
                supported: supported.clone(),
            });
        }
    }
    refusals
}

/// Returns the version without its build metadata, which names no other version.
fn bare(version: &Version) -> Version {
    Version { build: BuildMetadata::EMPTY, ..version.clone() }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => f.write_str(reason),
            Self::NotPrecise(version) => write!(f, "not {version}, which the update asks for"),
            Self::Pib { needed, own } => write!(f, "needs pib {needed}, this is pib {own}"),
            Self::Unsupported { kind, wanted, supported } => {
                let only = suggest::list(supported.iter().map(String::as_str));
                write!(f, "does not support {kind} `{wanted}`, only {only}")
            }
            Self::Contradictory => f.write_str("depends on itself, or excludes itself"),
            Self::Yanked(None) => f.write_str("yanked by its publisher"),
            Self::Yanked(Some(reason)) => write!(f, "yanked by its publisher: {reason}"),
        }
    }
}
