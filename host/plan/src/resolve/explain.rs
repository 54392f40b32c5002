//! Turns the solver's derivation of a failure into sentences.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use pubgrub::{DerivationTree, External, VersionSet};
use semver::{Version, VersionReq};

use super::catalog::{Catalog, Known, Refusal, StageId};
use super::error::{Problem, ProblemKind};
use super::picks::Picks;
use super::request::Root;
use super::solve::{Derivation, Node};
use super::unsupported::{self, Unsupported};
use crate::id::StageName;
use crate::index::Index;
use crate::suggest;

/// How many versions a sentence lists before it only counts the rest.
const SHOWN: usize = 6;

/// "Somebody asks for some versions of a stage", the one kind of fact that failures are made of.
#[derive(Clone, PartialEq, Eq)]
struct Ask {
    /// Who: a stage in some of its usable versions, or the project.
    by: Option<(StageId, Vec<u32>)>,
    of: StageId,
    /// `None` is any version.
    requirement: Option<VersionReq>,
    /// Whether the versions are ruled out instead of asked for.
    excluded: bool,
}

/// The facts that one failure follows from.
pub(super) struct Story(Vec<Ask>);

/// Explains why a request of the project's has no usable version whatever the others are.
///
/// Returns `None` where it has one.
pub(super) fn explain_root<I: Index>(catalog: &Catalog<'_, I>, root: &Root, id: StageId) -> Option<Story> {
    if catalog.known(id).picks(root.requirement.as_ref()) != Picks::empty() {
        return None;
    }
    let ask = Ask { by: None, of: id, requirement: root.requirement.clone(), excluded: false };
    Some(Story(vec![ask]))
}

/// Tells the stories; those that all end at the same stage, of which no version can be used, are one problem.
pub(super) fn problems<I: Index>(catalog: &Catalog<'_, I>, stories: Vec<Story>) -> Vec<Problem> {
    let mut merged: Vec<(Option<StageId>, Vec<Ask>)> = Vec::new();
    for Story(asks) in stories {
        let end = match dead_ends(catalog, &asks).as_slice() {
            [DeadEnd::Unknown(id)] => Some(*id),
            [DeadEnd::Unusable(ask)] => Some(ask.of),
            _ => None,
        };
        match merged.iter_mut().find(|(known, _)| end.is_some() && *known == end) {
            Some((_, earlier)) => {
                let new = asks.into_iter().filter(|ask| !earlier.contains(ask)).collect::<Vec<_>>();
                earlier.extend(new);
            }
            None => merged.push((end, asks)),
        }
    }
    let by_cause = |(_, asks): &(Option<StageId>, Vec<Ask>)| match dead_ends(catalog, asks).as_slice() {
        [DeadEnd::Unusable(ask)] => unsupported::only_cause(&catalog.known(ask.of)),
        _ => None,
    };
    let mut left: Vec<(Option<Unsupported>, Vec<Ask>)> =
        merged.into_iter().map(|found| (by_cause(&found), found.1)).collect();
    let mut problems = Vec::new();
    while !left.is_empty() {
        let (cause, asks) = left.remove(0);
        let is_same = |other: &mut (Option<Unsupported>, Vec<Ask>)| cause.is_some() && other.0 == cause;
        let others: Vec<_> = left.extract_if(.., is_same).map(|(_, asks)| asks).collect();
        problems.push(match cause.filter(|_| !others.is_empty()) {
            Some(cause) => {
                unsupported_by_several(catalog, &cause, std::iter::once(asks).chain(others).collect())
            }
            None => problem(catalog, &outward(asks)),
        });
    }
    problems
}

/// Returns one problem of several that have the same cause, which it tells first.
fn unsupported_by_several<I: Index>(
    catalog: &Catalog<'_, I>,
    cause: &Unsupported,
    stories: Vec<Vec<Ask>>,
) -> Problem {
    let (mut stages, mut requests) = (BTreeMap::new(), BTreeSet::new());
    for asks in stories {
        for ask in dead_ends(catalog, &asks) {
            if let DeadEnd::Unusable(ask) = ask {
                let known = catalog.known(ask.of);
                stages.insert(known.name.clone(), known);
            }
        }
        let project = asks.iter().filter(|ask| ask.by.is_none());
        requests.extend(project.map(|ask| catalog.known(ask.of).name.clone()));
    }
    requests.retain(|name| catalog.is_listed(name));
    unsupported::problem(cause, &stages, requests.into_iter().collect())
}

