//! The cache belongs to its user: what others could put there would be built from.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::bench::{Bench, PROJECT};

/// Runs a command with the cache in the user's home, or in `cache`.
fn run(bench: &Bench, args: &[&str], cache: Option<&Path>) -> (Option<i32>, String) {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.args(args).env_remove("PIB_CACHE_DIR");
    if let Some(cache) = cache {
        pib.env("PIB_CACHE_DIR", cache);
    }
    let Output { status, stderr, .. } = pib.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    let words: Vec<&str> = text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect();
    (status.code(), words.join(" "))
}

#[test]
fn the_cache_is_made_for_its_user_and_refused_where_others_can_write() {
    let bench = Bench::new(PROJECT);
    let cache = bench.path("../.cache/pib");
    // Nothing is amiss but the base, which no mirror is there for.
    assert_eq!(run(&bench, &["lock"], None).0, Some(8));
    assert_eq!(cache.metadata().unwrap().mode() & 0o777, 0o700);
    for mode in [0o777, 0o1777, 0o757] {
        fs::set_permissions(&cache, Permissions::from_mode(mode)).unwrap();
        let (code, text) = run(&bench, &["lock"], None);
        assert!(code == Some(1) && text.contains("everybody on this machine can write to it"), "{text}");
        assert!(text.contains("PIB_CACHE_DIR") && text.contains(".cache/pib"), "{text}");
        // The user's own choice is a warning.
        let (code, text) = run(&bench, &["lock"], Some(&cache));
        assert!(code == Some(8) && text.contains("can write to it"), "{text}");
    }
    fs::set_permissions(&cache, Permissions::from_mode(0o755)).unwrap();
    let (code, text) = run(&bench, &["lock"], None);
    assert!(code == Some(8) && !text.contains("cache"), "{text}");
    // It may be elsewhere, reached through a link: that is the user's to say.
    fs::rename(&cache, bench.path("../big")).unwrap();
    symlink("../big", &cache).unwrap();
    let (code, text) = run(&bench, &["lock", "--locked"], None);
    assert!(code == Some(8) && !text.contains("cache"), "{text}");
}
