//! Small builds written as text, and the order that comes of them.

mod against_definition;

use super::*;
use crate::metadata::Phase;

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

/// Reads "a: b, >c, <d +e @0 cleanup": depends on b, after c, before d, after e by the project, listed first, of phase cleanup.
fn stage(text: &str) -> OrderInput {
    let (own, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut stage = OrderInput {
        name: name(own.trim()),
        phase: Phase::Normal,
        dependencies: Vec::new(),
        after: Vec::new(),
        before: Vec::new(),
        project_after: Vec::new(),
        listed: None,
    };
    for word in rest.split([',', ' ']).filter(|word| !word.is_empty()) {
        match (word, word.split_at(1)) {
            ("init", _) => stage.phase = Phase::Init,
            ("cleanup", _) => stage.phase = Phase::Cleanup,
            (_, (">", other)) => stage.after.push(name(other)),
            (_, ("<", other)) => stage.before.push(name(other)),
            (_, ("+", other)) => stage.project_after.push(name(other)),
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
fn the_project_has_its_say() {
    assert_eq!(names(&["a: +b @0", "b: @1"]), "b a");
    assert_eq!(names(&["a: +gone @0", "b: @1"]), "a b");
    let order = ordered(&["a: +b @0", "b: @1"]);
    assert_eq!(order.why(&name("b"), &name("a")).unwrap().to_string(), "pib.toml has `a` come after `b`");
    let circle = error(&["a: +b", "b: a"]);
    assert!(circle.contains("`b` depends on `a`\n  - pib.toml has `a` come after `b`"), "{circle}");
    assert!(
        error(&["a: +z", "z: cleanup"])
            .contains("pib.toml has `a` come after `z`, but `z` is of phase cleanup")
    );
}

#[test]
fn it_tells_what_of_a_list_cannot_be() {
    let order = ordered(&["a: >c @0", "b: @1", "c: @2"]);
    let list = ["a", "gone", "c", "b"].map(name);
    let told: Vec<String> =
        order.overruled(&list).iter().map(|(a, b, why)| format!("{a} {b}: {why}")).collect();
    assert_eq!(told[0], "a c: `a` says that it comes after `c`");
    assert!(told.len() == 2 && told[1].starts_with("c b: "), "{told:?}");
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