/// Explains a failure that the solver derived; returns also which of `roots` take part in it.
pub(super) fn explain<I: Index>(
    catalog: &Catalog<'_, I>,
    roots: &[Root],
    tree: &Derivation,
) -> (Story, BTreeSet<StageName>) {
    let mut asks: Vec<Ask> = Vec::new();
    for external in externals(tree) {
        for ask in asks_of(catalog, roots, external) {
            if !asks.contains(&ask) {
                asks.push(ask);
            }
        }
    }
    let of_project = asks.iter().filter(|ask| ask.by.is_none());
    let at_fault = of_project.map(|ask| catalog.known(ask.of).name.clone()).collect();
    (Story(outward(asks)), at_fault)
}

/// Returns the facts at the leaves of the tree, each once.
fn externals(tree: &Derivation) -> Vec<&External<Node, Picks, String>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut pending = vec![tree];
    while let Some(next) = pending.pop() {
        match next {
            DerivationTree::External(external) => found.push(external),
            DerivationTree::Derived(derived) => {
                // Shared causes would otherwise be walked once for every path to them.
                for cause in [&derived.cause2, &derived.cause1] {
                    if seen.insert(Arc::as_ptr(cause)) {
                        pending.push(cause);
                    }
                }
            }
        }
    }
    found
}

fn asks_of<I: Index>(
    catalog: &Catalog<'_, I>,
    roots: &[Root],
    external: &External<Node, Picks, String>,
) -> Vec<Ask> {
    let External::FromDependencyOf(by, of_versions, needed, _) = external else { return Vec::new() };
    match (by, needed) {
        (Node::Root, Node::Stage(of)) => {
            let name = &catalog.known(*of).name;
            let asked = roots.iter().filter(|root| root.name == *name);
            let ask = |root: &Root| Ask {
                by: None,
                of: *of,
                requirement: root.requirement.clone(),
                excluded: false,
            };
            asked.map(ask).collect()
        }
        (Node::Stage(by), Node::Stage(of)) => grouped(catalog, *by, of_versions, *of, false),
        (Node::Stage(by), Node::Guard(of)) => grouped(catalog, *by, of_versions, *of, true),
        _ => Vec::new(),
    }
}

/// Returns what the given versions of `by` ask of `of`, one fact for each different requirement.
fn grouped<I: Index>(
    catalog: &Catalog<'_, I>,
    by: StageId,
    versions: &Picks,
    of: StageId,
    excluded: bool,
) -> Vec<Ask> {
    let (asking, asked) = (catalog.known(by), catalog.known(of));
    let mut groups: Vec<(VersionReq, Vec<u32>)> = Vec::new();
    for position in (0..asking.count()).filter(|position| versions.contains(position)) {
        let Some(usable) = asking.at(position) else { continue };
        let requirements = if excluded { &usable.entry.conflicts } else { &usable.entry.deps };
        // A guard stands both for "conflicts with" and for "is in this version"; only the first is a fact to tell.
        let Some(requirement) = requirements.get(&asked.name) else { continue };
        match groups.iter_mut().find(|(known, _)| known == requirement) {
            Some((_, positions)) => positions.push(position),
            None => groups.push((requirement.clone(), vec![position])),
        }
    }
    let ask = |(requirement, positions)| Ask {
        by: Some((by, positions)),
        of,
        requirement: Some(requirement),
        excluded,
    };
    groups.into_iter().map(ask).collect()
}

