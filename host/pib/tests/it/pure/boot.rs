//! `pib boot` with a QEMU that is missing, fails, or has no port: a fake one, of which only the command line matters.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::inspect::{BOOT, VERSION, good, image, kernel32};
use crate::world::World;

/// Puts a program of this name and text into a folder of its own.
fn program(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs `pib boot` on a good image with these programs, and returns the exit code and what it said.
fn boot(world: &World, path: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut pib = world.pib(".", &["boot", "good.img"]);
    let output = pib.args(args).env("PATH", path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_qemu_that_is_missing_or_fails_is_told_with_its_words() {
    let world = World::new();
    image(&world, "good.img", &good());
    let (code, said) = boot(&world, world.path("none").to_str().unwrap(), &[]);
    assert!(code == Some(13) && said.contains("qemu-system-arm"), "{said}");
    let folder = world.path("bin");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    program(&folder, "qemu-system-aarch64", "echo 'qemu: no such machine' >&2; exit 1");
    let (code, said) = boot(&world, &path, &[]);
    assert!(code == Some(13) && said.contains("qemu: no such machine"), "{said}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = boot(&world, &path, &["--ssh", &port]);
    assert!(
        code == Some(13) && said.contains(&format!("the port {port} of this machine is taken")),
        "{said}"
    );
}

#[test]
fn the_machine_gets_what_the_firmware_would_load() {
    let world = World::new();
    image(&world, "good.img", &good());
    let folder = world.path("bin");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let text = "for word in \"$@\"; do [ \"$last\" = -kernel ] && cp \"$word\" kernel; last=$word; echo \"$word\"; done";
    program(&folder, "qemu-system-aarch64", text);
    let (code, said) = boot(&world, &path, &["--memory", "512MiB", "--ssh", "0"]);
    assert_eq!(code, Some(0), "{said}");
    for word in ["snapshot=on", "root=LABEL=PIROOT rootfstype=ext4 ro rootwait", "512M", ":22"] {
        assert!(said.contains(word), "no `{word}` in:\n{said}");
    }
    let kernel = std::fs::read(world.path("kernel")).unwrap();
    assert_eq!((kernel.len(), &kernel[56..60]), (4096, &b"ARMd"[..]));
}

/// QEMU's machine for 32-bit kernels has less than others: no watchdog that Debian's kernels drive, and no high memory.
#[test]
fn a_32_bit_image_gets_the_machine_for_it() {
    let world = World::new();
    let mut system = good();
    system.insert(format!("{BOOT}/vmlinuz"), kernel32());
    image(&world, "good.img", &system);
    let folder = world.path("bin");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    program(&folder, "qemu-system-arm", "echo \"$@\"");
    let (code, said) = boot(&world, &path, &[]);
    assert!(code == Some(0) && said.contains("-M virt,highmem=off") && !said.contains("softdog"), "{said}");
    let driver = format!("usr/lib/modules/{VERSION}/kernel/drivers/watchdog/softdog.ko.xz");
    system.insert(driver, Vec::new());
    image(&world, "good.img", &system);
    let (code, said) = boot(&world, &path, &[]);
    assert!(code == Some(0) && said.contains("rootwait modules_load=softdog console=ttyAMA0"), "{said}");
    let (code, said) = boot(&world, &path, &["--memory", "4GiB"]);
    assert!(code == Some(2) && said.contains("at most 3072 MiB of memory"), "{said}");
    let (code, said) = boot(&world, &path, &["--board", "rpi3"]);
    assert!(code == Some(13) && said.contains("Raspberry Pi 3 starts 64-bit ones"), "{said}");
}

#[test]
fn an_image_without_a_kernel_is_not_started() {
    let world = World::new();
    let mut system = good();
    system.retain(|path, _| !path.ends_with("vmlinuz"));
    image(&world, "good.img", &system);
    let (code, said) = boot(&world, "/usr/bin:/bin", &[]);
    assert!(code == Some(13) && said.contains("has no kernel that QEMU could start"), "{said}");
}

/// QEMU's Raspberry Pi has one amount of memory, and a slot for cards of some sizes.
#[test]
fn a_raspberry_pi_gets_what_it_has_and_no_more() {
    let world = World::new();
    image(&world, "good.img", &good());
    let folder = world.path("bin");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let text =
        "for word in \"$@\"; do case $word in *if=sd*) wc -c < \"${word##*file=}\";; esac; done; echo \"$@\"";
    program(&folder, "qemu-system-aarch64", text);
    for (card, size) in [(None, None), (Some("2GiB"), Some(2_u64 << 30))] {
        let args = ["--board", "rpi3"].into_iter().chain(card.into_iter().flat_map(|card| ["--card", card]));
        let (code, said) = boot(&world, &path, &args.collect::<Vec<_>>());
        assert!(code == Some(0) && said.contains("-M raspi3b") && said.contains("-dtb "), "{said}");
        let found = said.lines().find_map(|line| line.trim().parse::<u64>().ok()).unwrap();
        assert!(found.is_power_of_two() && size.is_none_or(|size| size == found), "{said}");
    }
    for (args, says) in [
        (["--card", "3GiB"], "Give it --card 4GiB."),
        (["--memory", "2GiB"], "has 1 GiB of memory, not 2GiB"),
    ] {
        let (code, said) = boot(&world, &path, &[&["--board", "rpi3"], &args[..]].concat());
        assert!(code == Some(2) && said.contains(says), "{said}");
    }
}
