//! What `pib lock` makes of a base, without an engine and without an archive.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use pib_plan::base::{BaseSource, Location, WantedBase};
use pib_plan::id::Digest;
use pib_plan::lockfile::{FILE_NAME, LockedBase, Lockfile};
use pib_plan::manifest::project::ProjectManifest;

use crate::bench::{Bench, NO_BASE, PROJECT};
use crate::site::succeeds;

fn lock(bench: &Bench) -> Lockfile {
    let text = fs::read_to_string(bench.path(FILE_NAME)).unwrap();
    Lockfile::parse(FILE_NAME, &text).unwrap()
}

fn errors(bench: &Bench, args: &[&str]) -> String {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    ran.errors
}

#[test]
fn an_archive_that_cannot_be_reached_keeps_no_stage_out_of_the_lock() {
    let bench = Bench::new(PROJECT);
    let began = Instant::now();
    let run =
        |args: &[&str]| bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib"))).args(args).output().unwrap();
    let output = run(&["lock"]);
    // Who commits this lock is told by the exit code.
    assert_eq!(output.status.code(), Some(8));
    let said = bench.ran(&output).errors;
    assert!(said.contains(NO_BASE), "{said}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let flat = |text: &str| text.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ");
    let reason = "pib.lock does not hold the base yet: fetching \
                  http://127.0.0.1:9/debian/dists/trixie/InRelease failed; check the network and the address";
    assert_eq!(flat(&said).matches(reason).count(), 1, "{said}");
    assert_eq!((lock(&bench).stages.len(), lock(&bench).bases.len()), (4, 0));
    // Where the lock must stay, nothing is asked for, and what it lacks is told before a build makes it.
    let output = run(&["lock", "--locked"]);
    assert_eq!(output.status.code(), Some(8));
    let said = bench.ran(&output).errors;
    assert!(said.contains("pib.lock does not hold the base (debian trixie, arm64)"), "{said}");
    let said = errors(&bench, &["lock", "--offline"]);
    let reason = "pib may not use the network here, and its cache does not have \
                  http://127.0.0.1:9/debian/dists/trixie/InRelease";
    assert!(said.contains(reason), "{said}");
    // What was asked of these is about stages.
    for args in [&["add", "ro"][..], &["remove", "ro"]] {
        assert!(!errors(&bench, args).contains("does not hold"), "{args:?}");
    }
    for args in [&["update"][..], &["update", "--base"], &["fetch"]] {
        let said = errors(&bench, args);
        assert!(said.contains("pib.lock does not hold the base yet") && said.contains(NO_BASE), "{said}");
    }
    assert!(!errors(&bench, &["update", "--base", "--offline"]).contains(NO_BASE));
}

#[test]
fn a_base_that_the_lock_holds_is_asked_for_nowhere() {
    let bench = Bench::new(PROJECT);
    succeeds(&bench, &["lock"]);
    let base = "\n[[base]]\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\
                digest = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nepoch = 7\n";
    let mut text = fs::read_to_string(bench.path(FILE_NAME)).unwrap();
    // As a pib wrote it that noted neither recipes nor packages.
    text.insert_str(text.find("\n[[stage]]").unwrap(), base);
    bench.write(FILE_NAME, &text);
    for args in [&["lock"][..], &["lock", "--offline"], &["lock", "--locked"]] {
        assert_eq!(errors(&bench, args), "", "{args:?}");
        assert_eq!(fs::read_to_string(bench.path(FILE_NAME)).unwrap(), text, "{args:?}");
    }
    // Nothing newer is to be found, so that the lock keeps what it has: without it, nothing would tell that a mirror went back.
    for (args, code) in [
        (&["update", "--base"][..], Some(8)),
        (&["update"], Some(8)),
        (&["update", "--base", "--offline"], Some(0)),
        (&["update", "--offline"], Some(0)),
    ] {
        let output = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib"))).args(args).output().unwrap();
        assert_eq!(output.status.code(), code, "{args:?}: {}", bench.ran(&output).errors);
        assert_eq!(fs::read_to_string(bench.path(FILE_NAME)).unwrap(), text, "{args:?}");
    }
    succeeds(&bench, &["add", "ro"]);
    assert_eq!(lock(&bench).bases[0].digest(), Some(Digest::of(b"")));
}

/// Returns what the lock says of the tarball that a manifest names, before anybody has fetched it.
fn of_tarball(manifest: &str, url: &str, digest: Digest) -> LockedBase {
    let manifest = ProjectManifest::parse("pib.toml", manifest).unwrap();
    let source = BaseSource::Tarball { location: Location::Url(url.parse().unwrap()), digest };
    LockedBase::unmade(WantedBase { project: &manifest.project, source: &source }, None)
}

#[test]
fn a_tarball_or_container_image_is_locked_as_the_manifest_names_it() {
    let url = "http://127.0.0.1:9/base.tar.zst";
    let with = |digest: Digest| format!("{PROJECT}\n[base]\nurl = \"{url}\"\ndigest = \"{digest}\"\n");
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    let bench = Bench::new(&with(one));
    for args in [&["lock"][..], &["lock", "--locked"], &["lock", "--offline"]] {
        assert_eq!(errors(&bench, args), "", "{args:?}");
        assert_eq!(lock(&bench).bases, [of_tarball(&with(one), url, one)], "{args:?}");
    }
    succeeds(&bench, &["plan", "--locked"]);
    bench.write("pib.toml", &with(other));
    assert_eq!(errors(&bench, &["lock"]), "");
    assert_eq!(lock(&bench).bases, [of_tarball(&with(other), url, other)]);
    assert_eq!(succeeds(&bench, &["update"]).trim(), "Nothing to update.");

    let reference = format!("debian@{one}");
    bench.write("pib.toml", &format!("{PROJECT}\n[base]\nimage = \"{reference}\"\n"));
    assert_eq!(errors(&bench, &["lock"]), "");
    let bases = lock(&bench).bases;
    assert_eq!((bases.len(), bases[0].source.as_ref(), bases[0].made), (1, Some(&reference), None));
    let verify = bench.run(&["verify"]);
    assert!(verify.errors.contains("pib.lock does not have the digest of the base yet"), "{}", verify.errors);
}

#[test]
fn the_bases_of_all_targets_are_locked() {
    let image = |text: &[u8]| format!("debian@{}", Digest::of(text));
    let manifest = format!(
        "{PROJECT}\n[base]\nimage = \"{}\"\n\n[target.old]\nrelease = \"bookworm\"\nbase = {{ image = \"{}\" }}\n",
        image(b"one"),
        image(b"other")
    );
    let bench = Bench::new(&manifest);
    assert_eq!(errors(&bench, &["lock"]), "");
    let bases = lock(&bench).bases;
    let found: Vec<_> =
        bases.iter().map(|base| (base.release.as_str(), base.source.clone().unwrap())).collect();
    assert_eq!(found, [("bookworm", image(b"other")), ("trixie", image(b"one"))]);
    assert_eq!(errors(&bench, &["lock", "--locked"]), "");
}
