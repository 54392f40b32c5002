//! What a lock names is the same on another machine, another day: with another cache, another engine, and no network at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::engine::kind::{self, Private};
use crate::engine::native::{Target, prepared};
use crate::world::{Images, World};

/// Runs pib under another user, host name, umask and day, without a network: as another machine would on which the mirrors are
/// gone.
fn run_elsewhere(world: &World, project: &str, args: &[&str], engine: &Private) {
    const ENTER: &str = "hostname elsewhere; umask 077; \
                         exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                         faketime '2031-02-03 04:05:06' \"$@\"";
    let pib = world.pib(project, args);
    let mut run = Command::new("unshare");
    run.args(["--net", "--uts", "sh", "-euc", ENTER, "sh"]);
    run.arg(pib.get_program()).args(pib.get_args()).current_dir(world.path(project));
    for (name, value) in pib.get_envs() {
        run.env(name, value.unwrap_or_default());
    }
    run.env("DOCKER_HOST", engine.host()).env("TZ", "Asia/Tokyo").env("LC_ALL", "C").stdin(Stdio::null());
    let output = run.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pib {args:?}: {}\n{errors}", output.status);
}

/// Gives what is below a folder to the user nobody.
fn give_away(folder: &Path) {
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status().unwrap();
    assert!(owned.success());
}

/// Lets every user of this machine reach an engine.
fn open(engine: &Private) {
    let socket = engine.host();
    let socket = Path::new(socket.trim_start_matches("unix://"));
    for (path, mode) in [(socket.parent().unwrap(), 0o755), (socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Where what a build is made of comes from on the other machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// A store that `pib push` has filled.
    Store,
    /// The project itself, by `pib vendor --packages`.
    Project,
}

/// Builds a project, and builds it again where nothing but its contents is.
fn is_the_same_elsewhere(name: &'static str, target: Target<'_>, contents: Contents, options: &[&str]) {
    let _images = Images(name);
    let first = prepared(World::new(), name, "RUN apt-get update\nRUN apt-get install --yes hello\n", target);
    let store = tempfile::tempdir().unwrap();
    let manifest = first.path(name).join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut more = "\n[build]\nnetwork = \"recorded\"\n".to_owned();
    if contents == Contents::Store {
        more += &format!("\n[stores]\nown = \"{}\"\n", store.path().display());
    }
    fs::write(&manifest, text + &more).unwrap();
    first.run(name, &["build"]);
    // All that the build is made of has passed through this machine.
    match contents {
        Contents::Store => {
            let told = first.run(name, &["fetch"]);
            assert!(told.contains(", and emulators, and native tools"), "{told}");
            let told = first.run(name, &["push"]);
            assert!(told.contains(" files of this project are in "), "{told}");
        }
        Contents::Project => {
            let told = first.run(name, &["vendor", "--packages"]);
            assert!(told.contains(" files that builds fetch are in vendor-packages"), "{told}");
        }
    }

    let cache = tempfile::tempdir().unwrap();
    let other = World::with_cache(cache.path().join("cache"));
    let (from, to) = (first.path(name), other.path(name));
    fs::create_dir_all(&to).unwrap();
    let copy = "cd \"$0\"; rm -rf target; cp -r . \"$1\"";
    let sum = |folder: &Path| {
        let (_, arch, board) = target;
        let file = format!("target/{name}-{board}-{arch}.img.sha256");
        fs::read_to_string(folder.join(file)).unwrap()
    };
    let expected = sum(&from);
    let copied = Command::new("sh").args(["-euc", copy]).args([&from, &to]).status().unwrap();
    assert!(copied.success());
    let engine = kind::docker("6g");
    open(&engine);
    [other.path("."), cache.path().to_owned(), store.path().to_owned()]
        .iter()
        .for_each(|path| give_away(path));
    run_elsewhere(&other, name, &["fetch", "--frozen"], &engine);
    run_elsewhere(&other, name, &[&["build", "--frozen"], options].concat(), &engine);
    assert_eq!(sum(&to), expected, "the images differ");
    eprintln!("{name}, {}: the same elsewhere: {}", target.0, expected.trim());
}

/// Returns the release that a test builds: this one, unless `PIB_TEST_RELEASE` names another. Either architecture with either
/// release takes two runs.
fn release(usual: &str) -> String {
    std::env::var("PIB_TEST_RELEASE").unwrap_or_else(|_| usual.to_owned())
}

#[test]
fn an_arm64_image_is_the_same_elsewhere() {
    let target = (&*release("trixie"), "arm64", "rpi4");
    is_the_same_elsewhere("elsewherearm64", target, Contents::Store, &["--no-native"]);
}

#[test]
fn an_armv7_image_is_the_same_elsewhere() {
    let target = (&*release("bookworm"), "armv7", "rpi3");
    is_the_same_elsewhere("elsewherearmv7", target, Contents::Project, &[]);
}
