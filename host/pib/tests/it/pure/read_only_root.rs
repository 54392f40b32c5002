//! Images whose root is a squashfs, looked into by the real program.

use pib_plan::layout::{Filesystem, Layout};

use super::inspect::{self, System, at, faults, image_of, initramfs};
use crate::world::World;

/// Returns the layout with a root that is a squashfs.
fn layout() -> Layout {
    layout_with(Filesystem::Squashfs)
}

/// Returns the layout with a root that is never written to.
fn layout_with(filesystem: Filesystem) -> Layout {
    let mut layout = inspect::layout();
    (layout.partitions[1].filesystem, layout.partitions[1].free) = (filesystem, None);
    layout
}

/// Returns a system that starts from a squashfs.
fn good() -> System {
    started_from(&layout())
}

/// Returns a system that starts from the root of a layout.
fn started_from(layout: &Layout) -> System {
    let mut system = inspect::good();
    let root = layout.root_device().unwrap();
    system.insert("etc/fstab".to_owned(), (layout.fstab().join("\n") + "\n").into_bytes());
    let line = format!("console=tty0 root={root} rootfstype=squashfs ro rootwait\n");
    system.insert(at("cmdline.txt"), line.into_bytes());
    system.insert(at("initrd.img"), initramfs(&["squashfs", "sdhci-iproc", "bcm2835"]));
    system
}

#[test]
fn a_squashfs_starts_and_says_what_is_in_it() {
    let world = World::new();
    let path = image_of(&world, "good.img", &good(), &layout());
    let (code, found) = inspect::inspect(&world, &path, "rpi4");
    assert_eq!((code, faults(&found)), (Some(0), vec![]), "{found:#}");
    assert_eq!(found["boot"][0]["root"], 2);
    assert_eq!(found["partitions"][1]["filesystem"], "squashfs");
    let system = &found["system"];
    assert_eq!((&system["name"], &system["hostname"]), (&"Debian test".into(), &"pi".into()));
    assert_eq!(system["privileged"][0]["path"], "/usr/bin/su");
    assert_eq!(system["packages"][1]["name"], "login");
    // The boot partition's files are the system's, too: fstab names it.
    let folders = serde_json::to_string(&system["folders"]).unwrap();
    assert!(folders.contains("/boot"), "{folders}");
    let bill = world.run(".", &["sbom", "good.img", "--format", "spdx"]);
    assert!(bill.contains("2.41-1+deb13u1"), "{bill}");
}

#[test]
fn a_change_in_a_squashfs_is_shown() {
    let world = World::new();
    image_of(&world, "before.img", &good(), &layout());
    let mut system = good();
    system.insert("opt/new".to_owned(), b"here".to_vec());
    system.insert("usr/bin/su".to_owned(), b"another".to_vec());
    image_of(&world, "after.img", &system, &layout());
    let output = world.pib(".", &["diff", "--json", "before.img", "after.img"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("/opt/new") && said.contains("/usr/bin/su"), "{said}");
    assert!(!said.contains("/usr/lib/systemd/systemd\""), "{said}");
}

#[test]
fn a_damaged_superblock_is_the_cause_that_is_told() {
    use std::os::unix::fs::FileExt as _;
    let world = World::new();
    image_of(&world, "good.img", &good(), &layout());
    for (filesystem, at) in [(Filesystem::Squashfs, 28), (Filesystem::Erofs, 1024 + 12)] {
        let layout = layout_with(filesystem);
        let path = image_of(&world, "damaged.img", &started_from(&layout), &layout);
        let disk = pib_disk::DiskImage::open(std::fs::File::open(&path).unwrap()).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 2], disk.partitions()[1].region.offset + at).unwrap();
        let (code, found) = inspect::inspect(&world, &path, "rpi4");
        assert_eq!((code, &found["system"]), (Some(7), &serde_json::Value::Null), "{found:#}");
        let why = found["system-error"].as_str().unwrap();
        assert!(why.contains("partition 2 (") && why.contains("cannot be read: "), "{why}");
        for arguments in [&["diff", "good.img", "damaged.img"][..], &["sbom", "damaged.img"]] {
            let output = world.pib(".", arguments).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(7) && errors.contains("partition 2 ("), "{errors}");
        }
    }
}

#[test]
fn an_initramfs_without_the_driver_is_a_fault() {
    let world = World::new();
    let mut system = good();
    system.insert(at("initrd.img"), initramfs(&["ext4", "sdhci-iproc", "bcm2835"]));
    let path = image_of(&world, "broken.img", &system, &layout());
    let (code, found) = inspect::inspect(&world, &path, "rpi4");
    assert_eq!((code, faults(&found)), (Some(7), vec!["driver".to_owned()]), "{:#}", found["boot"]);
    let said = String::from_utf8(
        world.pib(".", &["inspect", "--board", "rpi4", "broken.img"]).output().unwrap().stdout,
    );
    let said = said.unwrap();
    assert!(said.contains("has a driver for the root's file system: `squashfs`"), "{said}");
}

/// What makes no sense with a squashfs is refused at its line, before anything is fetched.
#[test]
fn what_a_squashfs_cannot_be_is_refused() {
    for (more, say) in [
        ("grow = true", "stays as it was written"),
        ("free = \"1GiB\"", "which a squashfs cannot use"),
        ("reserved = 5", "which only an ext4 does"),
    ] {
        let world = World::new();
        world.run(".", &["new", "kiosk"]);
        let manifest = world.path("kiosk").join("pib.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let partitions = format!(
            "\n[[image.partition]]\nlabel = \"BOOT\"\nfilesystem = \"vfat\"\nmount = \"/boot/firmware\"\n\n\
             [[image.partition]]\nlabel = \"ROOT\"\nfilesystem = \"squashfs\"\nmount = \"/\"\n{more}\n"
        );
        std::fs::write(&manifest, format!("{text}{partitions}")).unwrap();
        let output = world.pib("kiosk", &["build"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(say) && said.contains("pib.toml"),
            "{more}: {said}"
        );
    }
}
