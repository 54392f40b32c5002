//! What a project's lock and its recording say of each other, and what no build may use: what parts made of something else.

use std::fs;
use std::path::{Path, PathBuf};

use pib_plan::lockfile::Lockfile;
use pib_plan::recording::{FILE_NAME, Recording};

use super::recorded::{errors, lock, project};
use crate::world::{Images, cache, nonce};

#[test]
fn a_lock_and_a_recording_that_do_not_belong_together_are_told_before_anything_is_built() {
    const NAME: &str = "recordedpair";
    let _images = Images(NAME);
    let world = project(NAME, "RUN true\n");
    world.run(NAME, &["build"]);
    let folder = world.path(NAME);
    let (locked, text) = (lock(&folder), fs::read_to_string(folder.join(FILE_NAME)).unwrap());
    let refused = |code: i32, words: &str, commands: &[&[&str]]| {
        for args in commands {
            let output = world.pib(NAME, args).output().unwrap();
            let told = errors(&output);
            assert!(output.status.code() == Some(code) && told.contains(words), "{args:?}: {told}");
        }
    };
    let builds = [&["build"][..], &["build", "--frozen"], &["export"]];
    let others = [&["plan"][..], &["lock", "--locked"], &["verify"], &["fetch"]];
    let all = [&builds[..], &others].concat();

    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    refused(3, "names a recording", &all);
    let unnamed = Lockfile { fetch: None, ..locked.clone() }.to_text();
    fs::write(folder.join("pib.lock"), &unnamed).unwrap();
    fs::write(folder.join(FILE_NAME), &text).unwrap();
    refused(3, "does not name it", &all);

    // Where there is neither, nothing has been recorded yet, as after `pib lock`. A build that may record nothing cannot begin,
    // although the image is there.
    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    refused(3, "names no recording", &[&["build", "--frozen"], &["build", "--locked"], &["verify"]]);
    refused(0, "names no recording", &[&["plan", "--frozen"], &["lock", "--locked"], &["fetch"]]);
    world.run(NAME, &["build"]);
    assert_eq!(lock(&folder), locked);
    world.run(NAME, &["build", "--frozen"]);

    // A new snapshot is the way out of both.
    fs::write(folder.join("pib.lock"), &unnamed).unwrap();
    world.run(NAME, &["update", "--packages"]);
    assert!(!folder.join(FILE_NAME).exists() && lock(&folder).snapshot > locked.snapshot);
}

#[test]
fn what_was_recorded_stays_while_nothing_is_recorded() {
    const NAME: &str = "recordedpause";
    let _images = Images(NAME);
    let world = project(NAME, "RUN true\n");
    world.run(NAME, &["build", "--until", "mine"]);
    let folder = world.path(NAME);
    let texts = || ["pib.lock", FILE_NAME].map(|file| fs::read_to_string(folder.join(file)).unwrap());
    let before = texts();
    let manifest = fs::read_to_string(folder.join("pib.toml")).unwrap();
    fs::write(folder.join("pib.toml"), manifest.replace("\"recorded\"", "\"open\"")).unwrap();
    for args in [&["plan"][..], &["lock"], &["lock", "--locked"], &["fetch"], &["build", "--until", "mine"]] {
        world.run(NAME, args);
        assert_eq!(texts(), before, "{args:?}");
    }
    fs::write(folder.join("pib.toml"), manifest).unwrap();
    world.run(NAME, &["build", "--until", "mine", "--frozen"]);
    assert_eq!(texts(), before);
}

