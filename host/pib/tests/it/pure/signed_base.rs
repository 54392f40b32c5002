//! A base that its maker signs and replaces by newer ones at the same address: what the lock holds of it, and what is refused.

use std::io::Write as _;

use pib_plan::id::Digest;
use pib_plan::lockfile::{FILE_NAME, LockedBase, Lockfile};

use crate::bench::{Bench, PROJECT};
use crate::signed_root::{self, SIGNATURE, SignedRoot, TARBALL};
use crate::site::succeeds;

/// Returns a tarball with a file of this text.
fn tarball(text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    builder.append_data(&mut header, "etc/which", text.as_bytes()).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&builder.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

/// Returns a project whose init stage starts from the tarball of a server.
fn project(root: &SignedRoot) -> Bench {
    let manifest = PROJECT.replace("[stages]", "[stages]\n__init__ = { path = \"stages/__init__\" }");
    let bench = Bench::new(&manifest.replace("watchdog = ", "# watchdog = ").replace("os = \"1\"\n", ""));
    let base = format!(
        "phase = \"init\"\n\n[base.debian]\nbootstrap = \"tarball\"\n\n[[base.debian.tarball]]\narch = \"arm64\"\n{}",
        root.table()
    );
    bench.stage("__init__", &base, Some("RUN true\n"));
    bench
}

fn locked(bench: &Bench) -> Option<LockedBase> {
    let text = std::fs::read_to_string(bench.path(FILE_NAME)).unwrap();
    Lockfile::parse(FILE_NAME, &text).unwrap().bases.pop()
}

/// Returns what a command says beside its result, as words.
fn messages(bench: &Bench, args: &[&str], code: i32) -> String {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.errors);
    ran.errors.replace(['\u{2502}', '|'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_lock_holds_the_tarball_and_who_signed_it_until_the_base_is_updated() {
    let root = SignedRoot::at("127.0.0.1");
    let bench = project(&root);
    root.publish(tarball("one"));
    succeeds(&bench, &["lock"]);
    let first = locked(&bench).expect("no base is locked");
    let held = first.tarball.clone().expect("no tarball is locked");
    assert_eq!((held.digest, held.key), (Digest::of(&tarball("one")), root.fingerprint()));
    let made = first.made.expect("the digest of the root file system is not locked");
    assert_eq!((made.epoch, first.release.as_str()), (1_700_000_000, "trixie"));
    assert_eq!(root.asked(TARBALL), 1);

    // What is locked is asked for nowhere.
    root.publish(tarball("two"));
    for args in [&["lock"][..], &["lock", "--locked"], &["lock", "--offline"], &["plan", "--locked"]] {
        succeeds(&bench, args);
    }
    assert_eq!((root.asked(TARBALL), locked(&bench)), (1, Some(first.clone())));

    let updated = succeeds(&bench, &["update", "--base"]);
    let digest = Digest::of(&tarball("two"));
    assert!(updated.contains(&format!("to the tarball {digest}")), "{updated}");
    let second = locked(&bench).unwrap();
    assert_eq!(second.tarball.as_ref().map(|own| own.digest), Some(digest));
    assert_ne!(first.made, second.made);
    // The signature is the same, and so is the tarball.
    assert_eq!(succeeds(&bench, &["update", "--base"]).trim(), "Nothing to update.");
    assert_eq!((root.asked(TARBALL), locked(&bench)), (2, Some(second)));
}

#[test]
fn a_tarball_that_was_replaced_since_the_lock_is_told_with_what_to_do() {
    let root = SignedRoot::at("127.0.0.1");
    let bench = project(&root);
    root.publish(tarball("one"));
    succeeds(&bench, &["lock"]);
    root.publish(tarball("two"));
    std::fs::remove_dir_all(bench.folder.path().join("cache/bases")).unwrap();
    let told = messages(&bench, &["fetch"], 8);
    let (old, new) = (Digest::of(&tarball("one")), Digest::of(&tarball("two")));
    assert!(told.contains("was replaced since pib.lock was written"), "{told}");
    assert!(told.contains(&old.hex()[..16]) && told.contains(&new.hex()[..16]), "{told}");
    assert!(told.contains("pib update --base"), "{told}");
    // The one that the lock holds is taken as it is, whoever signs newer ones.
    root.put(TARBALL, tarball("one"));
    succeeds(&bench, &["fetch"]);
}

#[test]
fn what_is_not_signed_as_it_must_be_becomes_no_base() {
    let root = SignedRoot::at("127.0.0.1");
    let bench = project(&root);
    let refused = |words: &[&str]| {
        let told = messages(&bench, &["lock"], 0);
        assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
        assert_eq!(locked(&bench), None, "{told}");
        assert!(!bench.folder.path().join("cache/bases/tarballs").exists(), "something was unpacked");
    };
    // No signature.
    root.publish(tarball("one"));
    root.remove(SIGNATURE);
    refused(&["has no signature that pib can check", "404"]);
    // Of another file.
    root.publish(tarball("one"));
    root.put(TARBALL, tarball("two"));
    refused(&["is not signed as it must be", "does not fit it", "nothing of it was used"]);
    // By a key that the init stage does not name.
    root.put(TARBALL, tarball("one"));
    root.put(SIGNATURE, signed_root::sign(&signed_root::key(), &tarball("one")));
    refused(&["is not signed as it must be", "is not one that pib knows"]);
    // Something else.
    for other in [&b""[..], b"<html>", &[0x88; 40]] {
        root.put(SIGNATURE, other.to_vec());
        refused(&["is not signed as it must be"]);
    }
    // The server has another key than the one that is named.
    root.publish(tarball("one"));
    let own = SignedRoot::at("127.0.0.1");
    own.publish(tarball("one"));
    let text = std::fs::read_to_string(bench.path("stages/__init__/stage.toml")).unwrap();
    let other = text.replace(&root.fingerprint(), &own.fingerprint());
    bench.write("stages/__init__/stage.toml", &other);
    refused(&["the keys of the base", &format!("found {}", root.fingerprint())]);
    bench.write("stages/__init__/stage.toml", &text);
    succeeds(&bench, &["lock"]);
    assert!(locked(&bench).is_some());
}

#[test]
fn half_a_tarball_becomes_no_base_and_adding_stages_waits_for_none() {
    let root = SignedRoot::at("127.0.0.1");
    let bench = project(&root);
    root.publish(tarball("one"));
    succeeds(&bench, &["add", "--path", "stages/__init__", "--dry-run"]);
    assert_eq!(root.asked(TARBALL), 0);
    root.cut(true);
    let told = messages(&bench, &["lock"], 0);
    assert!(told.contains("pib.lock does not hold the base yet"), "{told}");
    assert_eq!(locked(&bench), None);
    // A whole answer that ends too early is no better.
    root.cut(false);
    root.put(TARBALL, tarball("one")[..40].to_vec());
    assert!(messages(&bench, &["lock"], 0).contains("does not fit it"));
    assert_eq!(locked(&bench), None);
    let told = messages(&bench, &["lock", "--offline"], 0);
    assert!(told.contains("the network is not to be used"), "{told}");
}
