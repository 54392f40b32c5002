//! The first part of a bootstrap, from the real mirror.

#![allow(clippy::unwrap_used)] // Test helpers outside test functions.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pib_debian::{DatePolicy, DebianError, Folders, HostApt, bootstrap, bootstrap_again};
use pib_event::{Event, Reporter};
use pib_plan::base::Bootstrap;
use pib_plan::id::Arch;

/// Keeps the events, so that a test can look at them.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn recipe(arch: Arch) -> Bootstrap {
    Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch,
        mirror: None,
        security_mirror: None,
        include: Vec::new(),
        archives: Vec::new(),
    }
}

/// Makes the folders that a bootstrap works in: for packages, and for work in progress.
fn folders(root: &Path) -> (PathBuf, PathBuf) {
    let temp = root.join("tmp");
    std::fs::create_dir(&temp).unwrap();
    (root.join("debs"), temp)
}

/// Lists the tar: the path without `./`, and what is there.
fn list(path: &Path) -> BTreeMap<String, (tar::Header, Option<String>, String)> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let mut text = String::new();
        if entry.size() < 100_000 {
            // Binary files are of no interest here.
            let _ = entry.read_to_string(&mut text);
        }
        assert!(found.insert(name.clone(), (entry.header().clone(), link, text)).is_none(), "{name} twice");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_part_of_a_real_bootstrap_is_whole_and_repeats_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (debs, temp) = folders(folder.path());
    let folders = Folders { debs: &debs, temp: &temp };
    let recorder = Arc::new(Recorder::default());
    let reporter: Arc<dyn Reporter> = recorder.clone();
    let host = HostApt::read(Path::new("/"));
    let first = bootstrap(folders, &recipe(Arch::Arm64), &host, &reporter).await.unwrap();

    let names: Vec<&str> = first.snapshot.packages.iter().map(|package| package.name.as_str()).collect();
    for name in
        ["apt", "base-files", "base-passwd", "dash", "dpkg", "libc6", "mount", "debian-archive-keyring"]
    {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    assert!((60..150).contains(&names.len()), "{names:?}");

    let tar = first.context().join(&first.files()[0]);
    let tree = list(&tar);
    let link = |path: &str| tree.get(path).and_then(|(_, link, _)| link.as_deref());
    assert_eq!((link("bin"), link("lib")), (Some("usr/bin"), Some("usr/lib")));
    assert_eq!(link("usr/bin/sh"), Some("dash"));
    assert!(tree.contains_key("usr/lib/ld-linux-aarch64.so.1"));
    assert_eq!(tree["usr/bin/su"].0.mode().unwrap(), 0o4755);
    assert_eq!(tree["tmp"].0.mode().unwrap(), 0o1777);
    let debs = tree.keys().filter(|path| path.ends_with(".deb")).count();
    assert_eq!(debs, names.len());
    assert!(tree[".pib-bootstrap/run"].2.contains("--install base-passwd_"));
    assert!(tree["etc/apt/sources.list.d/debian.sources"].2.contains("trixie-security"));
    assert!(!tree.contains_key("lib/systemd") && !tree.keys().any(|path| path.starts_with("bin/")));

    let bytes = std::fs::read(&tar).unwrap();
    let second = bootstrap(folders, &recipe(Arch::Arm64), &host, &reporter).await.unwrap();
    assert!(
        bytes == std::fs::read(second.context().join(&second.files()[0])).unwrap(),
        "the two tars differ"
    );
    // The same again on a machine that has nothing but what a lock says.
    let other = tempfile::tempdir().unwrap();
    let (debs, elsewhere) = self::folders(other.path());
    let other = Folders { debs: &debs, temp: &elsewhere };
    let again =
        bootstrap_again(other, &recipe(Arch::Arm64), &first.snapshot, &host, &reporter).await.unwrap();
    assert!(
        bytes == std::fs::read(again.context().join(&again.files()[0])).unwrap(),
        "made again, it differs"
    );
    assert_eq!(first.snapshot.check(), Ok(()));
    assert!(
        first.snapshot.archives.iter().all(|archive| archive.key.len() == 40),
        "{:?}",
        first.snapshot.archives
    );
    drop((first, second, again));
    assert_eq!(std::fs::read_dir(temp).unwrap().count(), 0);

    let events = recorder.0.lock().unwrap();
    let title = events.iter().find_map(|event| match event {
        Event::StepStarted { id, title } if id == "base" => Some(title.as_str()),
        _ => None,
    });
    assert!(title.is_some_and(|title| title.ends_with("packages of Debian trixie (arm64)")), "{title:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bootstrapped_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let (debs, temp) = folders(folder.path());
    let folders = Folders { debs: &debs, temp: &temp };
    let reporter: Arc<dyn Reporter> = Arc::new(Recorder::default());
    let host = HostApt {
        dates: DatePolicy { check_valid_until: false, ..DatePolicy::default() },
        ..HostApt::read(Path::new("/"))
    };
    let problem = async |recipe: Bootstrap| bootstrap(folders, &recipe, &host, &reporter).await.unwrap_err();

    let error = problem(Bootstrap { os: "arch".to_owned(), ..recipe(Arch::Arm64) }).await;
    assert!(matches!(error, DebianError::UnsupportedOs { .. }), "{error}");
    let error = problem(recipe(Arch::Armv6)).await;
    assert!(matches!(error, DebianError::UnsupportedArch { .. }), "{error}");
    let error = problem(Bootstrap { release: "../x".to_owned(), ..recipe(Arch::Arm64) }).await;
    assert!(matches!(error, DebianError::BadRelease { .. }), "{error}");
    let error = problem(Bootstrap { release: "nosuch".to_owned(), ..recipe(Arch::Arm64) }).await;
    assert!(matches!(error, DebianError::NoRelease { .. }), "{error}");
    let error =
        problem(Bootstrap { include: vec!["no-such-package".to_owned()], ..recipe(Arch::Arm64) }).await;
    assert!(error.to_string().contains("no-such-package"), "{error}");
}