#[test]
fn what_parts_went_on_without_is_asked_for_again() {
    const NAME: &str = "recordedwithout";
    const ADDRESS: &str = "http://archive.invalid/x";
    let _images = Images(NAME);
    let world = project(NAME, &format!("RUN /usr/lib/apt/apt-helper download-file {ADDRESS} /x || true\n"));
    let build = |more: &[&str]| world.pib(NAME, &[&["build"], more].concat()).output().unwrap();
    for _ in 0..2 {
        let built = build(&[]);
        let (told, shown) = (errors(&built), String::from_utf8_lossy(&built.stdout).into_owned());
        assert!(
            built.status.success() && told.contains(&format!("could not be fetched: {ADDRESS}")),
            "{told}"
        );
        assert!(!shown.contains("up to date"), "{shown}");
        let report =
            fs::read_to_string(world.path(NAME).join(format!("target/{NAME}-rpi4-arm64.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["without"][0], ADDRESS);
        assert!(world.run(NAME, &["plan"]).contains("to build"));
    }
    let strict = build(&["--strict"]);
    assert!(
        strict.status.code() == Some(6) && errors(&strict).contains("pib::recording::bypassed"),
        "{strict:?}"
    );
    let locked = build(&["--locked"]);
    assert!(
        locked.status.code() == Some(6) && errors(&locked).contains("not in pib.fetch.lock"),
        "{locked:?}"
    );
}

#[test]
fn what_a_part_made_of_a_refusal_is_never_used() {
    const NAME: &str = "recordedrefusal";
    let _images = Images(NAME);
    let part = "RUN /usr/lib/apt/apt-helper download-file http://deb.debian.org/debian/dists/trixie/Release /x \
                || echo refused > /x\n";
    let world = project(NAME, part);
    let folder = world.path(NAME);
    let until =
        |more: &[&str]| world.pib(NAME, &[&["build", "--until", "mine"], more].concat()).output().unwrap();
    let first = until(&[]);
    assert!(first.status.success(), "{}", errors(&first));
    let text = fs::read_to_string(folder.join(FILE_NAME)).unwrap();
    let less: String = text
        .lines()
        .filter(|line| !line.contains("trixie/Release\""))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(less, text);
    fs::write(folder.join(FILE_NAME), &less).unwrap();
    let fetch = Some(Recording::parse(FILE_NAME, &less).unwrap().digest());
    fs::write(folder.join("pib.lock"), Lockfile { fetch, ..lock(&folder) }.to_text()).unwrap();
    // The engine has what the part made of the file, and then what it made without, which ended well: neither is of this recording.
    for more in [&["--locked"][..], &["--locked", "--no-cache"], &["--locked"]] {
        let refused = until(more);
        let told = errors(&refused);
        assert!(
            refused.status.code() == Some(6) && told.contains("is not in pib.fetch.lock"),
            "{more:?}: {told}"
        );
    }
    // It is recorded again, and the part has it.
    assert!(until(&[]).status.success());
    assert!(world.run(NAME, &["run", "--at", "mine", "--", "cat", "/x"]).contains("Suite: stable"));
}

/// Returns the journals in the tests' cache that have a word in them.
fn journals_with(word: &str) -> Vec<PathBuf> {
    let folder = cache().join("fetched/journals");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(word))).collect()
}

#[test]
fn an_engine_is_not_believed_where_the_cache_does_not_say_what_was_given() {
    const NAME: &str = "recordedlost";
    let _images = Images(NAME);
    let word = nonce();
    let address = format!("http://deb.debian.org/debian/dists/trixie/Release?{word}");
    let part = format!("RUN /usr/lib/apt/apt-helper download-file '{address}' /x || echo refused > /x\n");
    let world = project(NAME, &part);
    let folder = world.path(NAME);
    let until =
        |more: &[&str]| world.pib(NAME, &[&["build", "--until", "mine"], more].concat()).output().unwrap();
    let texts = || ["pib.lock", FILE_NAME].map(|file| fs::read_to_string(folder.join(file)).unwrap());
    let write = |texts: &[String; 2]| {
        fs::write(folder.join("pib.lock"), &texts[0]).unwrap();
        fs::write(folder.join(FILE_NAME), &texts[1]).unwrap();
    };
    assert!(until(&[]).status.success());
    let whole = texts();
    let less: String =
        whole[1].lines().filter(|line| !line.contains(&word)).map(|line| format!("{line}\n")).collect();
    let fetch = Some(Recording::parse(FILE_NAME, &less).unwrap().digest());
    let less = [Lockfile { fetch, ..lock(&folder) }.to_text(), less];
    let lose: fn(&Path) = |path| fs::remove_file(path).unwrap();
    // As a backup brings it back: of a time before the request, under another number of the file system.
    let restore: fn(&Path) = |path| {
        let text = fs::read_to_string(path).unwrap();
        let before: String = text.lines().filter(|line| line.starts_with("pib-journal")).collect();
        fs::remove_file(path).unwrap();
        fs::write(path.with_extension("other"), "").unwrap();
        fs::write(path, before + "\n").unwrap();
        fs::remove_file(path.with_extension("other")).unwrap();
    };
    for change in [lose, restore] {
        journals_with(&word).iter().for_each(|path| change(path));
        write(&less);
        let refused = until(&["--locked"]);
        assert_eq!(refused.status.code(), Some(6), "{}", errors(&refused));
        // What is recorded then is the whole.
        assert!(until(&[]).status.success());
        assert_eq!(texts()[1], whole[1]);
        journals_with(&word).iter().for_each(|path| change(path));
        write(&less);
        assert!(until(&[]).status.success());
        assert_eq!(texts()[1], whole[1], "the engine has the stage, and the lock lacks what it asked for");
    }
    assert!(until(&["--frozen"]).status.success());
}
