//! Raspberry Pi OS from archives on this machine: Debian's own, and one beside it with Raspberry Pi's packages, signed by a key of
//! the test's.

use std::fs;

use pib_debian::DEFAULT_MIRROR;

use super::system::{System, base, forget, gateway, raspberrypi, raspbian, system, write_init};
use crate::skip::lacks;
use crate::world::{Images, World, root};

/// The project's own name.
const NAME: &str = "raspi";
const TRIXIE: System = system("raspios", "trixie", "arm64");
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

#[test]
fn raspberry_pi_os_is_made_of_its_archives_and_boots() {
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    let archives = TRIXIE.project(&world, NAME);
    let project = world.path(NAME);
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
    assert_eq!(own.key, archives.fingerprint());
    assert!(own.keyring().is_some() && snapshot.archives[0].keyring.is_none());
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
    let (raspbian, own) = (raspbian("trixie"), raspberrypi(&TRIXIE));
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
