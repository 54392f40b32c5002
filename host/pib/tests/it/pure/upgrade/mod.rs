//! Projects and locks of every earlier pib are read by this one, and locked stages stay what they are.

use std::fs;

use crate::bench::Bench;
use crate::site::succeeds;
use crate::world::root;

/// A project as the first pib made it.
const PROJECT: &str = r#"[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
os = "1"
watchdog = { version = "1", config = { timeout = 10 } }
ro = "1"
rootssh = { version = "1", config = { authorized-keys = ["keys/*.pub"] } }
"#;

/// Every key that the first documented `pib.toml` could have, beside those of vendored stages.
const EVERY_KEY: &str = r#"[project]
name = "router"
os = "debian"
release = "bookworm"
board = "rpi4"
arch = "armv7"
hostname = "gateway"
locale = "de_DE.UTF-8"
timezone = "Europe/Berlin"
mirror = "http://deb.debian.org/debian"
security-mirror = "http://deb.debian.org/debian-security"

[stages]
os = "1"
watchdog = { version = "1", config = { timeout = 10 } }
mine = { path = "stages/mine" }

[patch]
watchdog = { path = "stages/watchdog" }

[base]
image = "debian@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

[image]
compress = "xz"

[[image.partition]]
label = "BOOT"
filesystem = "vfat"
mount = "/boot/firmware"
size = "256M"

[[image.partition]]
label = "ROOT"
filesystem = "ext4"
mount = "/"
size = "auto"
free = "256M"

[build]
native = false

[registries.acme]
index = "https://stages.acme.example/"
"#;

/// A key that may log in.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me\n";

/// The first lock: a base has a digest and the time of its newest file. As commit 734ac86 wrote it, with the stages of that day.
const FIRST: &str = include_str!("epoch.lock");
/// A lock that pib wrote on 2026-11-28, of a project that records what its parts fetch.
const RECORDED: &str = include_str!("recorded.lock");

/// Returns a lock without these keys: those of one line, and lists of several.
fn without(lock: &str, keys: &[&str]) -> String {
    let mut inside = false;
    let kept = lock.lines().filter(|line| {
        let is_key = |key: &&str| line.strip_prefix(*key).is_some_and(|rest| rest.starts_with(" ="));
        let is_dropped = inside || keys.iter().any(is_key);
        inside = is_dropped && (line.ends_with("= [") || (inside && *line != "]"));
        !is_dropped
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// Returns the lock's stages, as they stand in it.
fn stages(lock: &str) -> &str {
    &lock[lock.find("[[stage]]").unwrap()..]
}

fn project(manifest: &str, lock: &str) -> Bench {
    let bench = Bench::new(manifest);
    bench.write("keys/me.pub", KEY);
    bench.write("pib.lock", lock);
    bench
}

/// The forms that a lock has had, each with its name. All of them are version 1: keys were added.
fn forms() -> [(&'static str, String); 3] {
    let recorded = ["snapshot", "fetch"];
    let made = ["snapshot", "fetch", "archives", "packages"];
    [
        ("epoch", FIRST.to_owned()),
        ("recipe", without(RECORDED, &made)),
        ("packages", without(RECORDED, &recorded)),
    ]
}

#[test]
fn locks_of_every_form_are_read_and_their_stages_stay() {
    for (form, lock) in forms() {
        let bench = project(PROJECT, &lock);
        let plan = succeeds(&bench, &["plan", "--offline"]);
        let tree = succeeds(&bench, &["tree"]);
        for stage in stages(&lock).split("[[stage]]").filter(|stage| !stage.is_empty()) {
            let value = |key: &str| {
                let line = stage.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                line.trim_matches([' ', '=', '"']).to_owned()
            };
            let (name, version) = (value("name"), value("version"));
            let is_shown =
                |text: &str| text.lines().any(|line| line.contains(&name) && line.contains(&version));
            assert!(is_shown(&plan), "{form}: {name} {version} is not in\n{plan}");
            assert!(is_shown(&tree) || name.starts_with("__"), "{form}: {name} {version} is not in\n{tree}");
        }
        succeeds(&bench, &["lock", "--offline"]);
        let after = fs::read_to_string(bench.path("pib.lock")).unwrap();
        assert_eq!(stages(&after), stages(&lock), "{form}");
        assert!(after.contains("\nversion = 1\n"), "{form}: {after}");
        succeeds(&bench, &["plan", "--offline", "--locked"]);
    }
}

/// What only reads, and what is told to, leaves an earlier lock byte for byte.
#[test]
fn reading_an_earlier_lock_does_not_write_it() {
    for (form, lock) in forms() {
        let bench = project(PROJECT, &lock);
        for args in [&["plan", "--offline", "--locked"][..], &["tree"], &["why", "os"]] {
            succeeds(&bench, args);
            assert_eq!(fs::read_to_string(bench.path("pib.lock")).unwrap(), lock, "{form}: {args:?}");
        }
    }
}

#[test]
fn a_recorded_lock_stays_byte_for_byte_with_its_recording() {
    let bench = project(&format!("{PROJECT}\n[build]\nnetwork = \"recorded\"\n"), RECORDED);
    let recording = fs::read_to_string(root().join("host/examples/router/pib.fetch.lock")).unwrap();
    bench.write("pib.fetch.lock", &recording);
    for args in [&["lock", "--locked"][..], &["lock"], &["plan", "--locked", "--offline"]] {
        succeeds(&bench, args);
        assert_eq!(fs::read_to_string(bench.path("pib.lock")).unwrap(), RECORDED, "{args:?}");
        assert_eq!(fs::read_to_string(bench.path("pib.fetch.lock")).unwrap(), recording, "{args:?}");
    }
}

#[test]
fn the_first_manifest_is_read_with_every_key_that_it_could_have() {
    let bench = Bench::new(EVERY_KEY);
    bench.stage("mine", "", Some("RUN true\n"));
    bench.stage("watchdog", "\n[config.timeout]\ntype = \"integer\"\ndefault = 15\n", Some("RUN true\n"));
    let plan = succeeds(&bench, &["plan", "--offline"]);
    for stage in ["mine", "watchdog"] {
        assert!(plan.contains(stage), "{stage} is not in\n{plan}");
    }
}
