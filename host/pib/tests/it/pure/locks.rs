//! The rules of `pib.lock`, through the real binary.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::bench::{Bench, PROJECT};
use crate::site::{publish, succeeds};

/// The commands that read the lock.
const READERS: [&[&str]; 10] = [
    &["lock"],
    &["fetch"],
    &["plan"],
    &["build"],
    &["tree"],
    &["why", "os"],
    &["update"],
    &["add", "ro"],
    &["remove", "watchdog"],
    &["vendor"],
];

/// A project with stage `acme` of a registry in a folder, locked.
fn place() -> Bench {
    let bench = Bench::new(PROJECT);
    publish(&bench, "1.0.0");
    let url = format!("file://{}", bench.folder.path().join("registry").display());
    bench.write(
        "pib.toml",
        &format!("{PROJECT}acme = {{ version = \"1\", registry = \"acme\" }}\n\n[registries.acme]\nindex = \"{url}\"\n"),
    );
    succeeds(&bench, &["lock"]);
    bench
}

fn lock(bench: &Bench) -> String {
    fs::read_to_string(bench.path("pib.lock")).unwrap()
}

#[test]
fn a_lock_of_a_newer_pib_is_refused_with_advice_by_every_command() {
    let bench = place();
    // Nothing after the version need be known.
    bench.write("pib.lock", "version = 2\n\n[future]\nform = { of = [1] }\n");
    for args in READERS {
        bench.fails(
            args,
            3,
            &[
                "was written by a newer pib: it has version 2, this pib reads up to 1",
                "Update pib.",
                "pib.lock:1:11",
            ],
        );
    }
}

#[test]
fn a_project_that_records_no_more_has_no_snapshot() {
    let bench = Bench::new(PROJECT);
    bench.write("pib.toml", &format!("{PROJECT}\n[build]\nnetwork = \"recorded\"\n"));
    succeeds(&bench, &["lock"]);
    assert!(lock(&bench).contains("\nsnapshot = \""), "{}", lock(&bench));
    succeeds(&bench, &["lock", "--locked"]);
    bench.write("pib.toml", PROJECT);
    for args in [["lock", "--locked"], ["plan", "--locked"], ["build", "--locked"]] {
        bench.fails(&args, 3, &["takes the packages of the day"]);
    }
    succeeds(&bench, &["lock"]);
    assert!(!lock(&bench).contains("snapshot"), "{}", lock(&bench));
}

#[test]
fn a_merge_conflict_is_told_and_the_advice_works() {
    let bench = place();
    let ours = lock(&bench);
    let theirs =
        ours.replace("name = \"watchdog\"\nversion = \"1.3.0\"", "name = \"watchdog\"\nversion = \"0.9.0\"");
    assert_ne!(ours, theirs);
    bench.write(
        "pib.lock",
        &ours.replace(
            "name = \"watchdog\"\nversion = \"1.3.0\"\n",
            "name = \"watchdog\"\n<<<<<<< HEAD\nversion = \"1.3.0\"\n=======\nversion = \"0.9.0\"\n>>>>>>> theirs\n",
        ),
    );
    for args in READERS {
        bench.fails(
            args,
            3,
            &["holds a merge conflict", "<<<<<<< HEAD", "Settle `pib.toml` first", "pib lock"],
        );
    }
    // One side whole, without what the other has added: it comes back, and the rest stays.
    let at = |name: &str| ours.find(&format!("\n[[stage]]\nname = \"{name}\"")).unwrap();
    bench.write("pib.lock", &format!("{}{}", &ours[..at("acme")], &ours[at("os")..]));
    succeeds(&bench, &["lock"]);
    assert_eq!(lock(&bench), ours);
}

#[test]
fn what_does_not_change_is_not_written() {
    let bench = place();
    bench.write("../outside/cam/Dockerfile.part", "RUN true\n");
    succeeds(&bench, &["add", "--path", "../outside/cam"]);
    succeeds(&bench, &["vendor"]);
    let state = || -> Vec<(PathBuf, SystemTime)> {
        let files = bench.files().into_iter().map(|(path, _)| path);
        files.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
    };
    let before = state();
    assert!(before.iter().any(|(path, _)| path.ends_with("vendor/vendored.toml")));
    let commands: [&[&str]; 12] = [
        &["lock"],
        &["lock", "--locked"],
        &["fetch"],
        &["plan"],
        &["tree"],
        &["why", "os"],
        &["outdated"],
        &["update"],
        &["update", "os"],
        &["add", "watchdog"],
        &["add", "acme", "--registry", "acme", "--dry-run"],
        &["vendor"],
    ];
    for args in commands {
        succeeds(&bench, args);
        assert_eq!(state(), before, "{args:?} wrote a file");
    }
}

