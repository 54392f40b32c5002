//! The systems that the bundled stages make: what the program knows of them is what the init stage says.

use std::collections::BTreeSet;

use pib_plan::board::BOARDS;
use pib_plan::id::{Arch, Digest};
use pib_plan::lockfile::{FILE_NAME, Lockfile};
use pib_plan::manifest::stage::StageManifest;
use pib_plan::package_archive::is_fingerprint;
use pib_plan::system;

use crate::apt_archive::AptArchive;
use crate::bench::{Bench, PROJECT};
use crate::site::succeeds;
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

/// A release that there is not is told at its line, by the plan and by the lock, which would lack a base.
#[test]
fn a_mistyped_release_is_told_at_its_line() {
    let bench = Bench::new(&PROJECT.replace("\"trixie\"", "\"trxie\""));
    let says = ["pib.toml:5:11", "does not support debian trxie", "Did you mean `trixie`?"];
    bench.fails(&["plan"], 3, &says);
    bench.fails(&["lock"], 3, &says);
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
fn arch_linux_arm_has_a_signed_tarball_for_every_architecture_that_it_is_built_for() {
    let init = init();
    let recipe = &init.base["arch"];
    assert_eq!(recipe.mirror.as_deref(), Some("http://mirror.archlinuxarm.org"));
    for arch in Arch::ALL {
        let found = recipe.tarball(("arch", "rolling"), arch);
        assert_eq!(found.is_some(), arch != Arch::Armv6, "{arch}");
        let Some(tarball) = found else { continue };
        assert_eq!(tarball.signature_url, format!("{}.sig", tarball.url));
        assert!(tarball.keys.iter().all(|key| is_fingerprint(key)), "{tarball:?}");
    }
}

#[test]
fn arch_linux_arm_is_planned_for_every_board_that_runs_arm64_or_armv7() {
    for board in BOARDS {
        for arch in board.archs {
            let manifest = PROJECT.replace("\"debian\"", "\"arch\"").replace("\"trixie\"", "\"rolling\"");
            let manifest = manifest.replace("rpi4", board.name).replace("\"arm64\"", &format!("\"{arch}\""));
            let bench = Bench::new(&manifest);
            if *arch == Arch::Armv6 {
                bench.fails(&["plan"], 3, &["Arch Linux ARM has no system for the"]);
                continue;
            }
            let dockerfile = bench.run(&["plan", "--dockerfile"]);
            assert_eq!(dockerfile.code, Some(0), "{} on {arch}: {}", board.name, dockerfile.errors);
            assert!(dockerfile.out.contains("http://mirror.archlinuxarm.org"), "{}", dockerfile.out);
        }
    }
    let bench = Bench::new(PROJECT);
    succeeds(&bench, &["new", "kiosk", "--os", "arch"]);
    let manifest = std::fs::read_to_string(bench.path("kiosk/pib.toml")).unwrap();
    assert!(manifest.contains("release = \"rolling\"\n"), "{manifest}");
    bench.fails(&["new", "zero", "--os", "arch", "--board", "zerow"], 2, &["on armv6", "--os raspios"]);
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

/// Returns a list of the packages of a minimal system.
fn packages(version: &str) -> Vec<u8> {
    let package = |name: &str| {
        let digest = Digest::of(format!("{name} {version}").as_bytes()).hex();
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\nEssential: yes\nPriority: required\n\
             Filename: pool/{name}.deb\nSize: 10\nSHA256: {digest}\n\n"
        )
    };
    ["dash", "apt"].map(package).concat().into_bytes()
}

/// A system of one's own is an archive that an init stage names. What it says is believed by the key's fingerprint, and never
/// moves a base back.
#[test]
fn archives_of_ones_own_are_locked_with_their_keys_and_never_go_back() {
    const DATES: [&str; 2] = ["Sat, 01 Nov 2025 00:00:00 UTC", "Sun, 02 Nov 2025 00:00:00 UTC"];
    let archive = AptArchive::new("trixie");
    let manifest = PROJECT.replace("[stages]", "[stages]\n__init__ = { path = \"stages/__init__\" }");
    let bench = Bench::new(&manifest.replace("\"debian\"", "\"raspios\""));
    let address = archive.serve("127.0.0.1", None);
    let base = format!(
        "phase = \"init\"\n\n[base.raspios]\nbootstrap = \"debian\"\n\n[[base.raspios.archive]]\nname = \"mine\"\n{}",
        archive.table(&address)
    );
    bench.stage("__init__", &base, Some("RUN true\n"));
    let lock = || std::fs::read_to_string(bench.path(FILE_NAME)).unwrap();
    let versions = || {
        let base = Lockfile::parse(FILE_NAME, &lock()).unwrap().bases.remove(0);
        let snapshot = base.snapshot.unwrap();
        let own = &snapshot.archives[0];
        assert_eq!((own.name.as_str(), own.key.clone()), ("mine", archive.fingerprint()));
        assert!(own.keyring().is_some(), "the key is not locked");
        snapshot.packages.into_iter().map(|package| package.version).collect::<Vec<_>>()
    };
    archive.publish(DATES[0], &[("arm64", packages("1"))]);
    succeeds(&bench, &["lock"]);
    assert_eq!(versions(), ["1", "1"]);
    archive.publish(DATES[1], &[("arm64", packages("2"))]);
    succeeds(&bench, &["update", "--base"]);
    assert_eq!(versions(), ["2", "2"]);

    let text = lock();
    archive.publish(DATES[0], &[("arm64", packages("1"))]);
    let ran = bench.run(&["update", "--base"]);
    let said =
        "the archive `mine` is of 2025-11-01T00:00:00Z now, and the base in pib.lock of 2025-11-02T00:00:00Z";
    assert!(ran.code == Some(0) && ran.errors.contains(said), "{}", ran.errors);
    assert_eq!(lock(), text);

    // Another key at the same address is another key.
    let other = AptArchive::new("trixie");
    let key = format!("key-url = \"{address}/");
    let elsewhere = format!("key-url = \"{}/", other.serve("127.0.0.1", None));
    bench.stage("__init__", &base.replace(&key, &elsewhere), Some("RUN true\n"));
    let ran = bench.run(&["update", "--base"]);
    for part in ["the keys of the archive `mine`", &archive.fingerprint(), &other.fingerprint()] {
        assert!(ran.errors.contains(part), "{part}: {}", ran.errors);
    }
}
