//! The main job with everything real: Debian's archive, the engine, ARM programs, an image, a boot.
//!
//! The base and the container images of earlier runs are used where they are, as a person's would be.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::exported;
use crate::world::judge::{self, Wanted};
use crate::world::{Images, World};

/// The device's address, one that QEMU's own DHCP would not give it.
const ADDRESS: &str = "10.0.2.77";
/// The usual partitions, of which the root grows on the first boot, although it is read-only.
const LAYOUT: &str = r#"
[image]
partition = [
    { label = "PIBOOT", filesystem = "vfat", mount = "/boot/firmware", size = "512MiB" },
    { label = "PIROOT", filesystem = "ext4", mount = "/", grow = true },
]
"#;

#[test]
fn from_nothing_to_an_image_that_boots() {
    let world = World::new();
    let _images = Images("mainjob");
    let key = make_key(&world);
    world.run(".", &["new", "mainjob"]);
    let config = [
        format!("rootssh.authorized-keys={}.pub", key.display()),
        "watchdog.timeout=10".to_owned(),
        "network.method=static".to_owned(),
        format!("network.address={ADDRESS}/24"),
        "network.gateway=10.0.2.2".to_owned(),
        "network.dns=10.0.2.3".to_owned(),
    ];
    let config = config.iter().flat_map(|value| ["--config", value]);
    let add = ["add", "watchdog", "ro", "rootssh", "network", "grow"].into_iter().chain(config);
    world.run("mainjob", &add.collect::<Vec<_>>());
    let manifest = world.path("mainjob/pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}{LAYOUT}")).unwrap();
    add_probe(&world, &key);
    world.run("mainjob", &["build"]);

    let image = world.path("mainjob/target/mainjob-rpi4-arm64.img");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let wanted = Wanted { hostname: "mainjob", key: public.trim(), watchdog_timeout: 10 };
    judge::check(&image, &wanted).unwrap();
    exported::no_program_of_this_machine("mainjob");
    nothing_changed(&world);
    only_the_image_changes(&world, &image);
    boots(&world, &image);
    let before = judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    is_started_and_ended(&world, &["--ssh", "0"], "Linux version");
    // What comes after the initramfs takes minutes on that machine.
    is_started_and_ended(&world, &["--board", "rpi3"], "Run /init as init process");
    assert_eq!(judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap(), before);
}

/// `pib boot` shows the console of the system, up to some words and further, and ends it when it is ended itself.
fn is_started_and_ended(world: &World, options: &[&str], words: &str) {
    let mut boot = world.pib("mainjob", &[&["boot"], options].concat());
    let mut boot = boot.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let console = BufReader::new(boot.stdout.take().unwrap());
    let lines = console.split(b'\n').map_while(Result::ok);
    let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let found = lines.any(|line| line.contains(words));
    // Each thread has the list of the processes that it started.
    let threads = std::fs::read_dir(format!("/proc/{}/task", boot.id())).unwrap();
    let children = threads.map(|thread| thread.unwrap().path().join("children"));
    let children: String = children.filter_map(|list| std::fs::read_to_string(list).ok()).collect();
    let qemu = children.trim().to_owned();
    assert!(found && !qemu.is_empty(), "{options:?}: no `{words}`, or not by a program of its own: `{qemu}`");
    judge::tool("kill", &["-INT", &boot.id().to_string()]).unwrap();
    assert_eq!(boot.wait().unwrap().code(), Some(130));
    // QEMU was killed. The kernel takes a moment to free its memory; until its new parent reads its exit code it is a zombie.
    let runs =
        || std::fs::read_to_string(format!("/proc/{qemu}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let since = Instant::now();
    while runs() {
        assert!(since.elapsed() < Duration::from_secs(60), "QEMU runs on");
        std::thread::yield_now();
    }
}

/// A second build asks nobody anything: it works with an engine that does not exist, and at once.
fn nothing_changed(world: &World) {
    let mut build = world.pib("mainjob", &["build", "--frozen", "--json"]);
    let since = Instant::now();
    let output = build.env("DOCKER_HOST", "unix:///nonexistent/engine.sock").output().unwrap();
    let took = since.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took < Duration::from_secs(5), "a build of nothing took {took:?}");
}

/// A missing image is written again from what the engine has, and is the same, byte for byte.
fn only_the_image_changes(world: &World, image: &Path) {
    let sum = || std::fs::read_to_string(image.with_extension("img.sha256")).unwrap();
    let before = sum();
    std::fs::remove_file(image).unwrap();
    let since = Instant::now();
    world.run("mainjob", &["build", "--locked"]);
    assert_eq!(sum(), before);
    // Exporting and writing takes seconds; building the stages takes minutes.
    assert!(since.elapsed() < Duration::from_secs(180), "the stages were built again: {:?}", since.elapsed());
}

fn make_key(world: &World) -> PathBuf {
    let key = world.path("key");
    let path = key.to_str().unwrap();
    judge::tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]).unwrap();
    key
}