/// Sorts facts so that each stage's own are told after it was asked for: from the project outward.
fn outward(mut asks: Vec<Ask>) -> Vec<Ask> {
    let mut sorted = Vec::with_capacity(asks.len());
    let mut reached = BTreeSet::new();
    let mut pending = VecDeque::from([None]);
    while let Some(by) = pending.pop_front() {
        let (now, later): (Vec<_>, Vec<_>) =
            asks.into_iter().partition(|ask| ask.by.as_ref().map(|(id, _)| *id) == by);
        asks = later;
        for ask in &now {
            if !ask.excluded && reached.insert(ask.of) {
                pending.push_back(Some(ask.of));
            }
        }
        sorted.extend(now);
    }
    sorted.extend(asks);
    sorted
}

fn problem<I: Index>(catalog: &Catalog<'_, I>, asks: &[Ask]) -> Problem {
    let mut facts: Vec<String> = asks.iter().map(|ask| ask_sentence(catalog, ask)).collect();
    let mut told = BTreeSet::new();
    for ask in asks.iter().filter(|ask| !ask.excluded) {
        if told.insert(ask.of) {
            facts.extend(version_sentences(ask.of, &catalog.known(ask.of), asks));
        }
    }
    let project = asks.iter().filter(|ask| ask.by.is_none());
    let requests: BTreeSet<StageName> = project
        .map(|ask| catalog.known(ask.of).name.clone())
        .filter(|name| catalog.is_listed(name))
        .collect();
    let (headline, help) = headline(catalog, asks);
    let kind = kind(catalog, asks);
    Problem { kind, headline, facts, help: Some(help), requests: requests.into_iter().collect() }
}

fn kind<I: Index>(catalog: &Catalog<'_, I>, asks: &[Ask]) -> ProblemKind {
    match dead_ends(catalog, asks).as_slice() {
        [DeadEnd::Unknown(_)] => ProblemKind::UnknownStage,
        [DeadEnd::Unusable(_)] => ProblemKind::NoUsableVersion,
        [DeadEnd::Conflict(..)] => ProblemKind::Conflict,
        _ => ProblemKind::Disagreement,
    }
}

/// Returns "`a` 1.0.0 asks for `b` ^2".
fn ask_sentence<I: Index>(catalog: &Catalog<'_, I>, ask: &Ask) -> String {
    let of = catalog.known(ask.of);
    let what = match &ask.requirement {
        Some(requirement) if *requirement != VersionReq::STAR => format!("`{}` {requirement}", of.name),
        _ if ask.excluded => format!("any `{}`", of.name),
        _ => format!("`{}`", of.name),
    };
    let Some((by, positions)) = &ask.by else {
        let who = if catalog.is_listed(&of.name) { "the project asks for" } else { "every build needs" };
        return format!("{who} {what}");
    };
    let by = catalog.known(*by);
    let several = positions.len() > 1;
    let who = if several && positions.len() == by.usable.len() {
        format!("every usable version of `{}`", by.name)
    } else {
        let versions: Vec<&Version> =
            positions.iter().rev().filter_map(|at| Some(&by.at(*at)?.version)).collect();
        format!("`{}` {}", by.name, version_list(&versions))
    };
    let plural = several && !who.starts_with("every");
    let verb = match (ask.excluded, plural) {
        (false, false) => "asks for",
        (false, true) => "ask for",
        (true, false) => "excludes",
        (true, true) => "exclude",
    };
    format!("{who} {verb} {what}")
}

