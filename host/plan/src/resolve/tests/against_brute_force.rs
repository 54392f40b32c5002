//! Holds the resolver against a solver that tries everything, and its answers against the definitions.

use proptest::prelude::*;
use proptest::sample::{Index as Pick, select, subsequence};

use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0-rc.1", "0.2.0", "1.0.0", "1.1.0", "2.0.0-beta.2", "2.0.0+build"];
const REQUIREMENTS: [&str; 14] = [
    "*",
    "^0.1",
    "^0.2.0-rc.1",
    "^1",
    "=1.0.0",
    "<2",
    ">=1.1",
    "^2.0.0-beta.1",
    ">=0.2.0-rc.0, <1",
    "~1.1",
    "<=2.0.0",
    "=3.0.0",
    ">1.0.0",
    "2.0.0-beta.2",
];
/// What a version can be built for; some of it is what the request is for.
const LIMITS: [&str; 8] = [
    "arch armv6",
    "arch arm64|armv6",
    "for arch",
    "for debian|arch",
    "board rpi3",
    "board rpi3|rpi4",
    "pib >=0.2",
    "pib ^0.1; arch arm64",
];

#[derive(Clone)]
struct Case {
    /// What there is, and where.
    offers: Vec<(SourceId, IndexEntry)>,
    request: ResolveRequest,
    /// Asked for beside the rest once the rest is locked.
    added: Root,
}

type Build<'a> = BTreeMap<&'a StageName, &'a IndexEntry>;

fn elsewhere() -> SourceId {
    SourceId::registry("https://acme.example").unwrap()
}

fn any_requirements(most: usize) -> impl Strategy<Value = Vec<(StageName, VersionReq)>> {
    let requirement =
        prop_oneof![2 => select(&["*", ">=0.1", "<=2.0.0"][..]), 1 => select(&REQUIREMENTS[..])];
    let one = (select(&NAMES[..]), requirement).prop_map(|(n, r)| (name(n), req(r)));
    proptest::collection::vec(one, 0..=most)
}

fn any_dependencies() -> impl Strategy<Value = Vec<(StageName, VersionReq)>> {
    prop_oneof![2 => any_requirements(1), 1 => any_requirements(2)]
}

fn any_entry(stage: &'static str, version: &'static str) -> impl Strategy<Value = IndexEntry> {
    let conflicts = prop_oneof![3 => Just(Vec::new()), 1 => any_requirements(2)];
    let limits = prop_oneof![9 => Just(""), 1 => select(&LIMITS[..])];
    (any_dependencies(), conflicts, prop::bool::weighted(0.13), limits).prop_map(
        move |(deps, conflicts, yanked, limits)| {
            let mut made = entry(&format!("{stage} {version}: {limits}"));
            made.deps = deps.into_iter().collect();
            made.conflicts = conflicts.into_iter().collect();
            made.yanked = yanked;
            made
        },
    )
}

fn any_versions(stage: &'static str, most: usize) -> impl Strategy<Value = Vec<IndexEntry>> {
    subsequence(&VERSIONS[..], 0..=most)
        .prop_flat_map(move |versions| versions.into_iter().map(|v| any_entry(stage, v)).collect::<Vec<_>>())
}

fn any_offers() -> impl Strategy<Value = Vec<(SourceId, IndexEntry)>> {
    let stage = |stage: &'static str| {
        (any_versions(stage, 5), any_versions(stage, 2)).prop_map(|(bundled, other)| {
            let bundled = bundled.into_iter().map(|entry| (SourceId::bundled(), entry));
            bundled.chain(other.into_iter().map(|entry| (elsewhere(), entry))).collect::<Vec<_>>()
        })
    };
    NAMES.map(stage).prop_map(|stages| stages.into_iter().flatten().collect())
}

fn any_root() -> impl Strategy<Value = Root> {
    let requirement = prop_oneof![
        3 => Just(Some("*")),
        5 => select(&REQUIREMENTS[..8]).prop_map(Some),
        1 => Just(None),
    ];
    (select(&NAMES[..]), requirement).prop_map(|(stage, requirement)| Root {
        name: name(stage),
        requirement: requirement.map(req),
        source: None,
    })
}

