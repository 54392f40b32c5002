//! A base that a lock names is made again when the mirror has moved on, on a machine that has nothing but the lock.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pib_plan::lockfile::Lockfile;

use crate::web;
use crate::world::{self, Images, World};

const PROJECT: &str = "moved";

#[test]
fn a_locked_base_is_the_same_when_the_mirror_has_moved_on() {
    let _images = Images(PROJECT);
    let world = World::new();
    world.tiny(PROJECT, "RUN echo moved > /etc/moved\n");
    world.run(PROJECT, &["build"]);
    let text = fs::read_to_string(world.path(PROJECT).join("pib.lock")).unwrap();
    let lock = Lockfile::parse("pib.lock", &text).unwrap();
    let snapshot = lock.bases[0].snapshot.as_ref().expect("the lock has no packages of the base");
    let debs = world::cache().join("debs");
    let pool: BTreeMap<String, PathBuf> = snapshot
        .packages
        .iter()
        .map(|package| {
            let path = format!("/{}/{}", package.archive, package.path);
            (path, debs.join(format!("{}.deb", package.digest.hex())))
        })
        .collect();

    let asked = Arc::new(Mutex::new(Vec::new()));
    let address = mirror(pool.clone(), asked.clone());
    let cache = tempfile::tempdir().unwrap();
    keep_native_tools(cache.path());
    let other = World::with_cache(cache.path().to_owned());
    copy(&world, &other);
    let host = host(&other, &address);
    let run = |args: &[&str]| {
        let output = other.pib(PROJECT, args).env("PIB_HOST_ROOT", &host).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = other.pib(PROJECT, &["fetch", "--frozen"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(8), "{}", String::from_utf8_lossy(&refused.stderr));
    let told = run(&["fetch", "--locked"]);
    assert!(told.contains(&format!("the base for arm64, or the {} packages", pool.len())), "{told}");
    run(&["build", "--frozen"]);
    // A lock may be a stranger's: what it names is not what another project gets.
    let recipes = cache.path().join("bases/recipes").read_dir();
    assert_eq!(recipes.map_or(0, Iterator::count), 0, "the base is remembered as that of the release");

    assert_eq!(fs::read_to_string(other.path(PROJECT).join("pib.lock")).unwrap(), text);
    let sum = |world: &World| {
        let path = world.path(PROJECT).join("target/moved-rpi4-arm64.img.sha256");
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(sum(&world), sum(&other), "the images differ");
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(
        asked,
        pool.into_keys().collect::<Vec<_>>(),
        "only the lock's packages are asked for, each once"
    );
}

/// Serves the packages, and none of the lists of packages: a mirror that has others by now.
fn mirror(pool: BTreeMap<String, PathBuf>, asked: Arc<Mutex<Vec<String>>>) -> String {
    web::serve(move |mut stream, request| {
        asked.lock().unwrap().push(request.target.clone());
        let found = pool.get(&request.target).map(|path| fs::read(path).unwrap());
        let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // A client that has gone away is no matter of this test.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    })
}

/// Copies the native tools of the shared cache, which are not what this is about, and take a mirror's lists.
pub(super) fn keep_native_tools(cache: &Path) {
    let (from, to) = (world::cache().join("bases"), cache.join("bases"));
    fs::create_dir_all(to.join("companions")).unwrap();
    for entry in from.join("companions").read_dir().into_iter().flatten().flatten() {
        let digest = fs::read_to_string(entry.path()).unwrap();
        let tar = format!("{}.tar", digest.trim().trim_start_matches("sha256:"));
        if fs::copy(from.join(&tar), to.join(&tar)).is_ok() {
            fs::copy(entry.path(), to.join("companions").join(entry.file_name())).unwrap();
        }
    }
}

/// Copies the project, as version control has it.
fn copy(world: &World, other: &World) {
    let (from, to) = (world.path(PROJECT), other.path(PROJECT));
    fs::create_dir_all(to.join("stages/mine")).unwrap();
    for file in ["pib.toml", "pib.lock", "stages/mine/Dockerfile.part"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// Makes a folder that tells pib, as the root of a host does, which mirror this host's apt uses.
fn host(other: &World, mirror: &str) -> PathBuf {
    let root = other.path("host");
    fs::create_dir_all(root.join("etc/apt")).unwrap();
    let sources =
        format!("deb {mirror}/debian trixie main\ndeb {mirror}/debian-security trixie-security main\n");
    fs::write(root.join("etc/apt/sources.list"), sources).unwrap();
    root
}