/// Returns what is wrong with the versions of `known` that the asks would take.
fn version_sentences(id: StageId, known: &Known, asks: &[Ask]) -> Vec<String> {
    let asked: Vec<&Ask> = asks.iter().filter(|ask| !ask.excluded && ask.of == id).collect();
    let wanted = |version: &Version| {
        asked.iter().any(|ask| ask.requirement.as_ref().is_none_or(|req| req.matches(version)))
    };
    if known.is_unknown() {
        let places = std::iter::once(&known.source).chain(&known.elsewhere);
        return places.map(|place| format!("{} has no stage `{}`", place.describe(), known.name)).collect();
    }
    let mut by_reason: BTreeMap<&[Refusal], Vec<&Version>> = BTreeMap::new();
    for (version, refusals) in known.refused.iter().rev().filter(|(version, _)| wanted(version)) {
        by_reason.entry(refusals).or_default().push(version);
    }
    let mut reasons: Vec<_> = by_reason.into_iter().collect();
    reasons.sort_by(|(_, a), (_, b)| b.first().cmp(&a.first()));
    let sentence = |(refusals, versions): (&[Refusal], Vec<&Version>)| {
        let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        format!("`{}` {}: {}", known.name, version_list(&versions), refusals.join("; "))
    };
    let mut sentences: Vec<String> = reasons.into_iter().map(sentence).collect();
    let usable = known.usable.iter().map(|usable| &usable.version);
    let refused = known.refused.iter().map(|(version, _)| version);
    let mut all: Vec<&Version> = usable.chain(refused).collect();
    if !all.iter().any(|version| wanted(version)) {
        all.sort_by(|a, b| b.cmp(a));
        sentences.push(format!("{} has `{}` {}", known.source.describe(), known.name, version_list(&all)));
    }
    sentences
}

/// Where a chain of facts ends.
enum DeadEnd<'a> {
    /// A stage that is not there.
    Unknown(StageId),
    /// The first request for a stage that no usable version satisfies.
    Unusable(&'a Ask),
    /// Two stages that exclude each other.
    Conflict(StageId, StageId),
    /// A stage of which different versions are asked for.
    Disagreement(StageId),
}

/// Returns the line that says what is wrong, and the line that says what to do.
fn headline<I: Index>(catalog: &Catalog<'_, I>, asks: &[Ask]) -> (String, String) {
    let relax = "A build has one version of each stage: relax one of these requirements, or remove a stage.";
    match dead_ends(catalog, asks).as_slice() {
        [DeadEnd::Unknown(id)] => unknown(catalog, &catalog.known(*id)),
        [DeadEnd::Unusable(ask)] => {
            let known = catalog.known(ask.of);
            let only = wanted_of(asks, ask.of).all(|other| other.requirement == ask.requirement);
            let headline = match &ask.requirement {
                Some(requirement) if only && *requirement != VersionReq::STAR => {
                    format!("stage `{}` has no version {requirement} that this build can use", known.name)
                }
                _ => format!("stage `{}` has no version that this build can use", known.name),
            };
            let help = match &ask.by {
                _ if !known.source.is_registry() && !known.usable.is_empty() => format!(
                    "{} decides the version: set a fitting one in its stage.toml, or ask for the one that it has.",
                    capitalised(&known.source.describe())
                ),
                None => advice(&known, ask, catalog.is_listed(&known.name)),
                Some((by, _)) => format!(
                    "Take another version of `{}`, or have `{}` from a source with a version that fits.",
                    catalog.known(*by).name,
                    known.name
                ),
            };
            (headline, help)
        }
        [DeadEnd::Conflict(by, of)] => {
            let (by, of) = (catalog.known(*by), catalog.known(*of));
            let help = format!("Remove `{}` or `{}`, or take versions that go together.", by.name, of.name);
            (format!("stages `{}` and `{}` cannot be in one build", by.name, of.name), help)
        }
        [DeadEnd::Disagreement(id)] => {
            let headline =
                format!("no version of stage `{}` suits all who ask for it", catalog.known(*id).name);
            (headline, relax.to_owned())
        }
        _ => ("no choice of versions suits all who ask for them".to_owned(), relax.to_owned()),
    }
}

