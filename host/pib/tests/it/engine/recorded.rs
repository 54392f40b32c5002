//! What parts fetch is recorded, and given to them again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use pib_plan::id::Digest;
use pib_plan::lockfile::Lockfile;
use pib_plan::recording::{FILE_NAME, Recording};

use crate::web;
use crate::world::{Images, World, judge};

/// A stage that makes a base and does nothing.
const INIT: &str = "[stage]\nname = \"__init__\"\nversion = \"1.0.0\"\nphase = \"init\"\n\n[base.debian]\n\
                    bootstrap = \"debian\"\n";

/// What is recorded of the package `hello`.
const HELLO: &str = "http://deb.debian.org/debian/pool/main/h/hello/hello_";

/// Makes a project of which pib records what parts fetch.
pub(super) fn project(name: &str, part: &str) -> World {
    let world = World::new();
    world.tiny(name, part);
    let path = world.path(name).join("pib.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    world
}

pub(super) fn recording(folder: &Path) -> Recording {
    Recording::parse(FILE_NAME, &fs::read_to_string(folder.join(FILE_NAME)).unwrap()).unwrap()
}

pub(super) fn lock(folder: &Path) -> Lockfile {
    Lockfile::parse("pib.lock", &fs::read_to_string(folder.join("pib.lock")).unwrap()).unwrap()
}

/// Makes a folder that tells pib, as the root of a host does, of a mirror that nobody reaches.
fn host_without_mirror(world: &World) -> PathBuf {
    let root = world.path("host");
    fs::create_dir_all(root.join("etc/apt")).unwrap();
    let sources = "deb http://127.0.0.1:9/debian trixie main\n\
                   deb http://127.0.0.1:9/debian-security trixie-security main\n";
    fs::write(root.join("etc/apt/sources.list"), sources).unwrap();
    root
}

pub(super) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_parts_fetch_is_given_again_without_a_mirror_and_makes_the_same() {
    const NAME: &str = "recorded";
    let _images = Images(NAME);
    let first = project(NAME, "RUN apt-get update\nRUN apt-get install --yes hello\n");
    first.run(NAME, &["build"]);
    let folder = first.path(NAME);
    let (recorded, locked) = (recording(&folder), lock(&folder));
    assert_eq!(locked.fetch, Some(recorded.digest()));
    assert!(locked.snapshot.is_some());
    // This machine's mirror is in none of it.
    for (request, _) in recorded.iter() {
        assert!(request.url.starts_with("http://deb.debian.org/debian"), "{request:?}");
    }
    assert!(recorded.iter().any(|(asked, found)| asked.url.starts_with(HELLO) && found.size > 10_000));
    assert!(recorded.iter().any(|(asked, _)| asked.url.ends_with("/dists/trixie/InRelease")));
    let texts = ["pib.lock", FILE_NAME].map(|file| fs::read_to_string(folder.join(file)).unwrap());
    first.run(NAME, &["build"]);
    assert_eq!(texts, ["pib.lock", FILE_NAME].map(|file| fs::read_to_string(folder.join(file)).unwrap()));

    // As version control has it, on a machine that reaches no mirror.
    let other = World::new();
    let copy = other.path(NAME);
    fs::create_dir_all(copy.join("stages/mine")).unwrap();
    for file in ["pib.toml", "pib.lock", FILE_NAME, "stages/mine/Dockerfile.part"] {
        fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    let host = host_without_mirror(&other);
    let built =
        other.pib(NAME, &["build", "--frozen", "--no-cache"]).env("PIB_HOST_ROOT", &host).output().unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    let sum =
        |folder: &Path| fs::read_to_string(folder.join("target/recorded-rpi4-arm64.img.sha256")).unwrap();
    assert_eq!(sum(&folder), sum(&copy), "the images differ");
    // Nor does it matter whether native tools stand in.
    let args = ["build", "--frozen", "--no-cache", "--no-native"];
    let built = other.pib(NAME, &args).env("PIB_HOST_ROOT", &host).output().unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    assert_eq!(sum(&folder), sum(&copy), "the image without native tools differs");

    // What mirrors have in newer versions is shown: here of a package that is said to be very old.
    let old = fs::read_to_string(copy.join("pib.lock")).unwrap();
    let old: String = old.lines().map(|line| aged(line) + "\n").collect();
    fs::write(copy.join("pib.lock"), old).unwrap();
    let told = other.run(NAME, &["outdated", "--packages"]);
    assert!(told.lines().any(|line| line.starts_with("base-files 0.1 -> ")), "{told}");

    // A new snapshot begins, and everything is asked for again.
    let told = first.run(NAME, &["update", "--packages"]);
    assert!(told.contains("takes the packages of "), "{told}");
    let now = lock(&folder);
    assert!(now.snapshot > locked.snapshot && now.fetch.is_none());
    first.run(NAME, &["build", "--until", "mine"]);
    let whole = recording(&folder);
    assert_eq!(lock(&folder).fetch, Some(whole.digest()));

    // The engine asks for nothing that it has run, but what that asked for is in the recording of a copy, too.
    fs::write(folder.join("pib.lock"), now.to_text()).unwrap();
    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    first.run(NAME, &["build", "--until", "mine"]);
    assert_eq!(recording(&folder), whole);
}

/// Returns a line of a lock in which the package `base-files` is very old.
fn aged(line: &str) -> String {
    match line.split_once("{ name = \"base-files\", version = \"") {
        Some((before, after)) => {
            let (_, rest) = after.split_once('"').unwrap();
            format!("{before}{{ name = \"base-files\", version = \"0.1\"{rest}")
        }
        None => line.to_owned(),
    }
}

/// An archive of one package, which has one version at a time.
#[derive(Clone, Default)]
struct Archive(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Archive {
    /// Starts a web server for it; returns its address.
    fn serve(&self) -> String {
        let files = self.0.clone();
        web::serve(move |mut stream, request| {
            let found = files.lock().unwrap().get(&request.target).cloned();
            let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has gone away is no matter of this test.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        })
    }

    /// Has it hold the package `greeting` in a version, and no other.
    fn publish(&self, version: &str) {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share")).unwrap();
        let control = format!(
            "Package: greeting\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n\
             Description: says hello\n"
        );
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        fs::write(tree.join("usr/share/greeting"), version).unwrap();
        let name = format!("greeting_{version}_all.deb");
        let path = folder.path().join(&name);
        let args = ["--root-owner-group", "--build", &tree.to_string_lossy(), &path.to_string_lossy()];
        judge::tool("dpkg-deb", &args).unwrap();
        let package = fs::read(&path).unwrap();
        let digest = Digest::of(&package).hex();
        let list = format!("{control}Filename: ./{name}\nSize: {}\nSHA256: {digest}\n", package.len());
        let files =
            [(format!("/debian/{name}"), package), ("/debian/Packages".to_owned(), list.into_bytes())];
        *self.0.lock().unwrap() = files.into();
    }
}

/// A project whose only package comes from an archive of the test.
struct Greeting {
    name: &'static str,
    world: World,
    archive: Archive,
    address: String,
}

impl Greeting {
    /// Makes it, with its base.
    fn new(name: &'static str) -> Self {
        let archive = Archive::default();
        archive.publish("1.0");
        let address = archive.serve();
        let world = project(
            name,
            "RUN rm -f /etc/apt/sources.list.d/*\n\
             RUN echo 'deb [trusted=yes] http://deb.debian.org/debian ./' > /etc/apt/sources.list\n\
             RUN apt-get update\nRUN apt-get install --yes greeting\n",
        );
        // The bundled init stage asks for the lists of the whole distribution.
        let init = world.path(name).join("stages/__init__");
        fs::create_dir_all(&init).unwrap();
        fs::write(init.join("stage.toml"), INIT).unwrap();
        fs::write(init.join("Dockerfile.part"), "RUN true\n").unwrap();
        let manifest = world.path(name).join("pib.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let text: String = text
            .lines()
            .filter(|line| !line.starts_with("__init__"))
            .map(|line| format!("{line}\n"))
            .collect();
        let own = "[stages]\n__init__ = { path = \"stages/__init__\" }\n";
        fs::write(manifest, text.replacen("[stages]\n", own, 1)).unwrap();
        // The base comes from a real mirror.
        world.run(name, &["build", "--until", "__init__"]);
        let greeting = Self { name, world, archive, address };
        greeting.host(&greeting.world);
        greeting
    }

    /// Writes what tells a pib of the archive, in its place of a host's root.
    fn host(&self, world: &World) -> PathBuf {
        let host = world.path("host");
        fs::create_dir_all(host.join("etc/apt")).unwrap();
        let sources = format!("deb {}/debian trixie main\n", self.address);
        fs::write(host.join("etc/apt/sources.list"), sources).unwrap();
        host
    }

    /// Runs pib in a copy of the project; returns what it says.
    fn pib(&self, world: &World, args: &[&str]) -> Output {
        world.pib(self.name, args).env("PIB_HOST_ROOT", world.path("host")).output().unwrap()
    }

    /// Builds the stage in a copy of the project, and returns the version of the package in it.
    fn build(&self, world: &World, more: &[&str]) -> String {
        let built = self.pib(world, &[&["build", "--until", "mine"], more].concat());
        assert!(built.status.success(), "{}", errors(&built));
        let read = self.pib(world, &["run", "--at", "mine", "--", "cat", "/usr/share/greeting"]);
        assert!(read.status.success(), "{}", errors(&read));
        String::from_utf8(read.stdout).unwrap()
    }
}

#[test]
fn what_a_mirror_has_new_comes_with_a_new_snapshot() {
    const NAME: &str = "recordedlater";
    let _images = Images(NAME);
    let project = Greeting::new(NAME);
    let world = &project.world;
    assert_eq!(project.build(world, &[]), "1.0");
    project.archive.publish("2.0");
    assert_eq!(project.build(world, &["--locked", "--no-cache"]), "1.0");
    assert_eq!(project.build(world, &["--no-cache"]), "1.0");
    assert!(world.run(NAME, &["update", "--packages"]).contains("takes the packages of "));
    assert_eq!(project.build(world, &[]), "2.0");
}

#[test]
fn an_image_is_of_the_recording_that_the_lock_names() {
    const NAME: &str = "recordedtwice";
    const FILES: [&str; 2] = ["pib.lock", FILE_NAME];
    let _images = Images(NAME);
    let project = Greeting::new(NAME);
    let (one, folder) = (&project.world, project.world.path(NAME));
    assert_eq!(project.build(one, &[]), "1.0");
    let texts = |folder: &Path| FILES.map(|file| fs::read_to_string(folder.join(file)).unwrap());
    let check_out = |texts: &[String; 2]| {
        FILES.iter().zip(texts).for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
    };
    let first = texts(&folder);

    // Somebody else records the same snapshot of an archive that has moved on.
    project.archive.publish("2.0");
    let other = World::new();
    let copy = other.path(NAME);
    for file in [
        "pib.toml",
        "stages/mine/Dockerfile.part",
        "stages/__init__/stage.toml",
        "stages/__init__/Dockerfile.part",
    ] {
        fs::create_dir_all(copy.join(file).parent().unwrap()).unwrap();
        fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    fs::write(copy.join("pib.lock"), Lockfile { fetch: None, ..lock(&folder) }.to_text()).unwrap();
    project.host(&other);
    assert_eq!(project.build(&other, &[]), "2.0");
    let second = texts(&copy);
    assert_eq!(lock(&copy).snapshot, lock(&folder).snapshot);

    // Whichever recording is checked out, the engine gives what was made by it, and `verify` knows one from the other.
    check_out(&second);
    assert_eq!(project.build(one, &["--locked"]), "2.0");
    check_out(&first);
    assert_eq!(project.build(one, &["--locked"]), "1.0");
    let built = project.pib(one, &["build"]);
    assert!(built.status.success(), "{}", errors(&built));
    let image = || Digest::of(&fs::read(folder.join(format!("target/{NAME}-rpi4-arm64.img"))).unwrap());
    let of_first = image();
    assert!(project.pib(one, &["verify"]).status.success());
    check_out(&second);
    let other_image = project.pib(one, &["verify"]);
    let told = errors(&other_image);
    assert!(
        other_image.status.code() == Some(8) && told.contains("/debian/Packages` is not what it was"),
        "{told}"
    );
    let built = project.pib(one, &["build"]);
    assert!(built.status.success(), "{}", errors(&built));
    assert_ne!(image(), of_first);
    assert!(project.pib(one, &["verify"]).status.success());
}

#[test]
fn parts_reach_nothing_that_is_not_recorded() {
    const NAME: &str = "recordedonly";
    const ASK: &str = "GET http://deb.debian.org/debian/dists/trixie/InRelease HTTP/1.0";
    let _images = Images(NAME);
    let part = format!(
        "RUN [ \"$(ls /sys/class/net)\" = lo ]\nRUN apt-get update\nUSER nobody\n\
         RUN bash -c 'exec 3<>/dev/tcp/127.0.0.1/8063; printf \"{ASK}\\r\\n\\r\\n\" >&3; head -c 12 <&3 | grep 200'\n"
    );
    let world = project(NAME, &part);
    let folder = world.path(NAME);
    let run = |args: &[&str]| world.pib(NAME, args).output().unwrap();
    let until = |more: &[&str]| run(&[&["build", "--until", "mine"], more].concat());
    let first = until(&["--locked"]);
    assert!(first.status.code() == Some(3) && errors(&first).contains("takes the packages of"), "{first:?}");
    let first = until(&[]);
    assert!(first.status.success(), "{}", errors(&first));

    // A response that is missing is named; so is a recording that is missing, or another one.
    let (text, locked) = (fs::read_to_string(folder.join(FILE_NAME)).unwrap(), lock(&folder));
    let less: String =
        text.lines().filter(|line| !line.contains("InRelease")).map(|line| format!("{line}\n")).collect();
    let digest = Recording::parse(FILE_NAME, &less).unwrap().digest();
    fs::write(folder.join(FILE_NAME), &less).unwrap();
    let other = until(&["--no-cache"]);
    assert!(other.status.code() == Some(3) && errors(&other).contains("is not the recording"), "{other:?}");
    let changed = Lockfile { fetch: Some(digest), ..locked.clone() };
    fs::write(folder.join("pib.lock"), changed.to_text()).unwrap();
    let refused = until(&["--locked", "--no-cache"]);
    let told = errors(&refused);
    assert_eq!(refused.status.code(), Some(6), "{told}");
    assert!(told.contains("pib.fetch.lock does not have: http://deb.debian.org/debian"), "{told}");
    assert_eq!(fs::read_to_string(folder.join(FILE_NAME)).unwrap(), less, "--locked writes nothing");
    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    let gone = until(&["--no-cache"]);
    assert!(
        gone.status.code() == Some(3) && errors(&gone).contains("names a recording of what parts fetch"),
        "{gone:?}"
    );

    // A build that may record nothing is told so before its parts run.
    fs::write(folder.join("pib.lock"), Lockfile { fetch: None, ..locked.clone() }.to_text()).unwrap();
    let early = until(&["--locked", "--no-cache"]);
    assert!(early.status.code() == Some(3) && errors(&early).contains("names no recording"), "{early:?}");

    // What an engine cannot keep parts from is told before a strict build begins.
    fs::write(folder.join(FILE_NAME), &text).unwrap();
    fs::write(folder.join("pib.lock"), locked.to_text()).unwrap();
    let strict = ["build", "--until", "mine", "--strict"];
    let classic = world.pib(NAME, &strict).env("DOCKER_BUILDKIT", "0").output().unwrap();
    let told = errors(&classic);
    assert!(classic.status.code() == Some(6) && told.contains("pib::recording::bypassed"), "{told}");
    assert!(until(&["--strict"]).status.success());
}

#[test]
fn an_open_stage_has_the_network_and_is_named_where_nothing_may_be_recorded() {
    const NAME: &str = "recordedopen";
    let _images = Images(NAME);
    let world = project(NAME, "RUN ls /sys/class/net | grep -v lo\n");
    let until =
        |more: &[&str]| world.pib(NAME, &[&["build", "--until", "mine"], more].concat()).output().unwrap();
    let closed = until(&[]);
    assert_eq!(closed.status.code(), Some(6), "{}", errors(&closed));
    let manifest = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\nnetwork = \"open\"\n";
    fs::write(world.path(NAME).join("stages/mine/stage.toml"), manifest).unwrap();
    let open = until(&[]);
    assert!(open.status.success() && !errors(&open).contains("not recorded"), "{}", errors(&open));
    let strict = until(&["--strict"]);
    assert!(strict.status.code() == Some(6) && errors(&strict).contains("bypassed"), "{}", errors(&strict));
    let locked = until(&["--locked", "--no-cache"]);
    let told = errors(&locked);
    assert!(locked.status.success() && told.contains("`mine` has `network = \"open\"`"), "{told}");
}
