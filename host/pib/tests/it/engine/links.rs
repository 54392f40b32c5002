//! A whole build in a stranger's project, whose `target` holds links to the user's files, and other names of them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::project::{Scratch, stderr_text};
use crate::world::Images;

const HOST: &str = "unix:///var/run/docker.sock";

const NAMES: [&str; 11] = [
    "links-rpi4-arm64.img",
    ".links-rpi4-arm64.img.part",
    "links-rpi4-arm64.img.sha256",
    "links-rpi4-arm64.img.bmap",
    "links-rpi4-arm64.json",
    "links-rpi4-arm64.rpi-imager-manifest",
    "links-rpi4-arm64.provenance.json",
    "links-rpi4-arm64.stages.json",
    ".pib-lock",
    "logs/latest.log",
    "logs/20200101-000000-000-links-rpi4-arm64.log",
];

/// What is in the user's folder: paths, content, times.
fn files(scratch: &Scratch) -> Vec<(PathBuf, Vec<u8>, i64)> {
    let items = walkdir::WalkDir::new(scratch.path("../home")).sort_by_file_name();
    let look = |item: walkdir::DirEntry| {
        let metadata = item.metadata().unwrap();
        let content = fs::read(item.path()).unwrap_or_default();
        (item.into_path(), content, metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec())
    };
    items.into_iter().map(|item| look(item.unwrap())).collect()
}

/// Waits for the other tests here: their projects have one name, and so one container image, which goes with each test.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn scratch() -> Scratch {
    let scratch = Scratch::new("links", HOST);
    scratch.part("mine", "RUN printf '\\nssh-ed25519 AAAA evil\\n' > /key\n");
    fs::create_dir(scratch.path("../home")).unwrap();
    scratch
}

#[test]
fn a_build_replaces_other_names_of_the_users_files_and_writes_to_none() {
    let _one = one_at_a_time();
    let _images = Images("links");
    let scratch = scratch();
    fs::create_dir_all(scratch.path("target/logs")).unwrap();
    for (number, name) in NAMES.iter().enumerate() {
        let own = scratch.path("../home").join(number.to_string());
        fs::write(&own, "precious").unwrap();
        fs::hard_link(own, scratch.path("target").join(name)).unwrap();
    }
    // The link to the newest log is pib's own, whatever it leads to.
    fs::remove_file(scratch.path("target/logs/latest.log")).unwrap();
    symlink("../../../home/6", scratch.path("target/logs/latest.log")).unwrap();
    let before = files(&scratch);
    scratch.must_build();
    assert_eq!(files(&scratch), before);
    assert!(scratch.image().metadata().unwrap().len() > 1 << 20);
    let latest = fs::read_link(scratch.path("target/logs/latest.log")).unwrap();
    assert!(latest.parent().is_some_and(|folder| folder.as_os_str().is_empty()), "{latest:?}");
}

/// A stranger's project may bring an image along, with a report that says that it is what a build would make.
#[test]
fn an_image_that_came_with_a_project_is_not_believed_to_be_built() {
    let _one = one_at_a_time();
    let _images = Images("links");
    let project = scratch();
    project.must_build();
    let again = project.build();
    assert!(String::from_utf8_lossy(&again.stdout).contains("is up to date"), "{again:?}");
    // What another user, on another machine, would find.
    std::fs::remove_dir_all(project.path("cache/built")).unwrap();
    let elsewhere = project.build();
    assert!(elsewhere.status.success(), "{}", stderr_text(&elsewhere));
    assert!(!String::from_utf8_lossy(&elsewhere.stdout).contains("is up to date"), "{elsewhere:?}");
}

#[test]
fn links_in_the_place_of_what_a_build_writes_end_it_before_anything_is_built() {
    let _one = one_at_a_time();
    let _images = Images("links");
    for name in
        NAMES.into_iter().filter(|name| !name.contains(".part") && !name.contains(".log")).chain(["logs"])
    {
        let scratch = scratch();
        for leads_to in ["file", "none"] {
            fs::create_dir_all(scratch.path("target")).unwrap();
            fs::write(scratch.path("../home/file"), "precious").unwrap();
            symlink(scratch.path("../home").join(leads_to), scratch.path("target").join(name)).unwrap();
            let before = files(&scratch);
            let output = scratch.build();
            let text = stderr_text(&output);
            assert!(
                output.status.code() == Some(3) && text.contains("is a symbolic link to"),
                "{name}: {text}"
            );
            assert!(!text.contains("Building") && files(&scratch) == before, "{name}: {text}");
            fs::remove_file(scratch.path("target").join(name)).unwrap();
        }
    }
}

#[test]
fn what_a_build_leaves_is_where_the_user_says() {
    let _one = one_at_a_time();
    let _images = Images("links");
    let scratch = scratch();
    symlink("nowhere", scratch.path("target")).unwrap();
    let build = || {
        let mut pib = scratch.pib(&["build"]);
        pib.env("PIB_TARGET_DIR", scratch.path("../home/big")).output().unwrap()
    };
    let output = build();
    assert!(output.status.success(), "{}", stderr_text(&output));
    let image = scratch.path("../home/big/links-rpi4-arm64.img");
    assert!(image.is_file() && scratch.path("../home/big/logs/latest.log").is_file());
    // It is found there again, and exported and cleaned there.
    let written = image.metadata().unwrap().ino();
    assert!(build().status.success());
    assert_eq!(image.metadata().unwrap().ino(), written, "it was built again");
    let run = |args: &[&str]| {
        let mut pib = scratch.pib(args);
        let output = pib.env("PIB_TARGET_DIR", scratch.path("../home/big")).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr_text(&output));
    };
    run(&["export"]);
    assert!(scratch.path("../home/big/links-rpi4-arm64.tar").is_file());
    run(&["clean"]);
    assert_eq!(fs::read_dir(scratch.path("../home/big")).unwrap().count(), 1);
}

#[test]
fn an_export_removes_and_opens_nothing_through_links() {
    let _one = one_at_a_time();
    let _images = Images("links");
    let scratch = scratch();
    fs::create_dir_all(scratch.path("../home/folder/below")).unwrap();
    fs::write(scratch.path("../home/file"), "precious").unwrap();
    // What an earlier export would have left, had it been killed.
    symlink("../home/folder", scratch.path(".rootfs.part")).unwrap();
    symlink("../home/folder", scratch.path("linked")).unwrap();
    symlink("../home/file", scratch.path("rootfs.tar")).unwrap();
    let before = files(&scratch);
    let run = |args: &[&str]| scratch.pib(args).output().unwrap();
    let output = run(&["export", "--dir", "rootfs"]);
    assert!(output.status.success(), "{}", stderr_text(&output));
    assert!(scratch.path("rootfs/key").is_file());
    for (args, code) in [
        (["export", "--dir", "linked"], 7),
        (["export", "--dir", "linked/below"], 3),
        (["export", "--tar", "linked/new.tar"], 3),
        (["export", "--tar", "rootfs.tar"], 2),
    ] {
        let output = run(&args);
        let text = stderr_text(&output);
        assert!(output.status.code() == Some(code) && text.contains("symbolic link"), "{args:?}: {text}");
    }
    assert_eq!(files(&scratch), before);
}
