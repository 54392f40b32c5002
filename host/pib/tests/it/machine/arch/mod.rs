//! Arch Linux ARM from servers on this machine: the tarball of its root file system, signed by a key of the test's, and
//! repositories of signed packages. pacman is the real one; kernel and programs are Debian's, so that QEMU starts them.

mod alarm;

use std::fs;
use std::path::Path;

use pib_plan::id::Digest;
use pib_plan::lockfile::{LockedBase, Lockfile};

use self::alarm::Alarm;
use crate::signed_root::SignedRoot;
use crate::skip::lacks;
use crate::world::{Images, World, cache, docker, judge, root};

/// What is promised of the booted system beside what the stages promise.
const PROBE: &str = r#"[stage]
name = "probe"
version = "0.1.0"

[[test]]
name = "pacman has the packages of today, by its own names"
command = "pacman -Q linux-rpi raspberrypi-bootloader openssh watchdog base"
stdout = """
linux-rpi 6.12.1-1
raspberrypi-bootloader 20250101-1
openssh 10.0p1-1
watchdog 5.16-1
base 2-1
"""

[[test]]
name = "nothing of the build is left in pacman's settings"
command = "grep -E '^(CheckSpace|DisableSandbox|NoProgressBar|#pib)' /etc/pacman.conf; ls -d /etc/pacman.d/hooks /var/log/pacman.log 2>&1 | wc -l"
stdout = """
CheckSpace
2
"""

[[test]]
name = "the mirrors are the project's and the base's own"
command = "grep -c ^Server /etc/pacman.d/mirrorlist; tail -n 1 /etc/pacman.d/mirrorlist"
stdout = """
2
Server = http://mirror.archlinuxarm.org/$arch/$repo
"""

[[test]]
name = "nobody logs in by a password that everybody knows"
command = "getent passwd alarm; getent shadow root | cut -d: -f2 | cut -c1"
stdout = "!"
"#;

/// The usual partitions, but for a root that takes the whole card.
const LAYOUT: &str = r#"
[image]
partition = [
    { label = "PIBOOT", filesystem = "vfat", mount = "/boot", size = "512MiB" },
    { label = "PIROOT", filesystem = "ext4", mount = "/", grow = true },
]
"#;

/// Writes the bundled init stage into a project, with another maker of the root file system.
fn write_init(project: &Path, arch: &str, tarball: &SignedRoot) {
    let (from, to) = (root().join("stages/__init__"), project.join("stages/__init__"));
    judge::tool("mkdir", &["-p", project.join("stages").to_str().unwrap()]).unwrap();
    judge::tool("cp", &["-r", from.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
    let text = fs::read_to_string(to.join("stage.toml")).unwrap();
    let start = text.find("\n[[base.arch.tarball]]").unwrap();
    let table = format!("\n[[base.arch.tarball]]\narch = \"{arch}\"\n{}", tarball.table());
    fs::write(to.join("stage.toml"), format!("{}{table}", &text[..start])).unwrap();
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("[stages]\n", "[stages]\n__init__ = { path = \"stages/__init__\" }\n"))
        .unwrap();
}

/// Has the project fetch packages from a mirror, and its root grow.
fn set_mirror(project: &Path, mirror: &str) {
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replace("[project]\n", &format!("[project]\nmirror = \"{mirror}\"\n"));
    fs::write(manifest, text.replace("\n[stages]", &format!("{LAYOUT}\n[stages]"))).unwrap();
}

fn base(project: &Path) -> LockedBase {
    let text = fs::read_to_string(project.join("pib.lock")).unwrap();
    Lockfile::parse("pib.lock", &text).unwrap().bases.remove(0)
}

/// Returns the address of this machine at which containers reach it.
fn gateway() -> String {
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let bridge = docker(&["network", "inspect", "bridge", "--format", bridge]);
    let told = judge::tool("ip", &["-4", "-oneline", "address", "show", "dev", bridge.trim()]).unwrap();
    let address = told.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
    address.split('/').next().unwrap().to_owned()
}

/// Removes a base from the cache. Its address is another in each run, and so is the note of it.
fn forget(made: &LockedBase) {
    let name = format!("bases/{}.tar", made.digest().unwrap().hex());
    fs::remove_file(cache().join(name)).unwrap();
}

/// Makes a project, builds it, and tests the booted image.
fn build_and_boot(name: &'static str, arch: &'static str) -> (World, LockedBase) {
    let alarm = Alarm::of(arch);
    let world = World::new();
    let ip = gateway();
    let maker = SignedRoot::at(&ip);
    let tarball = alarm.root();
    let digest = Digest::of(&tarball);
    maker.publish(tarball);
    world.run(".", &["new", name, "--os", "arch", "--board", "rpi4", "--arch", arch]);
    let project = world.path(name);
    write_init(&project, arch, &maker);
    let mirror = alarm.serve(&ip);
    set_mirror(&project, &mirror);
    world.allow_servers(&[&mirror]);
    let key = root().join("host/examples/router/fingerprint/nobody.pub");
    let config = format!("rootssh.authorized-keys={}", key.display());
    world.run(name, &["add", "watchdog", "ro", "rootssh", "network", "grow", "--config", &config]);
    fs::create_dir_all(project.join("stages/probe")).unwrap();
    fs::write(project.join("stages/probe/stage.toml"), PROBE).unwrap();
    fs::write(project.join("stages/probe/Dockerfile.part"), "RUN true\n").unwrap();
    world.run(name, &["add", "--path", "stages/probe"]);

    world.run(name, &["lock"]);
    let locked = base(&project);
    let held = locked.tarball.clone().expect("no tarball is locked");
    assert_eq!((held.digest, held.key), (digest, maker.fingerprint()));
    let built = world.pib(name, &["build"]).output().unwrap();
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !errors.contains("would not start"), "{errors}");
    assert!(errors.contains("there are no native tools for arch rolling"), "{errors}");
    assert!(world.run(name, &["build"]).contains("is up to date"));
    let tested = world.pib(name, &["test", "--card", "4GiB"]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success() && said.contains("by its own names"), "{said}");
    (world, locked)
}

#[test]
fn arch_linux_arm_is_built_of_its_signed_tarball_and_boots() {
    const NAME: &str = "archpi";
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let (world, locked) = build_and_boot(NAME, "arm64");
    // Another run of pacman gives the same bytes, out of what the first one was given.
    let image = world.path(NAME).join("target/archpi-rpi4-arm64.img");
    let first = judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    world.run(NAME, &["build", "--frozen", "--no-cache"]);
    let second = judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    assert_eq!(first, second);
    forget(&locked);
}
