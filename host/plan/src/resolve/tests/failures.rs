//! What people read when no versions fit.

use miette::Diagnostic;

use super::*;

#[track_caller]
fn assert_failure(request: &ResolveRequest, lines: &[&str], expected: &str) {
    let error = resolve(request, &index(lines)).expect_err("it resolves");
    let help = error.help().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    assert_eq!(format!("{error}{help}"), expected.trim());
}

#[test]
fn an_unknown_stage() {
    assert_failure(
        &request(&["watchdgo *"]),
        SMALL,
        r"
there is no stage `watchdgo` in the bundled registry
  - the project asks for `watchdgo`
  - the bundled registry has no stage `watchdgo`
help: Did you mean `watchdog`?",
    );
}

#[test]
fn several_problems_at_once() {
    assert_failure(
        &request(&["watchdgo *", "zzz ^1", "softdog ^3"]),
        SMALL,
        r"
cannot resolve the stages: 3 problems

stage `softdog` has no version ^3 that this build can use
  - the project asks for `softdog` ^3
  - the bundled registry has `softdog` 1.0.0
  help: Version 1.0.0 can be used: ask for `1.0.0` instead.

there is no stage `watchdgo` in the bundled registry
  - the project asks for `watchdgo`
  - the bundled registry has no stage `watchdgo`
  help: Did you mean `watchdog`?

there is no stage `zzz` in the bundled registry
  - the project asks for `zzz` ^1
  - the bundled registry has no stage `zzz`
  help: Look for it with `pib search`, or say where it comes from: a registry, git or a path.",
    );
}

/// Where one cause keeps several stages from being used, it is told once, and first.
#[test]
fn an_architecture_that_several_stages_do_not_support() {
    assert_failure(
        &request(&["a *", "b ^1", "c *"]),
        &["a 1.0.0: arch armv6", "a 1.1.0: arch armv6|armv7", "b 1.0.0: arch armv6", "c 1.0.0"],
        r"
arch `arm64`: no version of `a` or `b` supports it
  - `a` supports `armv6` and `armv7`
  - `b` supports `armv6`
help: Set `arch` in pib.toml to `armv6`, or replace these stages.",
    );
}

#[test]
fn causes_that_are_not_the_same_stay_apart() {
    let error = resolve(&request(&["a *", "b *"]), &index(&["a 1.0.0: arch armv6", "b 1.0.0: board rpi3"]));
    assert_eq!(error.unwrap_err().problems().len(), 2);
}

#[test]
fn two_conflicts_that_have_nothing_to_do_with_each_other() {
    assert_failure(
        &request(&["a *", "b *", "x *", "y *"]),
        &["a 1.0.0: c ^1", "b 1.0.0: c ^2", "c 1.0.0", "c 2.0.0", "x 1.0.0: !y *", "y 1.0.0"],
        r"
cannot resolve the stages: 2 problems

no version of stage `c` suits all who ask for it
  - the project asks for `a`
  - the project asks for `b`
  - `a` 1.0.0 asks for `c` ^1
  - `b` 1.0.0 asks for `c` ^2
  help: A build has one version of each stage: relax one of these requirements, or remove a stage.

stages `x` and `y` cannot be in one build
  - the project asks for `x`
  - the project asks for `y`
  - `x` 1.0.0 excludes any `y`
  help: Remove `x` or `y`, or take versions that go together.",
    );
}

#[test]
fn a_dependency_that_only_a_pre_release_would_satisfy() {
    assert_failure(
        &request(&["watchdog ^2", "ro *"]),
        SMALL,
        r"
stage `os` has no version ^2 that this build can use
  - the project asks for `watchdog` ^2
  - `watchdog` 2.0.0 asks for `os` ^2
  - the bundled registry has `os` 2.0.0-beta.1, 1.1.0 and 1.0.0
help: Take another version of `watchdog`, or have `os` from a source with a version that fits.",
    );
}

#[test]
fn stages_that_exclude_each_other() {
    assert_failure(
        &request(&["watchdog =1.1.0", "softdog ^1"]),
        SMALL,
        r"
stages `watchdog` and `softdog` cannot be in one build
  - the project asks for `softdog` ^1
  - the project asks for `watchdog` =1.1.0
  - `watchdog` 1.1.0 excludes any `softdog`
help: Remove `watchdog` or `softdog`, or take versions that go together.",
    );
}

#[test]
fn a_stage_that_does_not_support_the_target() {
    assert_failure(
        &request(&["a *"]),
        &[
            "a 1.0.0: arch armv6",
            "a 1.1.0: arch armv6",
            "a 1.2.0: yanked",
            "a 1.3.0: pib >=9; board rpi3|rpi5",
        ],
        r"
stage `a` has no version that this build can use
  - the project asks for `a`
  - `a` 1.3.0: needs pib >=9, this is pib 0.1.0; does not support board `rpi4`, only `rpi3` and `rpi5`
  - `a` 1.2.0: yanked by its publisher
  - `a` 1.1.0 and 1.0.0: does not support arch `arm64`, only `armv6`
help: Remove `a`, or build for something that it supports.",
    );
}