#[test]
fn a_version_that_changed_after_it_was_locked_is_an_error_with_both_digests() {
    let bench = place();
    let digests = |text: &str| -> Vec<String> {
        let words = text.split(['"', ' ', '\n']).filter(|word| word.starts_with("sha256:"));
        words.map(str::to_owned).collect()
    };
    let of_acme = |text: &str| digests(&text[text.find("\"acme\"").unwrap()..])[..2].to_vec();
    let locked = of_acme(&lock(&bench));
    // Only the archive: it is not what the index says.
    let archive = bench.path("../registry/archives/acme/acme-1.0.0.stage");
    let mut bytes = fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let found = pib_plan::id::Digest::of(&bytes).to_string();
    bench.fails(&["fetch"], 8, &["the archive of acme 1.0.0", &locked[0], &found, "Nothing of it was kept"]);
    // The index as well: the registry is consistent, and not what was locked.
    fs::remove_dir_all(bench.path("../registry")).unwrap();
    bench.write("../acme/more", "x");
    publish(&bench, "1.0.0");
    let index = fs::read_to_string(bench.path("../registry/ac/me/acme")).unwrap();
    let now = digests(&index);
    assert_ne!(now, locked);
    let commands: [&[&str]; 15] = [
        &["fetch"],
        &["plan"],
        &["build"],
        &["vendor"],
        &["lock"],
        &["tree"],
        &["add", "ro"],
        &["add", "acme@1.0.0", "--registry", "acme"],
        &["remove", "watchdog"],
        &["outdated"],
        &["update"],
        &["update", "--dry-run"],
        &["update", "acme"],
        &["update", "acme", "--precise", "1.0.0"],
        // It is accepted for the stages that are named, and for no other.
        &["update", "os", "--accept-republished"],
    ];
    let advice = "pib update acme --accept-republished";
    let say =
        ["changed since it was locked", "acme 1.0.0", "the registry file://", &locked[0], &now[0], advice];
    for args in commands {
        bench.fails(args, 8, &say);
    }
    assert_eq!(of_acme(&lock(&bench)), locked);
    bench.fails(&["update", "--accept-republished"], 2, &["STAGE"]);
    succeeds(&bench, &["update", "acme", "--accept-republished", "--dry-run"]);
    assert_eq!(of_acme(&lock(&bench)), locked);
    let updated = succeeds(&bench, &["update", "acme", "--accept-republished"]);
    assert!(updated.contains("acme"), "{updated}");
    assert_eq!(of_acme(&lock(&bench)), now);
    succeeds(&bench, &["fetch", "--locked"]);
    // A new version is none of this.
    publish(&bench, "1.0.1");
    succeeds(&bench, &["update"]);
    assert!(lock(&bench).contains("1.0.1"));
}

#[test]
fn a_bundled_version_and_one_that_only_a_target_holds_keep_their_content() {
    let bench = place();
    let manifest = fs::read_to_string(bench.path("pib.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("acme")).unwrap();
    let target = format!("[target.lab.stages]\n{line}\n");
    bench.write("pib.toml", &format!("{}\n{target}", manifest.replace(&format!("{line}\n"), "")));
    succeeds(&bench, &["lock"]);
    let held = lock(&bench);
    // The project itself asks for the stage as well, and the registry has another content by now.
    fs::remove_dir_all(bench.path("../registry")).unwrap();
    bench.write("../acme/more", "x");
    publish(&bench, "1.0.0");
    bench.write("pib.toml", &manifest);
    bench.fails(&["lock"], 8, &["acme 1.0.0", "changed since it was locked"]);
    bench.fails(&["update"], 8, &["acme 1.0.0", "changed since it was locked"]);
    assert_eq!(lock(&bench), held);
    // As if this program had another stage bundled under the same version.
    let bench = place();
    let text = lock(&bench);
    let at = text.find("name = \"os\"").unwrap();
    let digest = at + text[at..].find("sha256:").unwrap() + 7;
    let other = format!("{}0000{}", &text[..digest], &text[digest + 4..]);
    bench.write("pib.lock", &other);
    for args in [&["lock"][..], &["update"], &["update", "os"], &["add", "ro"], &["plan"]] {
        bench.fails(args, 8, &["os 1.", "changed since it was locked", "the bundled registry now has"]);
    }
    succeeds(&bench, &["update", "os", "--accept-republished"]);
    assert_eq!(lock(&bench), text);
}