fn any_update() -> impl Strategy<Value = Update> {
    let stage = || select(&NAMES[..]).prop_map(name);
    let version = select(&VERSIONS[..]).prop_map(|text| text.parse::<Version>().unwrap());
    prop_oneof![
        6 => Just(Update::None),
        1 => Just(Update::All),
        1 => proptest::collection::vec(stage(), 1..=2).prop_map(Update::Stages),
        1 => (stage(), version).prop_map(|(name, version)| Update::Precise(name, version)),
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    // Sometimes one stage comes from elsewhere: by a patch, or since the project says so.
    let moved = prop_oneof![2 => Just(None), 1 => (select(&NAMES[..]), any::<bool>()).prop_map(Some)];
    let roots = proptest::collection::vec(any_root(), 1..=3);
    // What is locked has often been withdrawn since.
    let locked = proptest::collection::vec((any::<Pick>(), prop::bool::weighted(0.4)), 0..5);
    (any_offers(), roots, moved, locked, any_update(), any_root()).prop_map(
        |(mut offers, mut roots, moved, locked, update, added)| {
            roots.sort_by(|a, b| a.name.cmp(&b.name));
            roots.dedup_by(|a, b| a.name == b.name);
            let mut request = ResolveRequest { roots, update, ..request(&[]) };
            match moved {
                Some((stage, true)) => drop(request.patches.insert(name(stage), elsewhere())),
                Some((stage, false)) => {
                    let root = request.roots.iter_mut().find(|root| root.name.as_str() == stage);
                    root.into_iter().for_each(|root| root.source = Some(elsewhere()));
                }
                None => {}
            }
            if !offers.is_empty() {
                let picked = locked.iter().map(|(pick, yanked)| {
                    let at = pick.index(offers.len());
                    let (source, entry) = &mut offers[at];
                    entry.yanked |= yanked;
                    let (name, version) = (entry.name.clone(), entry.vers.clone());
                    LockedVersion { name, version, source: source.clone() }
                });
                request.locked = picked.collect();
                request.locked.sort_by(|a, b| a.name.cmp(&b.name));
                request.locked.dedup_by(|a, b| a.name == b.name);
            }
            Case { offers, request, added }
        },
    )
}

/// Says what cargo's rule says of pre-releases, apart from the library that applies it: a requirement means one only
/// if it names a pre-release of the same three numbers.
fn fits(requirement: &VersionReq, version: &Version) -> bool {
    let same = |comparator: &semver::Comparator| {
        let numbers = (comparator.major, comparator.minor, comparator.patch);
        !comparator.pre.is_empty() && numbers == (version.major, Some(version.minor), Some(version.patch))
    };
    requirement.matches(version) && (version.pre.is_empty() || requirement.comparators.iter().any(same))
}

impl Case {
    fn index(&self) -> MemoryIndex {
        let mut index = index(&[]);
        index.close(elsewhere());
        for (source, entry) in &self.offers {
            index.push(entry.clone(), source.clone());
        }
        index
    }

    /// Returns where a stage comes from.
    fn place(&self, stage: &StageName) -> SourceId {
        let root = self.request.roots.iter().find(|root| root.name == *stage);
        let own = root.and_then(|root| root.source.clone());
        self.request.patches.get(stage).cloned().or(own).unwrap_or_else(SourceId::bundled)
    }

    /// Returns the version that an earlier resolution chose, where it is to stay.
    fn kept(&self, stage: &StageName) -> Option<&Version> {
        let moves = match &self.request.update {
            Update::None => false,
            Update::All => true,
            Update::Stages(names) => names.contains(stage),
            Update::Precise(name, _) => name == stage,
        };
        let place = self.place(stage);
        let mut locked = self.request.locked.iter();
        let locked = locked.find(|locked| locked.name == *stage && locked.source == place);
        locked.filter(|_| !moves).map(|locked| &locked.version)
    }

    /// Returns the versions of a stage that may be chosen.
    fn usable(&self, stage: &StageName) -> Vec<&IndexEntry> {
        let place = self.place(stage);
        let there = self.offers.iter().filter(|(source, entry)| *source == place && entry.name == *stage);
        there.map(|(_, entry)| entry).filter(|entry| self.is_usable(entry)).collect()
    }

    fn is_usable(&self, entry: &IndexEntry) -> bool {
        let has = |list: &Option<Vec<String>>, own: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|one| one == own))
        };
        let support = &entry.support;
        let supported = has(&support.os, "debian")
            && has(&support.boards, "rpi4")
            && support.arch.as_ref().is_none_or(|list| list.contains(&Arch::Arm64))
            && entry.pib.as_ref().is_none_or(|needed| needed.matches(&Version::new(0, 1, 0)));
        let asked_for = match &self.request.update {
            Update::Precise(name, version) if *name == entry.name => {
                Some(version.cmp_precedence(&entry.vers).is_eq())
            }
            _ => None,
        };
        let may_be_yanked = asked_for == Some(true) || self.kept(&entry.name) == Some(&entry.vers);
        supported
            && asked_for != Some(false)
            && (!entry.yanked || may_be_yanked)
            && !entry.deps.contains_key(&entry.name)
    }

    /// Judges a build by the definition alone.
    fn is_valid(&self, build: &Build<'_>, roots: &[Root]) -> bool {
        let has = |name: &StageName, req: &VersionReq| build.get(name).is_some_and(|e| fits(req, &e.vers));
        let excluded = |name: &StageName, req: &VersionReq| {
            build.get(name).is_some_and(|e| *req == VersionReq::STAR || fits(req, &e.vers))
        };
        roots.iter().all(|root| match &root.requirement {
            Some(requirement) => has(&root.name, requirement),
            None => build.contains_key(&root.name),
        }) && build.values().all(|entry| {
            self.is_usable(entry)
                && entry.deps.iter().all(|(name, req)| has(name, req))
                && !entry.conflicts.iter().any(|(name, req)| excluded(name, req))
        })
    }

    /// Tries every version, or none, of every stage.
    fn has_solution(&self, roots: &[Root]) -> bool {
        let choices: Vec<Vec<&IndexEntry>> = NAMES.map(|text| self.usable(&name(text))).into();
        self.try_all(&choices, &mut BTreeMap::new(), roots)
    }

    fn try_all<'a>(&self, left: &[Vec<&'a IndexEntry>], build: &mut Build<'a>, roots: &[Root]) -> bool {
        let Some((versions, left)) = left.split_first() else { return self.is_valid(build, roots) };
        if self.try_all(left, build, roots) {
            return true;
        }
        versions.iter().any(|entry| {
            build.insert(&entry.name, entry);
            let found = self.try_all(left, build, roots);
            build.remove(&entry.name);
            found
        })
    }

    /// Returns the case in which everything that was chosen is locked, and withdrawn since.
    fn locked_and_yanked(&self, resolution: &Resolution) -> Self {
        let mut case = self.clone();
        case.request.update = Update::None;
        let locked = resolution.stages.iter().map(|stage| LockedVersion {
            name: stage.name.clone(),
            version: stage.version.clone(),
            source: stage.source.clone(),
        });
        case.request.locked = locked.collect();
        for (source, entry) in &mut case.offers {
            let chosen = resolution.get(&entry.name);
            let chosen = chosen.is_some_and(|c| c.source == *source && c.version == entry.vers);
            entry.yanked |= chosen;
        }
        case
    }
}

