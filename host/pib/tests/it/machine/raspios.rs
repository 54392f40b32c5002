//! Raspberry Pi OS from archives on this machine: Debian's own, and one beside it with Raspberry Pi's packages, signed by a key of
//! the test's. Its kernel is Debian's under Raspberry Pi's name, so that QEMU starts it.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use pib_debian::decompress::{self, Format};
use pib_debian::{DEFAULT_MIRROR, HostApt};
use pib_net::Http;
use pib_plan::lockfile::{LockedBase, Lockfile};

use crate::apt_archive::AptArchive;
use crate::skip::lacks;
use crate::world::{Images, World, cache, docker, judge, root};

/// The project's own name.
const NAME: &str = "raspi";
/// The date of the test's releases: neither old nor of the future.
const DATE: &str = "Sat, 01 Nov 2025 00:00:00 UTC";
/// Copies the kernel, as Raspberry Pi's package of firmware does.
const KERNEL_HOOK: &str = "#!/bin/sh\nset -eu\nmkdir -p /boot/firmware\ncp /usr/lib/raspi-firmware/* /boot/firmware/\n\
                           cp \"/boot/vmlinuz-$1\" /boot/firmware/kernel8.img\n\
                           cp \"/usr/lib/linux-image-$1\"/broadcom/bcm27*.dtb /boot/firmware/\n";
const INITRAMFS_HOOK: &str = "#!/bin/sh\nset -eu\ncp \"$2\" /boot/firmware/initramfs8\n";
/// What is promised of the booted system; one boot says it all.
const PROBE: &str = r#"[stage]
name = "probe"
version = "0.1.0"

[[test]]
name = "the root is read-only, the watchdog runs, and root may log in"
command = """
findmnt -n -o OPTIONS / | tr , '\\n' | grep -qx ro && systemctl is-active watchdog ssh && [ -s /root/.ssh/authorized_keys ]
"""

[[test]]
name = "the packages are Raspberry Pi's where it has newer ones"
command = "dpkg-query -W -f '${Version}' raspi-firmware"
stdout = "1:20990101-1+rpt1"

[[test]]
name = "apt believes the archive by its own key"
command = "cat /etc/apt/sources.list.d/raspberrypi.sources"
stdout-contains = "Signed-By: /etc/apt/keyrings/raspberrypi.gpg"
"#;

/// Fills the archive of Raspberry Pi's own packages.
fn raspberrypi() -> AptArchive {
    let archive = AptArchive::new("trixie");
    let firmware = archive.package(
        "Package: raspi-firmware\nVersion: 1:20990101-1+rpt1\nArchitecture: all\nSection: kernel\nPriority: optional\n",
        &[
            ("etc/kernel/postinst.d/z50-raspi-firmware", 0o755, KERNEL_HOOK),
            ("etc/initramfs/post-update.d/z50-raspi-firmware", 0o755, INITRAMFS_HOOK),
            ("usr/lib/raspi-firmware/start4.elf", 0o644, "firmware"),
            ("usr/lib/raspi-firmware/fixup4.dat", 0o644, "firmware"),
        ],
    );
    let kernel = archive.package(
        "Package: linux-image-rpi-v8\nVersion: 1:6.12.1-1+rpt1\nArchitecture: arm64\nSection: kernel\nPriority: optional\n\
         Depends: linux-image-arm64, raspi-firmware\n",
        &[],
    );
    let lists = [("arm64", (firmware + &kernel).into_bytes()), ("armhf", Vec::new())];
    archive.publish(DATE, &lists);
    archive
}

