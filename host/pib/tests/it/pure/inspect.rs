//! Images looked into by the real program: good ones, and others that one change has broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use pib_disk::Identity;
use pib_plan::id::Digest;
use pib_plan::layout::{Layout, PartitionSize};
use pib_plan::size::ByteSize;
use serde_json::Value;

use crate::world::World;

/// A system as paths and contents; a content that begins with `->` is a link.
pub(crate) type System = BTreeMap<String, Vec<u8>>;
/// A change of a system.
type Change = fn(&mut System);

pub(crate) const BOOT: &str = "boot/firmware";
pub(crate) const VERSION: &str = "6.1.0-test";

fn kernel(at: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[at..at + magic.len()].copy_from_slice(magic);
    bytes
}

fn kernel64() -> Vec<u8> {
    kernel(56, b"ARMd")
}

pub(crate) fn kernel32() -> Vec<u8> {
    kernel(36, &[0x18, 0x28, 0x6f, 0x01])
}

/// Returns an archive of cpio's form with these files, all empty.
fn archive(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names.iter().chain(&["TRAILER!!!"]) {
        let mut header = String::from("070701");
        for field in [1, 0o100_644, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() + 1, 0] {
            header.push_str(&format!("{field:08X}"));
        }
        bytes.extend(header.bytes().chain(name.bytes()).chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Returns an initramfs as Debian makes it: modules as they are, and the rest compressed behind them.
pub(crate) fn initramfs(modules: &[&str]) -> Vec<u8> {
    let names: Vec<String> =
        modules.iter().map(|name| format!("usr/lib/modules/{VERSION}/kernel/{name}.ko.xz")).collect();
    let mut bytes = archive(&names.iter().map(String::as_str).collect::<Vec<_>>());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let mut packed = GzEncoder::new(bytes, flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &archive(&["init", "bin/busybox"])).unwrap();
    packed.finish().unwrap()
}

const CMDLINE: &str = "console=tty0 root=LABEL=PIROOT rootfstype=ext4 ro rootwait\n";
const CONFIG: &str =
    "arm_64bit=1\nkernel=vmlinuz\n[pi3]\nkernel=vmlinuz\n[all]\ninitramfs initrd.img\ninclude more.txt\n";

/// Returns a system that starts on the 3, the 4, the compute modules and the 400.
pub(crate) fn good() -> System {
    let tree = 0xd00d_feed_u32.to_be_bytes().to_vec();
    let mut system = System::new();
    let mut put = |path: &str, content: &[u8]| drop(system.insert(path.to_owned(), content.to_vec()));
    for name in
        ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "start4x.elf", "fixup4x.dat"]
    {
        put(&format!("{BOOT}/{name}"), b"firmware");
    }
    for name in
        ["bcm2711-rpi-4-b", "bcm2711-rpi-400", "bcm2711-rpi-cm4", "bcm2710-rpi-3-b", "bcm2710-rpi-3-b-plus"]
    {
        put(&format!("{BOOT}/{name}.dtb"), &tree);
    }
    put(&format!("{BOOT}/overlays/disable-bt.dtbo"), &tree);
    put(&format!("{BOOT}/config.txt"), CONFIG.as_bytes());
    put(&format!("{BOOT}/more.txt"), b"dtoverlay=disable-bt\n");
    put(&format!("{BOOT}/cmdline.txt"), CMDLINE.as_bytes());
    put(&format!("{BOOT}/vmlinuz"), &kernel64());
    put(&format!("{BOOT}/initrd.img"), &initramfs(&["ext4", "sdhci-iproc", "bcm2835"]));
    put("etc/os-release", b"ID=debian\nPRETTY_NAME=\"Debian test\"\n");
    put("etc/fstab", b"LABEL=PIROOT / ext4 defaults 0 1\nLABEL=PIBOOT /boot/firmware vfat defaults 0 2\n");
    put("etc/systemd/system/multi-user.target.wants/ssh.service", b"->/usr/lib/systemd/system/ssh.service");
    put("sbin", b"->usr/sbin");
    put("lib", b"->usr/lib");
    put("usr/sbin/init", b"->../lib/systemd/systemd");
    put("usr/lib/systemd/systemd", b"init");
    put(&format!("usr/lib/modules/{VERSION}/modules.builtin"), b"kernel/drivers/mmc/core/mmc_block.ko\n");
    put("usr/bin/su", b"setuid");
    let status = "Package: login\nStatus: install ok installed\nVersion: 1:4.1\nArchitecture: arm64\nInstalled-Size: 9\n\
                  Maintainer: A Team <a@b.example>\nDepends: libc6 (>= 2)\n\n\
                  Package: libc6\nStatus: install ok installed\nVersion: 2.41-1+deb13u1\nArchitecture: arm64\n\n";
    put("var/lib/dpkg/status", status.as_bytes());
    put("var/lib/dpkg/info/login.list", b"/.\n/bin\n/bin/su\n");
    put("usr/share/doc/login/copyright", b"Format: https://x\nFiles: *\nLicense: BSD-3-clause or odd\n");
    system
}

fn tar(system: &System) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in system {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if path.ends_with("/su") { 0o4755 } else { 0o755 });
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        match content.strip_prefix(b"->") {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, std::str::from_utf8(target).unwrap()).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, &content[..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Returns the layout of the images: a small boot partition, and a root.
pub(crate) fn layout() -> Layout {
    let mut layout = Layout::default_for("debian");
    layout.partitions[0].size = PartitionSize::Fixed(ByteSize(40 << 20));
    layout.partitions[1].free = Some(ByteSize(24 << 20));
    layout
}

/// Writes an image of a system.
pub(crate) fn image(world: &World, name: &str, system: &System) -> PathBuf {
    image_of(world, name, system, &layout())
}

/// Writes an image of a system, with a boot partition of so many MiB.
pub(crate) fn image_with(world: &World, name: &str, system: &System, boot: u64) -> PathBuf {
    let mut layout = layout();
    layout.partitions[0].size = PartitionSize::Fixed(ByteSize(boot << 20));
    image_of(world, name, system, &layout)
}

/// Writes an image of a system with these partitions.
pub(crate) fn image_of(world: &World, name: &str, system: &System, layout: &Layout) -> PathBuf {
    let identity = Identity {
        hostname: "pi".to_owned(),
        epoch: 1_700_000_000,
        seed: Digest::of(b"seed"),
        mount_points: Default::default(),
    };
    let path = world.path(name);
    let output = pib_file::Output::at(&path).unwrap();
    pib_disk::write_image(&tar(system)[..], layout, &identity, &output, &pib_event::Silent)
        .unwrap()
        .keep()
        .unwrap();
    path
}

/// Returns the exit code and what was found.
pub(crate) fn inspect(world: &World, image: &Path, board: &str) -> (Option<i32>, Value) {
    let mut pib = world.pib(".", &["inspect", "--json", "--board", board]);
    let output = pib.arg(image).output().unwrap();
    let found = serde_json::from_slice(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), found.unwrap_or_else(|error| panic!("{error}: {errors}")))
}

/// Returns the kinds of the faults on all models, without repetitions.
pub(crate) fn faults(found: &Value) -> Vec<String> {
    let chains = found["boot"].as_array().unwrap().iter();
    let mut kinds: Vec<String> = chains
        .flat_map(|chain| chain["faults"].as_array().unwrap())
        .map(|fault| fault["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn good_images_start_on_every_board_that_they_are_for() {
    let world = World::new();
    let path = image(&world, "good.img", &good());
    for board in ["rpi3", "rpi4", "pi400", "cm4"] {
        let (code, found) = inspect(&world, &path, board);
        assert_eq!((code, faults(&found)), (Some(0), vec![]), "{board}: {found:#}");
        assert_eq!(found["boot"][0]["root"], 2);
        assert_eq!(found["boot"][0]["overlays"][0], "overlays/disable-bt.dtbo");
    }
    let (code, found) = inspect(&world, &path, "zerow");
    assert_eq!((code, faults(&found).contains(&"mode".to_owned())), (Some(7), true));
    // Its kernel has none of the drivers that the 5 needs, and the tree is missing.
    let (code, found) = inspect(&world, &path, "rpi5");
    assert_eq!((code, faults(&found)), (Some(7), vec!["driver".to_owned(), "tree".to_owned()]));
}

#[test]
fn an_image_says_what_is_in_it() {
    let world = World::new();
    let path = image(&world, "good.img", &good());
    let (_, found) = inspect(&world, &path, "rpi4");
    let system = &found["system"];
    assert_eq!(system["name"], "Debian test");
    assert_eq!(system["hostname"], "pi", "the device's own");
    assert_eq!(system["privileged"][0]["path"], "/usr/bin/su");
    assert_eq!(system["services"][0], "ssh.service");
    let login = &system["packages"][1];
    assert_eq!(
        (&login["name"], &login["version"], &login["bytes"]),
        (&"login".into(), &"1:4.1".into(), &6.into())
    );
    assert_eq!(login["licences"], serde_json::json!(["BSD-3-Clause", "odd"]));
    assert_eq!(found["partitions"][1]["label"], "PIROOT");
}

/// Each of these changes breaks a good image for the Raspberry Pi 4 by one fault.
#[rustfmt::skip]
const BROKEN: [(&str, Change); 28] = [
    ("include-loop", |s| add(s, "more.txt", "include config.txt\n")),
    ("includes", |s| add(s, "config.txt", &"include more.txt\n".repeat(80))),
    ("firmware", |s| remove(s, "start4.elf")),
    ("firmware", |s| remove(s, "fixup4.dat")),
    ("firmware", |s| { add(s, "config.txt", "start_x=1\n"); remove(s, "start4x.elf"); }),
    ("kernel", |s| remove(s, "vmlinuz")),
    ("kernel", |s| add(s, "config.txt", "kernel=vmlinuz-old\n")),
    ("kernel-kind", |s| write(s, "vmlinuz", &kernel32())),
    ("kernel-kind", |s| write(s, "vmlinuz", b"not a kernel")),
    ("kernel-kind", |s| add(s, "config.txt", "[pi4]\narm_64bit=0\n")),
    ("tree", |s| remove(s, "bcm2711-rpi-4-b.dtb")),
    ("not-tree", |s| write(s, "bcm2711-rpi-4-b.dtb", b"html")),
    ("overlay", |s| remove(s, "overlays/disable-bt.dtbo")),
    ("overlay", |s| add(s, "more.txt", "dtoverlay=vc4-kms-v3d,cma-128\n")),
    ("not-tree", |s| write(s, "overlays/disable-bt.dtbo", b"")),
    ("include", |s| remove(s, "more.txt")),
    ("long-line", |s| add(s, "config.txt", &format!("dtparam={}\n", "a=b,".repeat(30)))),
    ("initramfs", |s| remove(s, "initrd.img")),
    ("broken-initramfs", |s| { let cut = s[&at("initrd.img")][..300].to_vec(); write(s, "initrd.img", &cut); }),
    ("driver", |s| write(s, "initrd.img", &initramfs(&["ext4", "bcm2835"]))),
    ("driver", |s| write(s, "initrd.img", &initramfs(&["sdhci_iproc", "vfat"]))),
    ("command-line", |s| remove(s, "cmdline.txt")),
    ("command-lines", |s| add(s, "cmdline.txt", "quiet\n")),
    ("no-root", |s| write(s, "cmdline.txt", b"console=tty0 ro\n")),
    ("root-type", |s| write(s, "cmdline.txt", CMDLINE.replace("=ext4", "=squashfs").as_bytes())),
    ("root-form", |s| write(s, "config.txt", CONFIG.replace("initramfs", "#").as_bytes())),
    ("init", |s| drop(s.remove("usr/lib/systemd/systemd"))),
    ("version", |s| { s.retain(|path, _| !path.contains("modules")); s.insert("usr/lib/modules/6.2/x".into(), vec![]); }),
];

pub(crate) fn at(name: &str) -> String {
    format!("{BOOT}/{name}")
}

fn remove(system: &mut System, name: &str) {
    system.remove(&at(name)).unwrap();
}

fn write(system: &mut System, name: &str, content: &[u8]) {
    system.insert(at(name), content.to_vec()).unwrap();
}

fn add(system: &mut System, name: &str, text: &str) {
    system.get_mut(&at(name)).unwrap().extend(text.bytes());
}

#[test]
fn one_change_makes_one_fault_and_it_is_named() {
    let world = World::new();
    for (number, (fault, change)) in BROKEN.into_iter().enumerate() {
        let mut system = good();
        change(&mut system);
        let path = image(&world, "broken.img", &system);
        let (code, found) = inspect(&world, &path, "rpi4");
        assert_eq!(
            (code, faults(&found)),
            (Some(7), vec![fault.to_owned()]),
            "change {number}: {:#}",
            found["boot"]
        );
    }
}

/// Faults of updates that are tried, of the partition table, and of what firmware reads before it looks for a system.
#[test]
fn faults_before_the_system_are_named() {
    let world = World::new();
    let files: [(&str, &str, Change); 6] = [
        ("rpi3", "firmware", |s| remove(s, "bootcode.bin")),
        ("rpi4", "boot-partition", |s| {
            drop(s.insert(at("autoboot.txt"), b"[all]\nboot_partition=2\n".to_vec()))
        }),
        ("rpi4", "autoboot", |s| drop(s.insert(at("autoboot.txt"), "#\n".repeat(300).into_bytes()))),
        ("rpi4", "boot-partition", |s| {
            drop(s.insert(at("autoboot.txt"), b"[tryboot]\nboot_partition=7\n".to_vec()))
        }),
        ("rpi4", "ramdisk", |s| add(s, "config.txt", "boot_ramdisk=1\n")),
        ("rpi4", "empty", |s| s.retain(|path, _| !path.starts_with(BOOT))),
    ];
    for (board, fault, change) in files {
        let mut system = good();
        change(&mut system);
        let (code, found) = inspect(&world, &image(&world, "broken.img", &system), board);
        assert_eq!((code, faults(&found)), (Some(7), vec![fault.to_owned()]), "{:#}", found["boot"]);
    }
    // Byte 450 is the first partition's type, and that partition begins at 4 MiB. The writer itself refuses a root that
    // the image does not have.
    let good = std::fs::read(image(&world, "good.img", &good())).unwrap();
    let root = good.windows(12).position(|bytes| bytes == b"LABEL=PIROOT").unwrap();
    for (at, bytes, fault) in [
        (450, &[0x83][..], "partition-type"),
        (4 << 20, &[0; 512], "no-boot-partition"),
        (root, b"LABEL=PIROOX", "root"),
    ] {
        let mut broken = good.clone();
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(world.path("broken.img"), broken).unwrap();
        let (code, found) = inspect(&world, &world.path("broken.img"), "rpi4");
        assert_eq!((code, faults(&found)), (Some(7), vec![fault.to_owned()]), "{:#}", found["boot"]);
    }
}

#[test]
fn compressed_images_are_read_and_what_is_no_image_is_told() {
    let world = World::new();
    let path = image(&world, "good.img", &good());
    let bytes = std::fs::read(&path).unwrap();
    let mut packed = GzEncoder::new(
        std::fs::File::create(world.path("good.img.gz")).unwrap(),
        flate2::Compression::fast(),
    );
    std::io::Write::write_all(&mut packed, &bytes).unwrap();
    packed.finish().unwrap();
    let (code, found) = inspect(&world, &world.path("good.img.gz"), "rpi4");
    assert_eq!((code, &found["size"]), (Some(0), &bytes.len().into()));
    std::fs::write(world.path("text"), "no image").unwrap();
    let half = std::fs::read(world.path("good.img.gz")).unwrap();
    std::fs::write(world.path("half.img.gz"), &half[..half.len() / 2]).unwrap();
    for (name, says) in [
        ("none.img", "could not open the image"),
        ("half.img.gz", "could not unpack the image"),
        (".", "could not open the image"),
    ] {
        let output = world.pib(".", &["inspect", name]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(7) && errors.contains(says), "{name}: {errors}");
    }
    let text = world.run(".", &["inspect", "text"]);
    assert!(text.contains("No partition has a system"), "{text}");
}

#[test]
fn two_images_are_compared_by_package_right_unit_and_file() {
    let world = World::new();
    let (first, mut changed) = (image(&world, "first.img", &good()), good());
    let same = world.run(".", &["diff", "first.img", "first.img"]);
    assert_eq!(same, "The systems on the two images are the same.\n");
    let status = String::from_utf8(changed["var/lib/dpkg/status"].clone()).unwrap();
    changed.insert("var/lib/dpkg/status".to_owned(), status.replace("1:4.1", "1:4.2").into_bytes());
    changed.insert("usr/bin/evil/su".to_owned(), b"setuid".to_vec());
    changed.insert("usr/bin/a\nFORGED/su".to_owned(), b"setuid".to_vec());
    // A unit that is wanted and masked is not started.
    changed.insert("etc/systemd/system/ssh.service".to_owned(), b"->/dev/null".to_vec());
    changed.insert("usr/lib/systemd/systemd".to_owned(), b"tini".to_vec());
    let second = image(&world, "second.img", &changed);
    let text = world.run(".", &["diff", first.to_str().unwrap(), second.to_str().unwrap()]);
    for says in [
        "login: 1:4.1 -> 1:4.2",
        "only in the second: setuid /usr/bin/evil/su",
        "only in the first: ssh.service",
        "/usr/lib/systemd/systemd: content",
        "/usr/bin/evil: only in the second",
    ] {
        assert!(text.contains(says), "no `{says}` in:\n{text}");
    }
    let looked = world.run(".", &["inspect", "second.img"]);
    for text in [text, looked] {
        assert!(text.contains("/usr/bin/a?FORGED/su") && !text.contains("\nFORGED"), "{text}");
    }
}

#[test]
fn a_bill_of_materials_names_packages_and_does_not_change() {
    let world = World::new();
    let path = image(&world, "good.img", &good());
    let bill = |format: &str| world.run(".", &["sbom", path.to_str().unwrap(), "--format", format]);
    for format in ["spdx", "cyclonedx"] {
        assert_eq!(bill(format), bill(format));
    }
    let spdx: Value = serde_json::from_str(&bill("spdx")).unwrap();
    let purl = &spdx["packages"][1]["externalRefs"][0]["referenceLocator"];
    assert_eq!(purl, "pkg:deb/debian/libc6@2.41-1%2Bdeb13u1?arch=arm64");
    assert_eq!(spdx["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let cyclone: Value = serde_json::from_str(&bill("cyclonedx")).unwrap();
    assert_eq!(cyclone["dependencies"][2]["dependsOn"], serde_json::json!(["SPDXRef-deb-libc6-arm64"]));
    assert_eq!(cyclone["components"][1]["licenses"][0]["license"]["id"], "BSD-3-Clause");
}

#[test]
fn a_damaged_root_hides_nothing_else_and_its_file_is_named() {
    use std::os::unix::fs::FileExt as _;
    let world = World::new();
    let path = image(&world, "damaged.img", &good());
    let root = pib_disk::DiskImage::open(std::fs::File::open(&path).unwrap()).unwrap().partitions()[1].region;
    // All after the first blocks, which have the superblock and what leads to the inodes: no inode makes sense.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xff; 2 << 20], root.offset + (16 << 10)).unwrap();
    let (code, found) = inspect(&world, &path, "rpi4");
    assert_eq!((code, found["partitions"].as_array().unwrap().len()), (Some(7), 2), "{found:#}");
    assert!(!found["boot"].as_array().unwrap().is_empty() && found["system"].is_null());
    let says = found["system-error"].as_str().unwrap();
    assert!(says.contains("/etc/os-release") && says.contains("damaged"), "{says}");
}

#[test]
fn a_path_that_is_not_text_is_shown_in_json_all_the_same() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    let path = image(&world, "good.img", &good());
    let odd = path.with_file_name(std::ffi::OsStr::from_bytes(b"a\xff.img"));
    std::fs::rename(&path, &odd).unwrap();
    let (code, found) = inspect(&world, &odd, "rpi4");
    assert!(code == Some(0) && found["image"].as_str().unwrap().ends_with("a\u{fffd}.img"), "{found:#}");
}