#[test]
fn requirements_that_meet_deep_down() {
    assert_failure(
        &request(&["a *", "b *"]),
        &["a 1.0.0: c ^1", "b 1.0.0: d ^2", "c 1.2.0: e ^1", "d 2.0.0: e ^2", "e 1.0.0", "e 2.0.0"],
        r"
no version of stage `e` suits all who ask for it
  - the project asks for `a`
  - the project asks for `b`
  - `a` 1.0.0 asks for `c` ^1
  - `b` 1.0.0 asks for `d` ^2
  - `c` 1.2.0 asks for `e` ^1
  - `d` 2.0.0 asks for `e` ^2
help: A build has one version of each stage: relax one of these requirements, or remove a stage.",
    );
}

#[test]
fn an_unknown_dependency_of_every_version() {
    assert_failure(
        &request(&["a *"]),
        &["a 1.0.0: b *", "a 1.1.0: b *", "b 1.0.0: missng *", "missing 1.0.0"],
        r"
there is no stage `missng` in the bundled registry
  - the project asks for `a`
  - every usable version of `a` asks for `b`
  - `b` 1.0.0 asks for `missng`
  - the bundled registry has no stage `missng`
help: Did you mean `missing`?",
    );
}

#[test]
fn only_pre_releases_and_only_yanked_versions() {
    assert_failure(
        &request(&["a *"]),
        &["a 1.0.0-rc.1"],
        r"
stage `a` has no version that this build can use
  - the project asks for `a`
  - the bundled registry has `a` 1.0.0-rc.1
help: Only pre-releases can be used; they must be asked for by name, e.g. `1.0.0-rc.1`.",
    );
    assert_failure(
        &request(&["a *"]),
        &["a 1.0.0: yanked"],
        r"
stage `a` has no version that this build can use
  - the project asks for `a`
  - `a` 1.0.0: yanked by its publisher
help: Ask for another version, or take it anyway by `pib update a --precise 1.0.0`.",
    );
}

#[test]
fn a_stage_of_every_build_that_does_not_fit() {
    assert_failure(
        &request(&["a *"]),
        &["a 1.0.0: __cleanup__ ^7"],
        r"
stage `__cleanup__` has no version ^7 that this build can use
  - the project asks for `a`
  - `a` 1.0.0 asks for `__cleanup__` ^7
  - the bundled registry has `__cleanup__` 1.0.0
help: Take another version of `a`, or have `__cleanup__` from a source with a version that fits.",
    );
}

#[test]
fn a_version_that_contradicts_itself() {
    assert_failure(
        &request(&["a *"]),
        &["a 1.0.0: a ^1", "a 1.1.0: !a *"],
        r"
stage `a` has no version that this build can use
  - the project asks for `a`
  - `a` 1.1.0 and 1.0.0: depends on itself, or excludes itself
help: Ask for another version of `a`.",
    );
}

#[test]
fn updates_that_name_nothing_there_is() {
    let mut request = request(&["watchdog *"]);
    request.update = Update::Stages(vec![name("watchdgo")]);
    assert_failure(
        &request,
        SMALL,
        r"
stage `watchdgo` is not in the build, so there is nothing to update
help: Did you mean `watchdog`?",
    );
    request.update = Update::Precise(name("watchdog"), Version::new(7, 0, 0));
    assert_failure(
        &request,
        SMALL,
        r"
stage `watchdog` has no version that this build can use
  - the project asks for `watchdog`
  - `watchdog` 2.0.0, 1.2.0, 1.1.0 and 1.0.0: not 7.0.0, which the update asks for
help: Check that `watchdog` has a version 7.0.0, with `pib info watchdog`.",
    );
}

#[test]
fn an_index_without_an_answer() {
    let error = resolve(&request(&["os *"]), &MemoryIndex::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "looking up the versions of stage `__cleanup__` in the bundled registry: its versions were not fetched"
    );
}

#[test]
fn a_folder_of_another_version() {
    let mut index = index(SMALL);
    let folder = SourceId::path("../os").unwrap();
    index.push(entry("os 0.0.0"), folder.clone());
    let mut request = request(&["ro *", "watchdog ^1"]);
    request.patches.insert(name("os"), folder);
    let error = resolve(&request, &index).unwrap_err();
    let problem = &error.problems()[0];
    assert_eq!(
        problem.to_string(),
        "stage `os` has no version that this build can use\n  - the project asks for `watchdog` ^1\n  \
         - `watchdog` 1.0.0 asks for `os` ^1\n  - `watchdog` 1.1.0 asks for `os` ^1.1\n  \
         - `watchdog` 1.2.0: yanked by its publisher\n  - the folder `../os` has `os` 0.0.0"
    );
    assert_eq!(problem.requests, [name("watchdog")]);
    let help = "The folder `../os` decides the version: set a fitting one in its stage.toml, or ask for the one that it has.";
    assert_eq!(problem.help.as_deref(), Some(help));
}