/// Returns the places where the facts lead nowhere; one of them alone makes a clear headline.
fn dead_ends<'a, I: Index>(catalog: &Catalog<'_, I>, asks: &'a [Ask]) -> Vec<DeadEnd<'a>> {
    let mut ends = Vec::new();
    let (mut seen, mut unusable) = (BTreeSet::new(), BTreeSet::new());
    for ask in asks {
        let known = catalog.known(ask.of);
        let picks = known.picks(ask.requirement.as_ref());
        if let (true, Some((by, _))) = (ask.excluded, &ask.by) {
            if seen.insert((Some(*by), ask.of)) {
                ends.push(DeadEnd::Conflict(*by, ask.of));
            }
        } else if known.is_unknown() {
            if seen.insert((None, ask.of)) {
                ends.push(DeadEnd::Unknown(ask.of));
            }
        } else if picks == Picks::empty() {
            if unusable.insert(ask.of) {
                ends.push(DeadEnd::Unusable(ask));
            }
        } else {
            let apart = wanted_of(asks, ask.of).any(|other| {
                let others = known.picks(other.requirement.as_ref());
                others != Picks::empty() && others.is_disjoint(&picks)
            });
            if apart && seen.insert((None, ask.of)) {
                ends.push(DeadEnd::Disagreement(ask.of));
            }
        }
    }
    ends
}

/// Returns the requests for a stage.
fn wanted_of(asks: &[Ask], of: StageId) -> impl Iterator<Item = &Ask> {
    asks.iter().filter(move |ask| ask.of == of && !ask.excluded)
}

fn unknown<I: Index>(catalog: &Catalog<'_, I>, known: &Known) -> (String, String) {
    let places = std::iter::once(&known.source).chain(&known.elsewhere);
    let names: Vec<StageName> = places.flat_map(|place| catalog.names(place)).collect();
    let near = suggest::nearest(known.name.as_str(), names.iter().map(StageName::as_str));
    let help = match near {
        Some(near) => format!("Did you mean `{near}`?"),
        None => {
            "Look for it with `pib search`, or say where it comes from: a registry, git or a path.".to_owned()
        }
    };
    (format!("there is no stage `{}` in {}", known.name, known.places()), help)
}

/// Returns what to do about a request of the project's that no usable version satisfies.
fn advice(known: &Known, ask: &Ask, is_listed: bool) -> String {
    let fits = |version: &Version| ask.requirement.as_ref().is_none_or(|req| req.matches(version));
    let mut refused = known.refused.iter().filter(|(version, _)| fits(version));
    let refusals: Vec<&Refusal> = refused.clone().flat_map(|(_, refusals)| refusals).collect();
    let mut usable = known.usable.iter().rev().map(|usable| &usable.version);
    if let Some(stable) = usable.clone().find(|version| version.pre.is_empty()) {
        return format!("Version {stable} can be used: ask for `{stable}` instead.");
    }
    if let Some(pre) = usable.next() {
        return format!("Only pre-releases can be used; they must be asked for by name, e.g. `{pre}`.");
    }
    if let Some(Refusal::NotPrecise(version)) = refusals.first() {
        return format!(
            "Check that `{}` has a version {version}, with `pib info {}`.",
            known.name, known.name
        );
    }
    if !is_listed {
        return "Every build needs this stage: build for something that it supports, or replace it by one of your own, \
                listed in [stages] with its `path`."
            .to_owned();
    }
    if refusals.iter().any(|refusal| matches!(refusal, Refusal::Unsupported { .. })) {
        return format!("Remove `{}`, or build for something that it supports.", known.name);
    }
    if refusals.iter().any(|refusal| matches!(refusal, Refusal::Pib { .. } | Refusal::Unreadable(_))) {
        return "Update pib, or ask for another version.".to_owned();
    }
    match refused.next_back() {
        Some((version, refusals)) if refusals.iter().any(|refusal| matches!(refusal, Refusal::Yanked(_))) => {
            format!(
                "Ask for another version, or take it anyway by `pib update {} --precise {version}`.",
                known.name
            )
        }
        _ => format!("Ask for another version of `{}`.", known.name),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Returns "1.2.0 and 1.0.0", or the first few and the number of the rest.
fn version_list(versions: &[&Version]) -> String {
    let texts: Vec<String> = versions.iter().take(SHOWN).map(ToString::to_string).collect();
    match (versions.len().saturating_sub(SHOWN), texts.split_last()) {
        (0, Some((last, []))) => last.clone(),
        (0, Some((last, rest))) => format!("{} and {last}", rest.join(", ")),
        (others, _) => format!("{} and {others} more", texts.join(", ")),
    }
}