/// Returns the names that can be reached from the roots.
fn reachable(build: &Build<'_>, roots: &[Root]) -> BTreeSet<StageName> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<StageName> = roots.iter().map(|root| root.name.clone()).collect();
    while let Some(next) = pending.pop() {
        if reached.insert(next.clone()) {
            pending.extend(build[&next].deps.keys().cloned());
        }
    }
    reached
}

fn own(resolution: &Resolution) -> impl Iterator<Item = &ResolvedStage> {
    resolution.stages.iter().filter(|stage| !stage.name.as_str().starts_with('_'))
}

fn versions(resolution: &Resolution) -> Vec<(&StageName, &Version)> {
    own(resolution).map(|stage| (&stage.name, &stage.version)).collect()
}

fn check(case: &Case, result: &Result<Resolution, ResolveError>) -> Result<(), TestCaseError> {
    let roots = &case.request.roots;
    match result {
        Err(ResolveError::Unsatisfiable { problems }) => {
            prop_assert!(!case.has_solution(roots), "the resolver missed a solution");
            check_problems(case, problems)
        }
        Err(ResolveError::NotInBuild { name, .. }) => {
            prop_assert!(case.has_solution(roots), "there is no solution, which is what should be told");
            let named = match &case.request.update {
                Update::Stages(names) => names.contains(name),
                Update::Precise(one, _) => one == name,
                Update::None | Update::All => false,
            };
            prop_assert!(named, "no update names `{name}`");
            Ok(())
        }
        Err(other) => Err(TestCaseError::fail(other.to_string())),
        Ok(resolution) => check_solution(case, resolution),
    }
}

/// Each problem is one by itself, and there are no others.
fn check_problems(case: &Case, problems: &[Problem]) -> Result<(), TestCaseError> {
    prop_assert!(!problems.is_empty());
    let roots = &case.request.roots;
    for problem in problems {
        let said = !problem.facts.is_empty() && !problem.requests.is_empty() && problem.help.is_some();
        prop_assert!(said, "{problem}");
        let blamed: Vec<Root> =
            roots.iter().filter(|root| problem.requests.contains(&root.name)).cloned().collect();
        prop_assert!(!case.has_solution(&blamed), "what is blamed goes together: {problem}");
    }
    let blamed = |root: &&Root| problems.iter().any(|problem| problem.requests.contains(&root.name));
    let rest: Vec<Root> = roots.iter().filter(|root| !blamed(root)).cloned().collect();
    prop_assert!(case.has_solution(&rest), "a problem was not told");
    Ok(())
}

