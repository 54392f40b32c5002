//! Holds the resolver against a solver that tries everything.

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

#[derive(Clone)]
struct Case {
    entries: Vec<IndexEntry>,
    request: ResolveRequest,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = |requirements: &crate::stage::Requirements| {
            requirements.iter().map(|(name, req)| format!("{name} {req}")).collect::<Vec<_>>().join(", ")
        };
        for e in &self.entries {
            let (deps, conflicts) = (texts(&e.deps), texts(&e.conflicts));
            let refused = e.support.arch.is_some();
            writeln!(f, "{} {}: {deps} ! {conflicts} yanked {} refused {refused}", e.name, e.vers, e.yanked)?;
        }
        for root in &self.request.roots {
            writeln!(f, "root {} {}", root.name, root.requirement.as_ref().unwrap())?;
        }
        for locked in &self.request.locked {
            writeln!(f, "locked {} {}", locked.name, locked.version)?;
        }
        Ok(())
    }
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
    (any_dependencies(), conflicts, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        move |(deps, conflicts, yanked, unsupported)| {
            let mut made = entry(&format!("{stage} {version}"));
            made.deps = deps.into_iter().collect();
            made.conflicts = conflicts.into_iter().collect();
            made.yanked = yanked;
            made.support.arch = unsupported.then(|| vec![Arch::Armv6]);
            made
        },
    )
}

fn any_entries() -> impl Strategy<Value = Vec<IndexEntry>> {
    let stage = |stage: &'static str| {
        subsequence(&VERSIONS[..], 0..=5).prop_flat_map(move |versions| {
            versions.into_iter().map(|v| any_entry(stage, v)).collect::<Vec<_>>()
        })
    };
    NAMES.map(stage).prop_map(|stages| stages.into_iter().flatten().collect())
}

fn any_case() -> impl Strategy<Value = Case> {
    let requirement = prop_oneof![Just("*"), select(&REQUIREMENTS[..8])];
    let roots = proptest::collection::btree_map(select(&NAMES[..]), requirement, 1..=3);
    (any_entries(), roots, proptest::collection::vec(any::<Pick>(), 0..3)).prop_map(
        |(entries, roots, locked)| {
            let mut request = request(&[]);
            request.roots = roots.into_iter().map(|(n, r)| root(&format!("{n} {r}"))).collect();
            if !entries.is_empty() {
                request.locked = locked
                    .iter()
                    .map(|pick| pick.get(&entries))
                    .map(|e| LockedVersion {
                        name: e.name.clone(),
                        version: e.vers.clone(),
                        source: SourceId::bundled(),
                    })
                    .collect();
                request.locked.sort_by(|a, b| a.name.cmp(&b.name));
                request.locked.dedup_by(|a, b| a.name == b.name);
            }
            Case { entries, request }
        },
    )
}

fn index_of(entries: &[IndexEntry]) -> MemoryIndex {
    let mut index = index(&[]);
    for entry in entries {
        index.push(entry.clone(), SourceId::bundled());
    }
    index
}

type Build<'a> = BTreeMap<&'a StageName, &'a IndexEntry>;

impl Case {
    fn is_usable(&self, entry: &IndexEntry) -> bool {
        let locked = self.request.locked.iter().any(|l| l.name == entry.name && l.version == entry.vers);
        entry.support.arch.is_none() && (!entry.yanked || locked) && !entry.deps.contains_key(&entry.name)
    }

    /// Judges a build by the definition alone.
    fn is_valid(&self, build: &Build<'_>) -> bool {
        let fits = |name: &StageName, req: &VersionReq| build.get(name).is_some_and(|e| req.matches(&e.vers));
        let excluded = |name: &StageName, req: &VersionReq| {
            build.get(name).is_some_and(|e| *req == VersionReq::STAR || req.matches(&e.vers))
        };
        self.request.roots.iter().all(|r| fits(&r.name, r.requirement.as_ref().unwrap()))
            && build.values().all(|entry| {
                self.is_usable(entry)
                    && entry.deps.iter().all(|(name, req)| fits(name, req))
                    && !entry.conflicts.iter().any(|(name, req)| excluded(name, req))
            })
    }

    /// Tries every version, or none, of every stage.
    fn has_solution(&self) -> bool {
        let mut builds: Vec<Build<'_>> = vec![BTreeMap::new()];
        for stage in NAMES.map(name) {
            let versions: Vec<_> =
                self.entries.iter().filter(|e| e.name == stage && self.is_usable(e)).collect();
            let without = builds.clone();
            for build in &without {
                builds.extend(versions.iter().map(|entry| {
                    let mut build = build.clone();
                    build.insert(&entry.name, *entry);
                    build
                }));
            }
        }
        builds.iter().any(|build| self.is_valid(build))
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

fn check(case: &Case, shuffled: &Case) -> Result<(), TestCaseError> {
    let result = resolve(&case.request, &index_of(&case.entries));
    prop_assert_eq!(&result, &resolve(&shuffled.request, &index_of(&shuffled.entries)));
    match &result {
        Err(ResolveError::Unsatisfiable { problems }) => {
            prop_assert!(!case.has_solution(), "the resolver missed a solution");
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(!problem.facts.is_empty() && !problem.requests.is_empty(), "{problem}");
            }
        }
        Err(other) => prop_assert!(false, "{other}"),
        Ok(resolution) => {
            let own = || resolution.stages.iter().filter(|stage| !stage.name.as_str().starts_with('_'));
            let build: Build<'_> = own().map(|stage| (&stage.name, stage.entry.as_ref())).collect();
            prop_assert!(
                case.is_valid(&build),
                "{:?}",
                own().map(|s| format!("{} {}", s.name, s.version)).collect::<Vec<_>>()
            );
            let names: BTreeSet<StageName> = own().map(|stage| stage.name.clone()).collect();
            prop_assert_eq!(names, reachable(&build, &case.request.roots), "a stage that nobody needs");
            prop_assert!(own().all(|stage| !stage.requested_by.is_empty()));
            let mut again = case.request.clone();
            let locked = resolution.stages.iter().map(|stage| LockedVersion {
                name: stage.name.clone(),
                version: stage.version.clone(),
                source: stage.source.clone(),
            });
            again.locked = locked.collect();
            let kept = resolve(&again, &index_of(&case.entries));
            prop_assert_eq!(Ok(resolution.clone()), kept, "a fitting lock was not kept");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn agrees_and_does_not_depend_on_any_order(
        (case, shuffled) in any_case().prop_flat_map(|case| {
            let entries = Just(case.entries.clone()).prop_shuffle();
            let roots = Just(case.request.roots.clone()).prop_shuffle();
            (Just(case), entries, roots).prop_map(|(case, entries, roots)| {
                let request = ResolveRequest { roots, ..case.request.clone() };
                (case, Case { entries, request })
            })
        })
    ) {
        check(&case, &shuffled)?;
    }
}

#[test]
fn the_cases_are_of_both_kinds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let solvable =
        (0..300).filter(|_| any_case().new_tree(&mut runner).unwrap().current().has_solution()).count();
    assert!((75..225).contains(&solvable), "{solvable} of 300 are solvable: the property would test little");
}