/// A stage of the test's own: what `pib test` says of tests that fail, and a system that waits for a login from outside.
const PROBE: &str = r#"[stage]
name = "probe"
version = "0.1.0"

[order]
before = ["ro"]

[[test]]
name = "fails as it must"
command = "echo end n 0 . .; echo oh >&2; exit 3"

[[test]]
name = "never ends"
command = "sleep 100000"
timeout = 2

[[test]]
name = "sees values as they are"
command = "printf %s \"$PIB_CONFIG_TEXT\""
stdout = "a'b $(touch /tmp/oh) \\n;"

[[test]]
name = "did not run what a value says"
command = "[ ! -e /tmp/oh ]"

[[test]]
name = "root logs in by its key"
command = "ssh $PIB_CONFIG_SSH -i /etc/probe-key root@10.0.2.77 hostname"
stdout = "mainjob"

[[test]]
name = "nobody logs in without"
command = "ssh $PIB_CONFIG_SSH -o IdentityFile=none root@10.0.2.77 hostname"
exit = 255

[[test]]
name = "has the route and the address of its config, and no other"
command = """
link=$(ip route show default | cut -d' ' -f5)
[ "$(ip route show default | wc -l)" = 1 ] && [ -z "$(ip -6 route show default)" ] || exit 1
ip -brief address show dev "$link" | tr ' ' '\\n' | grep / | grep -v ^fe80:
"""
stdout = "10.0.2.77/24"

[[test]]
name = "networkd follows the stage's file"
command = "networkctl --no-pager --lines=0 status $(ip route show default | cut -d' ' -f5)"
stdout-contains = "Network File: /etc/systemd/network/70-pib.network"

[[test]]
name = "networkd is done"
command = "networkctl --no-pager --lines=0 status $(ip route show default | cut -d' ' -f5)"
stdout-contains = "State: routable (configured)"

[config.ssh]
type = "string"
default = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"

[config.text]
type = "string"
default = "a'b $(touch /tmp/oh) \\n;"
"#;

/// Adds the stage with the key that may log in.
fn add_probe(world: &World, key: &Path) {
    let folder = world.path("mainjob/probe");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("stage.toml"), PROBE).unwrap();
    let part = "COPY --chmod=0600 stages/probe/key /etc/probe-key\n";
    std::fs::write(folder.join("Dockerfile.part"), part).unwrap();
    std::fs::write(folder.join("key"), std::fs::read(key).unwrap()).unwrap();
    world.run("mainjob", &["add", "--path", "probe"]);
}

/// The stages' own tests say whether the system keeps what they promise; here is what they cannot see: that pib tells what
/// fails, and leaves the image and this machine as they were.
fn boots(world: &World, image: &Path) {
    let sum = || judge::tool("sha256sum", &[image.to_str().unwrap()]).unwrap();
    let before = sum();
    let output = world
        .pib("mainjob", &["test", "--json", "--card", "64GiB", "--junit", "junit.xml"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let reports: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{errors}"));
    let tests = reports[0]["tests"].as_array().unwrap();
    let failed: Vec<(&str, &str)> = tests
        .iter()
        .filter(|test| !test["failure"].is_null())
        .map(|test| (test["name"].as_str().unwrap(), test["failure"]["reason"].as_str().unwrap()))
        .collect();
    let [("fails as it must", code), ("never ends", late)] = failed[..] else { panic!("{reports:#}") };
    assert!(code.contains("exit code 3") && late.contains("within 2 s"), "{failed:?}");
    assert_eq!(output.status.code(), Some(12), "{errors}");
    for stage in ["system", "os", "watchdog", "ro", "rootssh", "network", "grow"] {
        assert!(tests.iter().any(|test| test["stage"] == stage), "{stage} has no test:\n{reports:#}");
    }
    let second = tests.iter().position(|test| test["name"] == "comes up a second time").unwrap();
    assert!(tests.len() > second + 1, "nothing ran after the restart:\n{reports:#}");
    let junit = std::fs::read_to_string(world.path("mainjob/junit.xml")).unwrap();
    assert_eq!(junit.matches("<failure ").count(), 2, "{junit}");
    for (kept, part) in [("console", "Run /pib-test/init"), ("journal", "pib-test.service")] {
        let text = std::fs::read_to_string(image.with_extension(format!("{kept}.log"))).unwrap();
        assert!(text.contains(part), "the {kept} has no `{part}`");
    }
    assert_eq!(sum(), before, "the image was changed");
}
