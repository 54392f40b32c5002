//! The systems that the bundled stages make: what the program knows of them is what the init stage says.

use std::collections::BTreeSet;

use pib_plan::board::BOARDS;
use pib_plan::id::Arch;
use pib_plan::manifest::stage::StageManifest;
use pib_plan::package_archive::is_fingerprint;
use pib_plan::system;

use crate::bench::{Bench, PROJECT};
use crate::world::root;

fn init() -> StageManifest {
    let text = std::fs::read_to_string(root().join("stages/__init__/stage.toml")).unwrap();
    StageManifest::parse("stage.toml", &text).unwrap()
}

#[test]
fn the_init_stage_makes_every_system_that_projects_may_ask_for() {
    let init = init();
    let known: BTreeSet<&str> = system::names().collect();
    assert_eq!(init.base.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    for (os, recipe) in &init.base {
        assert_eq!(recipe.releases.first().map(String::as_str), system::default_release(os), "{os}");
        for release in &recipe.releases {
            assert!(system::archs(os, release, "rpi4").is_ok_and(|archs| archs.is_some()), "{os} {release}");
        }
    }
}

#[test]
fn raspberry_pi_os_has_archives_for_every_architecture_and_whole_fingerprints() {
    let init = init();
    for release in &init.base["raspios"].releases {
        for arch in Arch::ALL {
            let archives = init.base["raspios"].archives(release, arch);
            let names: Vec<&str> = archives.iter().map(|own| own.name.as_str()).collect();
            match arch {
                Arch::Arm64 => assert_eq!(names, ["debian", "debian-security", "raspberrypi"]),
                Arch::Armv6 | Arch::Armv7 => assert_eq!(names, ["raspbian", "raspberrypi"]),
            }
            for origin in archives.iter().filter_map(|own| own.origin.as_ref()) {
                assert!(origin.keys.iter().all(|key| is_fingerprint(key)), "{origin:?}");
            }
        }
    }
}

#[test]
fn raspberry_pi_os_is_planned_for_every_board() {
    for board in BOARDS {
        for arch in board.archs {
            let manifest = PROJECT.replace("\"debian\"", "\"raspios\"").replace("rpi4", board.name);
            let bench = Bench::new(&manifest.replace("\"arm64\"", &format!("\"{arch}\"")));
            let plan = bench.run(&["plan"]);
            assert_eq!(plan.code, Some(0), "{} on {arch}: {}", board.name, plan.errors);
            assert!(plan.out.contains("os 1."), "{}", plan.out);
        }
    }
}

#[test]
fn an_architecture_without_archives_is_told_before_anything_is_fetched() {
    let bench =
        Bench::new(&PROJECT.replace("[stages]", "[stages]\n__init__ = { path = \"stages/__init__\" }"));
    let base = "phase = \"init\"\n\n[base.debian]\nbootstrap = \"debian\"\n\n[[base.debian.archive]]\n\
                name = \"debian\"\narch = [\"armv7\"]\n";
    bench.stage("__init__", base, Some("RUN true\n"));
    let says = ["stage `__init__` 1.0.0 names no archives of debian for arm64", "another arch"];
    bench.fails(&["plan"], 3, &says);
}
