//! `pib lock` decides the base without an engine; another machine makes it of exactly these packages.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use pib_plan::lockfile::Lockfile;

use super::moved::keep_native_tools;
use crate::world::{Images, World};

const PROJECT: &str = "wholelock";

fn lock(world: &World) -> Lockfile {
    Lockfile::parse("pib.lock", &text(world)).unwrap()
}

fn text(world: &World) -> String {
    fs::read_to_string(world.path(PROJECT).join("pib.lock")).unwrap()
}

/// Runs pib where there is no container engine.
fn run_without_engine(world: &World, args: &[&str]) -> String {
    let output =
        world.pib(PROJECT, args).env("DOCKER_HOST", "unix:///nonexistent/engine.sock").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pib {args:?}: {errors}");
    errors
}

/// Returns the packages that a base has installed, with their versions.
fn installed(base: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(base).unwrap());
    let mut status = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("var/lib/dpkg/status") {
            entry.read_to_string(&mut status).unwrap();
        }
    }
    let field = |paragraph: &str, name: &str| {
        let line = paragraph.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let paragraphs = status.split("\n\n").filter(|paragraph| paragraph.contains("Package:"));
    paragraphs.map(|paragraph| (field(paragraph, "Package:"), field(paragraph, "Version:"))).collect()
}

#[test]
fn a_fresh_clone_builds_the_base_that_the_lock_names() {
    let _images = Images(PROJECT);
    let caches = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, other] = [&caches[0], &caches[1]].map(|cache| World::with_cache(cache.path().to_owned()));
    first.tiny(PROJECT, "RUN echo whole > /etc/whole\n");
    fs::remove_file(first.path(PROJECT).join("pib.lock")).unwrap();
    assert!(!run_without_engine(&first, &["lock"]).contains("does not hold"));
    let decided = lock(&first);
    assert_eq!((decided.bases.len(), decided.bases[0].made), (1, None));
    let packages = &decided.bases[0].snapshot.as_ref().expect("no packages are locked").packages;
    // What is known is not asked for, and nothing is left to be decided.
    let locked = text(&first);
    run_without_engine(&first, &["lock", "--offline"]);
    run_without_engine(&first, &["lock", "--locked"]);
    assert_eq!(text(&first), locked);

    let to = other.path(PROJECT);
    fs::create_dir_all(to.join("stages/mine")).unwrap();
    for file in ["pib.toml", "pib.lock", "stages/mine/Dockerfile.part"] {
        fs::copy(first.path(PROJECT).join(file), to.join(file)).unwrap();
    }
    keep_native_tools(caches[1].path());
    let output = other.pib(PROJECT, &["build", "--locked"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("pib.lock does not have the digest of the base yet"), "{errors}");
    assert_eq!(text(&other), locked, "a lock that must stay was changed");

    // A build that may add what it found does, and makes nothing again.
    other.run(PROJECT, &["build", "--offline"]);
    let whole = lock(&other);
    assert!(decided.is_completed_by(&whole) && whole.bases[0].made.is_some());
    let digest = whole.bases[0].digest().unwrap();
    let base = caches[1].path().join("bases").join(format!("{}.tar", digest.hex()));
    let expected: BTreeMap<_, _> =
        packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect();
    assert_eq!(installed(&base), expected);
    other.run(PROJECT, &["verify"]);
    // It was this lock that named them, and not this machine's choice.
    let recipes = caches[1].path().join("bases/recipes").read_dir();
    assert_eq!(recipes.map_or(0, Iterator::count), 0);
}
