//! Images whose firmware reads a `boot.img` in the place of the boot partition.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use super::inspect::{BOOT, System, faults, good, image, image_with, inspect};
use crate::world::World;

/// The boot partition of the images, in MiB: it holds more than the firmware takes of one file.
const SIZE: u64 = 140;

fn at(name: &str) -> String {
    format!("{BOOT}/{name}")
}

/// Returns the boot partition of a system as a file: a FAT file system without a table.
fn boot_image(world: &World, system: &System) -> Vec<u8> {
    let path = image(world, "inner.img", system);
    let file = std::fs::File::open(&path).unwrap();
    let region = pib_disk::DiskImage::open(file.try_clone().unwrap()).unwrap().partitions()[0].region;
    let mut bytes = vec![0; region.size as usize];
    file.read_exact_at(&mut bytes, region.offset).unwrap();
    bytes
}

/// Returns a system that has a `boot.img` and what names it, and nothing else in its boot partition.
fn with_ramdisk(content: &[u8]) -> System {
    let mut system = good();
    system.retain(|path, _| !path.starts_with(BOOT));
    system.insert(at("config.txt"), b"boot_ramdisk=1\n".to_vec());
    system.insert(at("boot.img"), content.to_vec());
    system
}

#[test]
fn what_is_in_a_boot_image_is_followed_and_started() {
    let world = World::new();
    let system = with_ramdisk(&boot_image(&world, &good()));
    let path = image_with(&world, "good.img", &system, SIZE);
    let (code, found) = inspect(&world, &path, "rpi4");
    assert_eq!((code, faults(&found)), (Some(0), vec![]), "{found:#}");
    let chain = &found["boot"][0];
    assert_eq!((&chain["ramdisk"], &chain["kernel"]), (&"boot.img".into(), &"vmlinuz".into()), "{chain:#}");
    assert_eq!((&chain["partition"], &chain["root"]), (&1.into(), &2.into()));
    let text = world.run(".", &["inspect", "--board", "rpi4", "good.img"]);
    assert!(text.contains("loads boot.img, start4.elf"), "{text}");
    // The ROM of earlier models reads no such files, and nothing else is there.
    let (code, found) = inspect(&world, &path, "rpi3");
    assert!(code == Some(7) && faults(&found).contains(&"firmware".to_owned()), "{found:#}");
    // What QEMU starts is taken out of the file, too.
    let folder = world.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let qemu = folder.join("qemu-system-aarch64");
    std::fs::write(&qemu, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut pib = world.pib(".", &["boot", "good.img"]);
    let output = pib.env("PATH", format!("{}:/usr/bin:/bin", folder.display())).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("root=LABEL=PIROOT"), "{output:?}");
}

#[test]
fn each_fault_of_a_boot_image_is_named() {
    let world = World::new();
    let mut without = good();
    without.remove(&at("vmlinuz")).unwrap();
    let whole = boot_image(&world, &good());
    let cases: [(&str, Vec<u8>); 4] = [
        ("kernel", boot_image(&world, &without)),
        ("broken-ramdisk", b"not a file system".to_vec()),
        ("broken-ramdisk", whole[..whole.len() / 2].to_vec()),
        ("ramdisk-size", vec![0; 97 << 20]),
    ];
    for (number, (fault, content)) in cases.into_iter().enumerate() {
        let path = image_with(&world, "broken.img", &with_ramdisk(&content), SIZE);
        let (code, found) = inspect(&world, &path, "rpi4");
        let boot = &found["boot"];
        assert_eq!((code, faults(&found)), (Some(7), vec![fault.to_owned()]), "case {number}: {boot:#}");
        let faults = world.pib(".", &["inspect", "--board", "rpi4", "broken.img"]).output().unwrap();
        let said = String::from_utf8_lossy(&faults.stdout).into_owned();
        assert!(fault == "kernel" || said.contains("`boot.img`"), "{said}");
    }
}
