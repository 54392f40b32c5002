//! The main job with everything real: Debian's archive, the engine, ARM programs, an image, a boot.
//!
//! The base and the container images of earlier runs are used where they are, as a person's would be.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::exported;
use crate::world::judge::{self, Wanted};
use crate::world::{Images, World};

/// The device's address, one that QEMU's own DHCP would not give it.
const ADDRESS: &str = "10.0.2.77";

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
    let add = ["add", "watchdog", "ro", "rootssh", "network"].into_iter().chain(config);
    world.run("mainjob", &add.collect::<Vec<_>>());
    world.run("mainjob", &["build"]);

    let image = world.path("mainjob/target/mainjob-rpi4-arm64.img");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let wanted = Wanted { hostname: "mainjob", key: public.trim(), watchdog_timeout: 10 };
    judge::check(&image, &wanted).unwrap();
    exported::no_program_of_this_machine("mainjob");
    nothing_changed(&world);
    only_the_image_changes(&world, &image);
    boots(&world, &image, &key);
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

/// A QEMU that runs an image, and ends with the test.
struct Machine {
    qemu: Child,
    port: u16,
    key: PathBuf,
    console: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Machine {
    /// Starts the image with its own kernel, initramfs and command line; only the console is QEMU's.
    fn start(world: &World, image: &Path, key: &Path) -> Self {
        let parts = judge::extract(image, &world.path(".")).unwrap();
        let boot = parts.boot.to_str().unwrap();
        let names = judge::tool("mdir", &["-b", "-i", boot, "::/"]).unwrap();
        let file = |start: &str| {
            let name = names.lines().find(|line| line.starts_with(&format!("::/{start}"))).unwrap().trim();
            let to = world.path(start);
            judge::tool("mcopy", &["-n", "-i", boot, name, to.to_str().unwrap()]).unwrap();
            to
        };
        let (kernel, initrd) = (file("vmlinuz"), file("initrd"));
        let line = std::fs::read_to_string(file("cmdline.txt")).unwrap();
        let line: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("console=")).collect();
        assert!(line.contains(&"ro"), "{line:?}");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let console = world.path("console.log");
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-display", "none"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .arg("-append")
            .arg(format!("{} console=ttyAMA0", line.join(" ")))
            .arg("-drive")
            // A copy on write, so that what the device writes does not change the image.
            .arg(format!("if=none,id=card,format=raw,snapshot=on,file={}", image.display()))
            .args(["-device", "virtio-blk-pci,drive=card", "-device", "i6300esb"])
            .arg("-netdev")
            .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:22"))
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-monitor", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let qemu = qemu.spawn().unwrap_or_else(|error| panic!("qemu: {error}; run `cargo xtask setup`"));
        Self { qemu, port, key: key.to_owned(), console }
    }

    fn ssh(&self, command: &str) -> Output {
        Command::new("ssh")
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "BatchMode=yes",
            ])
            .args(["-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "-p", &self.port.to_string(), "-i"])
            .arg(&self.key)
            .args(["root@127.0.0.1", command])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn say(&self, command: &str) -> String {
        String::from_utf8_lossy(&self.ssh(command).stdout).trim().to_owned()
    }

    /// Waits until the login works; a loaded machine takes minutes.
    fn wait_for_login(&mut self) {
        let since = Instant::now();
        while !self.ssh("true").status.success() {
            let ended = self.qemu.try_wait().unwrap();
            if ended.is_some() || since.elapsed() > Duration::from_secs(900) {
                let console = std::fs::read(&self.console).unwrap_or_default();
                let tail =
                    String::from_utf8_lossy(&console[console.len().saturating_sub(4000)..]).into_owned();
                panic!(
                    "no login after {:?} (qemu ended: {ended:?}); the console's end:\n{tail}",
                    since.elapsed()
                );
            }
            std::thread::sleep(Duration::from_secs(2));
        }
    }
}

fn boots(world: &World, image: &Path, key: &Path) {
    let mut machine = Machine::start(world, image, key);
    machine.wait_for_login();
    let state = machine.say("systemctl is-system-running --wait");
    assert_eq!(state, "running", "{}", machine.say("systemctl --failed --no-legend"));
    assert!(machine.say("findmnt -n -o OPTIONS /").split(',').any(|option| option == "ro"));
    assert!(!machine.ssh("touch /x").status.success());
    assert!(machine.ssh("rw && touch /x && rm /x && ro").status.success());
    assert!(!machine.ssh("touch /x").status.success());
    assert!(machine.ssh("touch /tmp/x /var/tmp/x /var/log/x").status.success());
    assert_eq!(machine.say("hostname"), "mainjob");
    assert_eq!(machine.say("systemctl is-active watchdog"), "active");
    assert_eq!(machine.say("passwd --status root | cut -d' ' -f2"), "L");
    let keys = machine.say("ls /etc/ssh/ssh_host_*_key | wc -l");
    assert_eq!(keys, "3", "the device made its own host keys");
    assert_eq!(machine.say("wc -c < /etc/machine-id"), "33");
    assert_eq!(machine.say("dpkg --audit"), "");
    has_its_network(&machine);
}

/// The stage `network` set up what its config says, and neither a server nor a router added to it.
fn has_its_network(machine: &Machine) {
    let route = machine.say("ip route show default; ip -6 route show default");
    let words: Vec<&str> = route.split_whitespace().collect();
    let ["default", "via", "10.0.2.2", "dev", interface, "proto", "static", ..] = words[..] else {
        panic!("the default route is {route:?}");
    };
    assert_eq!(route.lines().count(), 1, "{route}");
    let addresses = machine.say(&format!("ip -brief address show dev {interface}"));
    let addresses = addresses.split_whitespace().skip(2).filter(|address| !address.starts_with("fe80:"));
    assert_eq!(addresses.collect::<Vec<_>>(), [format!("{ADDRESS}/24")]);
    let servers = machine.say("grep ^nameserver /etc/resolv.conf");
    assert_eq!(servers, "nameserver 10.0.2.3");
    let state = machine.say(&format!("networkctl --no-pager --lines=0 status {interface}"));
    for say in ["Network File: /etc/systemd/network/70-pib.network", "State: routable (configured)"] {
        assert!(state.contains(say), "no `{say}` in:\n{state}");
    }
    // It names file and line of what it does not understand, and goes on without.
    let complaints = machine.say("journalctl --boot --quiet --unit=systemd-networkd | grep -F .network:");
    assert_eq!(complaints, "");
}