/// The build is valid, holds nothing in vain, and no stage has moved, or is old, for nothing.
fn check_solution(case: &Case, resolution: &Resolution) -> Result<(), TestCaseError> {
    let roots = &case.request.roots;
    let build: Build<'_> = own(resolution).map(|stage| (&stage.name, stage.entry.as_ref())).collect();
    prop_assert!(case.is_valid(&build, roots), "{:?}", versions(resolution));
    let names: BTreeSet<StageName> = own(resolution).map(|stage| stage.name.clone()).collect();
    prop_assert_eq!(names, reachable(&build, roots), "a stage that nobody needs");
    for stage in own(resolution) {
        prop_assert_eq!(&stage.source, &case.place(&stage.name));
        let asking = build.values().filter(|entry| entry.deps.contains_key(&stage.name)).count();
        let asked = usize::from(roots.iter().any(|root| root.name == stage.name));
        prop_assert_eq!(stage.requested_by.len(), asking + asked, "who asks for {}", stage.name);
        let kept = case.kept(&stage.name);
        if kept == Some(&stage.version) {
            continue;
        }
        let better = |entry: &&IndexEntry| kept == Some(&entry.vers) || entry.vers > stage.version;
        for entry in case.usable(&stage.name).into_iter().filter(better) {
            let mut other = build.clone();
            other.insert(&entry.name, entry);
            prop_assert!(!case.is_valid(&other, roots), "{} {} would have done", entry.name, entry.vers);
        }
    }
    Ok(())
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (source, entry) in &self.offers {
            writeln!(f, "{source}: {}", serde_json::to_string(entry).unwrap_or_default())?;
        }
        for root in self.request.roots.iter().chain([&self.added]) {
            let requirement = root.requirement.as_ref().map(ToString::to_string);
            writeln!(f, "root {} {requirement:?} {:?}", root.name, root.source)?;
        }
        for locked in &self.request.locked {
            writeln!(f, "locked {} {} {}", locked.name, locked.version, locked.source)?;
        }
        writeln!(f, "patches {:?} update {:?}", self.request.patches, self.request.update)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn agrees_and_does_not_depend_on_any_order(
        (case, shuffled) in any_case().prop_flat_map(|case| {
            let offers = Just(case.offers.clone()).prop_shuffle();
            let roots = Just(case.request.roots.clone()).prop_shuffle();
            let locked = Just(case.request.locked.clone()).prop_shuffle();
            (Just(case), offers, roots, locked).prop_map(|(case, offers, roots, locked)| {
                let request = ResolveRequest { roots, locked, ..case.request.clone() };
                let added = case.added.clone();
                (case, Case { offers, request, added })
            })
        })
    ) {
        let result = resolve(&case.request, &case.index());
        prop_assert_eq!(&result, &resolve(&shuffled.request, &shuffled.index()));
        check(&case, &result)?;
        if let Ok(resolution) = &result {
            let mut locked = case.locked_and_yanked(resolution);
            let again = resolve(&locked.request, &locked.index());
            prop_assert_eq!(again.as_ref().map(versions), Ok(versions(resolution)), "a lock was not kept");
            // One more stage, as `pib add` asks for it: what must not move for it stays.
            if !locked.request.roots.iter().any(|root| root.name == case.added.name) {
                locked.request.roots.push(case.added.clone());
                check(&locked, &resolve(&locked.request, &locked.index()))?;
            }
        }
    }
}

#[test]
fn the_cases_are_of_all_kinds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let cases: Vec<Case> = (0..400).map(|_| any_case().new_tree(&mut runner).unwrap().current()).collect();
    let count = |test: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| test(case)).count();
    let solvable = count(&|case| case.has_solution(&case.request.roots));
    assert!((90..310).contains(&solvable), "{solvable} of 400 are solvable: the property would test little");
    let chosen = |test: &dyn Fn(&Case, &ResolvedStage) -> bool| {
        count(&|case| {
            let result = resolve(&case.request, &case.index());
            result.is_ok_and(|resolution| own(&resolution).any(|stage| test(case, stage)))
        })
    };
    let kinds = [
        ("pre-releases", chosen(&|_, stage| !stage.version.pre.is_empty())),
        ("yanked versions", chosen(&|_, stage| stage.entry.yanked)),
        ("stages from elsewhere", chosen(&|_, stage| stage.source == elsewhere())),
        ("kept versions", chosen(&|case, stage| case.kept(&stage.name) == Some(&stage.version))),
        ("conflicts", chosen(&|_, stage| !stage.entry.conflicts.is_empty())),
        ("limited versions", chosen(&|_, stage| !stage.entry.support.is_everything())),
    ];
    for (kind, number) in kinds {
        assert!(number > 3, "{kind}: only in {number} of 400 solutions");
    }
}