/// Writes the bundled init stage into a project, with other archives than Raspberry Pi's: `tables` has those of the archives
/// by name.
fn write_init(project: &Path, tables: &[(&str, String)]) {
    let (from, to) = (root().join("stages/__init__"), project.join("stages/__init__"));
    judge::tool("mkdir", &["-p", project.join("stages").to_str().unwrap()]).unwrap();
    judge::tool("cp", &["-r", from.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
    let mut text = fs::read_to_string(to.join("stage.toml")).unwrap();
    for (name, table) in tables {
        let start = text.find(&format!("name = \"{name}\"\n")).unwrap();
        let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
        let kept =
            |line: &&str| !["url", "keys", "key-url", "components"].iter().any(|key| line.starts_with(key));
        let kept: String = text[start..end].lines().filter(kept).map(|line| format!("{line}\n")).collect();
        text.replace_range(start..end, &format!("{kept}{table}"));
    }
    fs::write(to.join("stage.toml"), text).unwrap();
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("[stages]\n", "[stages]\n__init__ = { path = \"stages/__init__\" }\n"))
        .unwrap();
}

fn base(project: &Path) -> LockedBase {
    let text = fs::read_to_string(project.join("pib.lock")).unwrap();
    Lockfile::parse("pib.lock", &text).unwrap().bases.remove(0)
}

/// Returns the list of Debian's packages for armhf, from the mirror of this machine.
fn armhf_packages() -> Vec<u8> {
    let main = HostApt::read(Path::new("/")).main;
    let main =
        main.map_or_else(|| DEFAULT_MIRROR.to_owned(), |url| url.as_str().trim_end_matches('/').to_owned());
    let url = format!("{main}/dists/trixie/main/binary-armhf/Packages.xz").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let packed = runtime.block_on(async { Http::new().unwrap().bytes(&url, 128 << 20).await.unwrap() });
    let mut list = Vec::new();
    decompress::decoder(Format::of(&packed), &packed[..]).unwrap().read_to_end(&mut list).unwrap();
    list
}

/// Removes a base from the cache. The addresses of its archives are others in each run, and so is the base.
fn forget(made: &LockedBase) {
    let name = format!("bases/{}.tar", made.digest().unwrap().hex());
    fs::remove_file(cache().join(name)).unwrap();
}

/// Returns the address of this machine at which containers reach it.
pub(super) fn gateway() -> String {
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let bridge = docker(&["network", "inspect", "bridge", "--format", bridge]);
    let told = judge::tool("ip", &["-4", "-oneline", "address", "show", "dev", bridge.trim()]).unwrap();
    let address = told.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
    address.split('/').next().unwrap().to_owned()
}

#[test]
fn raspberry_pi_os_is_made_of_its_archives_and_boots() {
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    let archive = raspberrypi();
    let address = archive.serve(&gateway(), None);
    world.run(".", &["new", NAME, "--os", "raspios"]);
    let project = world.path(NAME);
    write_init(&project, &[("raspberrypi", archive.table(&address))]);
    world.allow_servers(&[&address]);
    let key = root().join("host/examples/router/fingerprint/nobody.pub");
    let config = format!("rootssh.authorized-keys={}", key.display());
    world.run(NAME, &["add", "watchdog", "ro", "rootssh", "--config", &config]);
    fs::create_dir_all(project.join("stages/probe")).unwrap();
    fs::write(project.join("stages/probe/stage.toml"), PROBE).unwrap();
    fs::write(project.join("stages/probe/Dockerfile.part"), "RUN true\n").unwrap();
    world.run(NAME, &["add", "--path", "stages/probe"]);

    world.run(NAME, &["lock"]);
    let locked = base(&project);
    let snapshot = locked.snapshot.as_ref().expect("no packages are locked");
    let names: Vec<_> = snapshot.archives.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(names, ["debian", "debian-security", "raspberrypi"]);
    let own = &snapshot.archives[2];
    assert!(
        own.key == archive.fingerprint() && own.keyring().is_some() && snapshot.archives[0].keyring.is_none()
    );
    world.run(NAME, &["lock", "--locked"]);

    let built = world.pib(NAME, &["build"]).output().unwrap();
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !errors.contains("would not start"), "{errors}");
    assert!(errors.contains("pib-native:raspios-trixie-arm64-"), "{errors}");
    let made = base(&project);
    assert_eq!(made.snapshot.as_ref(), Some(snapshot));
    forget(&made);
    let tested = world.pib(NAME, &["test", "--filter", "probe"]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success() && said.contains("by its own key"), "{said}");
}

#[test]
fn the_first_boards_have_a_base_of_raspbians_packages() {
    const ZERO: &str = "raspizero";
    let _images = Images(ZERO);
    let world = World::new();
    // Raspbian stands in for Debian's armhf: its packages, signed by another key.
    let raspbian = AptArchive::new("trixie");
    let list = armhf_packages();
    raspbian.publish(DATE, &[("armhf", list)]);
    let own = raspberrypi();
    let ip = gateway();
    let [at, own_at] = [&raspbian, &own].map(|archive| archive.serve(&ip, Some(DEFAULT_MIRROR)));
    let tables = [("raspbian", raspbian.table(&at)), ("raspberrypi", own.table(&own_at))];
    world.allow_servers(&[&at, &own_at]);
    let refused = world.pib(".", &["new", ZERO, "--board", "zerow"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!refused.status.success() && told.contains("--os raspios"), "{told}");
    world.run(".", &["new", ZERO, "--board", "zerow", "--os", "raspios"]);
    let project = world.path(ZERO);
    write_init(&project, &tables);
    world.run(ZERO, &["lock"]);
    let locked = base(&project);
    let snapshot = locked.snapshot.as_ref().expect("no packages are locked");
    let names: Vec<_> = snapshot.archives.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(names, ["raspbian", "raspberrypi"]);
    assert_eq!(locked.arch.as_str(), "armv6");
    assert!(snapshot.packages.iter().all(|own| ["armhf", "all"].contains(&own.arch.as_str())));
    assert!(world.run(ZERO, &["plan"]).contains("os 1."));
    world.run(ZERO, &["build", "--until", "__init__"]);
    let made = base(&project);
    assert_eq!(made.snapshot.as_ref(), Some(snapshot));
    forget(&made);
}
