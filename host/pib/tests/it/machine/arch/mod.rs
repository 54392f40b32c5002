//! Arch Linux ARM from servers on this machine: the tarball of its root file system, signed by a key of the test's, and
//! repositories of signed packages. pacman is the real one; kernel and programs are Debian's, so that QEMU starts them.

mod alarm;

use std::fs;
use std::path::Path;

use pib_plan::id::Digest;
use pib_plan::lockfile::LockedBase;

use self::alarm::Alarm;
use super::promises;
use super::system::{base, forget, gateway};
use crate::signed_root::SignedRoot;
use crate::skip::lacks;
use crate::world::{Images, World, judge, root};

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

/// The bundled stages that build Arch Linux ARM; `SHOP` has the rest of `pacman-repo`'s config.
const STAGES: &str = r#"
watchdog = "1"
ro = "1"
rootssh = { version = "1", config = { authorized-keys = ["key.pub"] } }
network = "1"
grow = "1"
boot-config = { version = "1", config = { config-txt = ["dtparam=i2c_arm=on"], cmdline-txt = ["usbcore.autosuspend=-1"] } }
serial-console = { version = "1", config = { speed = 9600 } }
usb-gadget = { version = "1", config = { functions = ["network", "serial"] } }
hostname-from-serial = "1"
ssh-keys-only = { version = "1", config = { root = true } }
pistat = "1"
pacman-repo = { version = "1", config = { name = "shop", key = "shop.asc", packages = ["shop-tools"], SHOP } }
"#;

/// Has the project fetch packages from a mirror, its root grow, and its image have all stages.
fn complete(project: &Path, mirror: &str, fingerprint: &str) {
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replace("[project]\n", &format!("[project]\nmirror = \"{mirror}\"\n"));
    let text = text.replace("\n[stages]", &format!("{LAYOUT}\n[stages]"));
    let shop = format!("server = \"{mirror}/$arch/$repo\", fingerprint = \"{fingerprint}\"");
    fs::write(manifest, format!("{text}{}", STAGES.replace("SHOP", &shop))).unwrap();
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
    fs::copy(root().join("host/examples/router/fingerprint/nobody.pub"), project.join("key.pub")).unwrap();
    fs::write(project.join("shop.asc"), alarm.shop_key()).unwrap();
    complete(&project, &mirror, &alarm.shop_fingerprint());
    world.allow_servers(&[&mirror]);
    fs::create_dir_all(project.join("stages/probe")).unwrap();
    fs::write(project.join("stages/probe/stage.toml"), PROBE).unwrap();
    fs::write(project.join("stages/probe/Dockerfile.part"), "RUN true\n").unwrap();
    world.run(name, &["add", "--path", "stages/probe"]);

    world.run(name, &["lock"]);
    let locked = base(&project);
    let held = locked.tarball.clone().expect("no tarball is locked");
    assert_eq!((held.digest, held.key), (digest, maker.fingerprint()));
    let errors = promises::build(&world, name);
    assert!(errors.contains("there are no native tools for arch rolling"), "{errors}");
    assert!(world.run(name, &["build"]).contains("is up to date"));
    let said = promises::keep(&world, name, &["--card", "4GiB"], STAGES);
    assert!(said.contains("by its own names"), "{said}");
    (world, locked)
}

#[test]
fn arch_linux_arm_is_built_of_its_signed_tarball_and_boots() {
    const NAME: &str = "archpi";
    let arch = match std::env::var("PIB_TEST_SYSTEM").as_deref() {
        Ok("arch-rolling-armv7") => "armv7",
        _ => "arm64",
    };
    if lacks(&[if arch == "arm64" { "qemu-system-aarch64" } else { "qemu-system-arm" }]) {
        return;
    }
    let _images = Images(NAME);
    let (world, locked) = build_and_boot(NAME, arch);
    // Another run of pacman gives the same bytes, out of what the first one was given.
    let image = world.path(NAME).join(format!("target/archpi-rpi4-{arch}.img"));
    let first = judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    world.run(NAME, &["build", "--frozen", "--no-cache"]);
    let second = judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    assert_eq!(first, second);
    // What pacman has installed is in the bill of materials.
    let theirs = if arch == "arm64" { "aarch64" } else { "armv7h" };
    let bill = world.run(NAME, &["sbom"]);
    assert!(
        bill.contains(&format!("/openssh@10.0p1-1?arch={theirs}")) && bill.contains("\"pkg:alpm/"),
        "{bill}"
    );
    forget(&locked);
}
