use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

/// Reads "a: b, >c, <d @0 cleanup": depends on b, after c, before d, listed first, of phase cleanup.
fn stage(text: &str) -> OrderInput {
    let (own, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut stage = OrderInput {
        name: name(own.trim()),
        phase: Phase::Normal,
        dependencies: Vec::new(),
        after: Vec::new(),
        before: Vec::new(),
        listed: None,
    };
    for word in rest.split([',', ' ']).filter(|word| !word.is_empty()) {
        match (word, word.split_at(1)) {
            ("init", _) => stage.phase = Phase::Init,
            ("cleanup", _) => stage.phase = Phase::Cleanup,
            (_, (">", other)) => stage.after.push(name(other)),
            (_, ("<", other)) => stage.before.push(name(other)),
            (_, ("@", position)) => stage.listed = Some(position.parse().unwrap()),
            _ => stage.dependencies.push(name(word)),
        }
    }
    stage
}

fn ordered(texts: &[&str]) -> BuildOrder {
    order(&texts.iter().map(|text| stage(text)).collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error}"))
}

fn names(texts: &[&str]) -> String {
    ordered(texts).names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn error(texts: &[&str]) -> String {
    order(&texts.iter().map(|text| stage(text)).collect::<Vec<_>>()).unwrap_err().to_string()
}

#[test]
fn the_common_case() {
    let all = [
        "watchdog: os @1",
        "ro: os >watchdog >rootssh @0",
        "__cleanup__: cleanup",
        "rootssh: os @2",
        "os:",
        "__init__: init",
    ];
    assert_eq!(names(&all), "__init__ os watchdog rootssh ro __cleanup__");
}

#[test]
fn ties_go_by_the_manifest_then_by_name() {
    assert_eq!(names(&["a: @2", "b: @0", "c: @1"]), "b c a");
    assert_eq!(names(&["c:", "b:", "a:", "z: @0"]), "z a b c");
}

#[test]
fn an_unlisted_stage_comes_just_ahead_of_the_first_that_needs_it() {
    assert_eq!(names(&["a: @0", "b: lib @1", "c: lib @2", "lib:"]), "a lib b c");
    assert_eq!(names(&["a: @0", "b: y @1", "y: x", "x:", "c: x @2"]), "a x y b c");
    assert_eq!(names(&["a: z @0", "z: @1", "y: @2"]), "z a y");
}

#[test]
fn soft_order_needs_the_other_stage() {
    assert_eq!(names(&["a: >missing @0", "b: <gone @1"]), "a b");
    assert_eq!(names(&["a: >b @0", "b: @1"]), "b a");
    assert_eq!(names(&["a: @0", "b: <a @1"]), "b a");
}

#[test]
fn a_cycle_names_its_edges_and_who_asked() {
    assert_eq!(
        error(&["a: b, >x", "b: c", "c: >a", "d: a", "x:"]),
        "stages `a`, `c`, `b` would each have to come before the next, in a circle\n  \
         - `c` says that it comes after `a`\n  - `b` depends on `c`\n  - `a` depends on `b`"
    );
    assert_eq!(
        error(&["a: <a"]),
        "stage `a` would have to come before itself\n  - `a` says that it comes before `a`"
    );
    let two = error(&["a: b", "b: a", "x: <y", "y: <x"]);
    assert_eq!(two.matches("in a circle").count(), 2, "{two}");
}

#[test]
fn edges_against_the_phases_name_both_stages() {
    assert_eq!(
        error(&["a: tidy", "tidy: cleanup"]),
        "the order of stages contradicts their phases\n  - `a` depends on `tidy`, but `tidy` is of phase cleanup and `a` of \
         phase normal, which comes earlier"
    );
    assert!(error(&["a: <base", "base: init"]).contains("`a` says that it comes before `base`"));
}

#[test]
fn missing_and_double_stages_are_told() {
    assert!(error(&["a: b"]).contains("`a` depends on `b`, which is not in the build"));
    assert!(error(&["a:", "a:"]).contains("`a` is in the build twice"));
}

#[test]
fn it_tells_why() {
    let all = ["__init__: init", "a: lib @0", "b: >c @1", "c: @2", "d: @3", "lib:", "m:", "n:"];
    let order = ordered(&all);
    let why = |first: &str, second: &str| order.why(&name(first), &name(second)).map(|why| why.to_string());
    assert_eq!(why("lib", "a").unwrap(), "`a` depends on `lib`");
    assert_eq!(why("a", "lib"), None);
    assert_eq!(why("a", "nowhere"), None);
    assert_eq!(why("__init__", "d").unwrap(), "phase init comes before phase normal");
    assert!(why("a", "c").unwrap().contains("pib.toml lists the first"));
    assert!(why("m", "n").unwrap().contains("names"));
    assert_eq!(why("c", "b").unwrap(), "`b` says that it comes after `c`");
    let order = ordered(&["a: >z @0", "b: @1", "z: @2"]);
    assert_eq!(
        order.why(&name("b"), &name("a")),
        Some(Why::Waits(Edge { first: name("z"), second: name("a"), reason: Reason::After }))
    );
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn any_stages() -> impl Strategy<Value = Vec<OrderInput>> {
    let some = || proptest::collection::vec(select(&NAMES[..]).prop_map(name), 0..=1);
    let phase = prop_oneof![1 => Just(Phase::Init), 6 => Just(Phase::Normal), 1 => Just(Phase::Cleanup)];
    let one = (phase, some(), some(), some(), any::<bool>());
    (proptest::collection::vec(one, 1..=8), Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle()).prop_map(
        |(all, positions)| {
            let present: Vec<StageName> = NAMES.iter().take(all.len()).map(|text| name(text)).collect();
            let stage = |(at, (phase, mut dependencies, after, before, is_listed)): (
                usize,
                (_, Vec<StageName>, _, _, bool),
            )| {
                dependencies.retain(|needed| present.contains(needed));
                let listed = is_listed.then(|| positions[at]);
                OrderInput { name: present[at].clone(), phase, dependencies, after, before, listed }
            };
            all.into_iter().enumerate().map(stage).collect()
        },
    )
}

/// Returns every "first before second" that the stages ask for, read straight from the input.
fn demands(stages: &[OrderInput]) -> BTreeSet<(StageName, StageName)> {
    let mut demands = BTreeSet::new();
    for stage in stages {
        let own = || stage.name.clone();
        demands.extend(stage.dependencies.iter().chain(&stage.after).map(|first| (first.clone(), own())));
        demands.extend(stage.before.iter().map(|second| (own(), second.clone())));
    }
    let present = |name: &StageName| stages.iter().any(|stage| stage.name == *name);
    demands.retain(|(first, second)| present(first) && present(second));
    demands
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_order_is_valid_and_independent_of_the_input(
        (stages, shuffled) in any_stages().prop_flat_map(|stages| (Just(stages.clone()), Just(stages).prop_shuffle()))
    ) {
        let result = order(&stages).map(BuildOrder::into_names);
        prop_assert_eq!(&result, &order(&shuffled).map(BuildOrder::into_names));
        let demands = demands(&stages);
        let phase = |name: &StageName| stages.iter().find(|stage| stage.name == *name).unwrap().phase;
        match result {
            Ok(names) => {
                prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), stages.len());
                let place = |wanted: &StageName| names.iter().position(|name| name == wanted).unwrap();
                for (first, second) in &demands {
                    prop_assert!(place(first) < place(second), "{first} before {second} in {names:?}");
                }
                prop_assert!(names.windows(2).all(|pair| phase(&pair[0]) <= phase(&pair[1])));
                // The second of two neighbours was free to come first, unless it had to follow the other.
                let listed = |name: &StageName| stages.iter().find(|stage| stage.name == *name).unwrap().listed;
                for pair in names.windows(2).filter(|pair| phase(&pair[0]) == phase(&pair[1])) {
                    if !demands.contains(&(pair[0].clone(), pair[1].clone())) {
                        let (first, second) = (listed(&pair[0]), listed(&pair[1]));
                        prop_assert!(first.zip(second).is_none_or(|(first, second)| first < second), "{names:?}");
                    }
                }
                let ordered = order(&stages).unwrap();
                for (at, first) in names.iter().enumerate() {
                    prop_assert!(names[at + 1..].iter().all(|second| ordered.why(first, second).is_some()));
                }
            }
            Err(OrderError::Cycle { cycles }) => {
                prop_assert!(!cycles.is_empty());
                for Cycle { edges } in cycles {
                    for (edge, next) in edges.iter().zip(edges.iter().cycle().skip(1)) {
                        prop_assert_eq!(&edge.second, &next.first, "the edges do not form a circle");
                        prop_assert!(demands.contains(&(edge.first.clone(), edge.second.clone())));
                    }
                    let distinct: BTreeSet<_> = edges.iter().map(|edge| &edge.first).collect();
                    prop_assert_eq!(distinct.len(), edges.len(), "a stage stands in the circle twice");
                }
            }
            Err(OrderError::AgainstPhases { edges }) => {
                prop_assert!(edges.iter().all(|(edge, ..)| phase(&edge.first) > phase(&edge.second)));
                let expected = demands.iter().filter(|(first, second)| phase(first) > phase(second)).count();
                let told: BTreeSet<_> = edges.iter().map(|(edge, ..)| (&edge.first, &edge.second)).collect();
                prop_assert_eq!(told.len(), expected);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn the_cases_are_of_all_kinds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let results = (0..300).map(|_| order(&any_stages().new_tree(&mut runner).unwrap().current()));
    let (mut fine, mut cycles, mut against) = (0, 0, 0);
    for result in results {
        match result {
            Ok(_) => fine += 1,
            Err(OrderError::Cycle { .. }) => cycles += 1,
            Err(_) => against += 1,
        }
    }
    assert!(
        fine > 50 && cycles > 30 && against > 30,
        "{fine} fine, {cycles} cycles, {against} against phases"
    );
}
