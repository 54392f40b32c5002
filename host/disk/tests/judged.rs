//! The image writer, judged by the tools of the file systems' own projects: e2fsck, debugfs, fsck.vfat, mtools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tests look at what the machine has")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pib_disk::{DiskError, Identity, ImageInfo};
use pib_event::Silent;
use pib_plan::id::Digest;
use pib_plan::layout::{Layout, PartitionSize, PartitionSpec};
use pib_plan::size::ByteSize;
use tar::{EntryType, Header};

#[path = "judged/erofs.rs"]
mod erofs;
#[path = "judged/layouts.rs"]
mod layouts;
#[path = "judged/reading.rs"]
mod reading;
#[path = "../../pib/tests/it/skip.rs"]
mod skip;
#[path = "judged/squashfs.rs"]
mod squashfs;
#[path = "judged/writers.rs"]
mod writers;

use skip::{lacks, skip};

/// Writes an image and gives it its place.
fn write_image(
    rootfs: impl std::io::Read,
    layout: &Layout,
    identity: &Identity,
    out: &Path,
) -> Result<pib_disk::ImageInfo, pib_disk::DiskError> {
    pib_disk::write_image(rootfs, layout, identity, &pib_file::Output::at(out).unwrap(), &Silent)?.keep()
}

const EPOCH: u64 = 1_700_000_000;

/// `security.capability` of a program that may use raw sockets, revision 2 (linux/capability.h).
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An ACL by which one named user may read, in the form of linux/posix_acl_xattr.h.
fn acl() -> Vec<u8> {
    [
        &2_u32.to_le_bytes()[..],
        &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xd2, 4, 0, 0],
        &[4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat()
}

fn identity() -> Identity {
    Identity {
        hostname: "pi".to_owned(),
        epoch: EPOCH,
        seed: Digest::of(b"seed"),
        mount_points: std::collections::BTreeSet::new(),
    }
}

fn layout() -> Layout {
    let mut layout = Layout::default_for("debian");
    layout.partitions[0].size = PartitionSize::Fixed(ByteSize(48 << 20));
    layout.partitions[1].free = Some(ByteSize(8 << 20));
    layout
}

/// A tar with everything in it that is easily lost.
struct Nasty(tar::Builder<Vec<u8>>);

impl Nasty {
    fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(EPOCH - 5);
        header.set_size(size);
        header
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        let mut header = Self::header(EntryType::Regular, mode, bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes).unwrap();
    }

    fn xattrs(&mut self, attributes: &[(&str, &[u8])]) {
        let named: Vec<(String, &[u8])> =
            attributes.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value)).collect();
        self.0.append_pax_extensions(named.iter().map(|(name, value)| (name.as_str(), *value))).unwrap();
    }

    fn link(&mut self, kind: EntryType, path: &str, target: &str) {
        self.0.append_link(&mut Self::header(kind, 0o777, 0), path, target).unwrap();
    }

    fn device(&mut self, kind: EntryType, path: &str, major: u32, minor: u32) {
        let mut header = Self::header(kind, 0o640, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.0.append_data(&mut header, path, std::io::empty()).unwrap();
    }

    fn build(reversed: bool) -> Vec<u8> {
        Self::with_acl(reversed, |n| {
            n.xattrs(&[("system.posix_acl_access", &acl())]);
            n.file("srv/shared", 0o640, b"acl");
        })
    }

    /// Returns the tar with a file that the caller gives an ACL or not.
    fn with_acl(reversed: bool, shared: fn(&mut Self)) -> Vec<u8> {
        let mut nasty = Self(tar::Builder::new(Vec::new()));
        let mut steps: Vec<fn(&mut Self)> = vec![
            |n| n.file("etc/hostname", 0o644, b"build-host\n"),
            |n| n.file("usr/bin/su", 0o4755, b"setuid"),
            |n| {
                n.xattrs(&[("security.capability", &CAP_NET_RAW), ("user.note", b"kept")]);
                n.file("usr/bin/ping", 0o755, b"ping");
                n.link(EntryType::Link, "usr/bin/ping6", "usr/bin/ping");
                n.link(EntryType::Link, "opt/deep/er/ping", "usr/bin/ping");
            },
            shared,
            |n| n.device(EntryType::Char, "opt/null", 1, 3),
            |n| n.device(EntryType::Block, "opt/loop", 7, 300),
            |n| n.device(EntryType::Fifo, "opt/pipe", 0, 0),
            |n| n.link(EntryType::Symlink, "opt/short", "../usr"),
            |n| n.link(EntryType::Symlink, "opt/long", &"x/".repeat(200)),
            |n| n.file("opt/größe", 0o600, b"utf-8"),
            |n| n.file("opt/empty", 0o644, b""),
            |n| n.file("opt/large", 0o644, &vec![0x5a; 5_000_001]),
            |n| {
                for number in 0..3000 {
                    n.file(&format!("opt/many/file-with-a-rather-long-name-{number:05}"), 0o644, b"m");
                }
            },
            |n| n.file("boot/firmware/config.txt", 0o755, b"arm_64bit=1\n"),
            |n| n.file("boot/firmware/overlays/a-long-overlay-name.dtbo", 0o644, &vec![7; 70_000]),
            |n| n.file("etc/ssh/ssh_host_ed25519_key", 0o600, b"secret"),
            |n| n.file(".dockerenv", 0o644, b""),
            |n| n.file("lost+found/fragment", 0o600, b"of another file system"),
        ];
        if reversed {
            steps.reverse();
        }
        steps.into_iter().for_each(|step| step(&mut nasty));
        nasty.0.into_inner().unwrap()
    }
}

struct Written {
    folder: tempfile::TempDir,
    image: PathBuf,
    info: ImageInfo,
}

fn write(rootfs: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(rootfs, &layout(), &identity(), &image).unwrap();
    Written { folder, image, info }
}

impl Written {
    fn partition(&self, index: usize) -> PathBuf {
        let region = self.info.partitions[index].region;
        let bytes = std::fs::read(&self.image).unwrap();
        let path = self.folder.path().join(format!("part{index}"));
        let range = region.offset as usize..(region.offset + region.size) as usize;
        std::fs::write(&path, &bytes[range]).unwrap();
        path
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("PATH", path_with_sbin()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run `cargo xtask setup`"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{text}", output.status);
    text
}

/// Unmounts a folder, at once or when the programs that other tests are just starting have let go of its files.
fn unmount(folder: &Path) {
    run("umount", &["--lazy", folder.to_str().unwrap()]);
}

/// Has the kernel mount a file system, and looks at what it reads; says so where this machine lets nobody mount.
fn mounted(image: &Path, options: &str, look: impl FnOnce(&Path) + std::panic::UnwindSafe) {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path();
    let args = ["-o", options, image.to_str().unwrap(), mount.to_str().unwrap()];
    let output = Command::new("mount").args(args).env("PATH", path_with_sbin()).output().unwrap();
    if !output.status.success() {
        skip(&format!("no loop mount: {}", String::from_utf8_lossy(&output.stderr).trim()));
        return;
    }
    let looked = std::panic::catch_unwind(|| look(mount));
    unmount(mount);
    looked.unwrap();
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn debugfs(image: &Path, request: &str) -> String {
    run("debugfs", &["-R", request, image.to_str().unwrap()])
}

#[test]
fn both_file_systems_are_clean_and_complete() {
    if lacks(&["e2fsck", "dumpe2fs", "debugfs", "fsck.vfat", "mtype", "mdir", "mlabel"]) {
        return;
    }
    let written = write(&Nasty::build(false));
    let (boot, root) = (written.partition(0), written.partition(1));
    run("e2fsck", &["-fn", root.to_str().unwrap()]);
    run("fsck.vfat", &["-n", boot.to_str().unwrap()]);
    let features = run("dumpe2fs", &["-h", root.to_str().unwrap()]);
    assert!(features.contains("has_journal") && features.contains("PIROOT"), "{features}");

    let stat = |path: &str| debugfs(&root, &format!("stat {path}"));
    assert!(stat("/usr/bin/su").contains("Mode:  04755"), "{}", stat("/usr/bin/su"));
    assert!(stat("/usr/bin/su").contains("User:  1000   Group:  1001"));
    assert!(stat("/usr/bin/ping").contains("Links: 3"), "{}", stat("/usr/bin/ping"));
    let inode = |path: &str| stat(path).split_whitespace().nth(1).map(str::to_owned);
    assert_eq!(inode("/usr/bin/ping"), inode("/opt/deep/er/ping"));
    assert!(debugfs(&root, "ea_list /usr/bin/ping").contains("user.note"));
    assert!(debugfs(&root, "ea_list /usr/bin/ping").contains("security.capability (20)"));
    assert!(debugfs(&root, "ea_list /srv/shared").contains("system.posix_acl_access"));
    assert!(stat("/opt/null").contains("Type: character special"));
    assert!(stat("/opt/pipe").contains("Type: FIFO"));
    assert!(stat("/opt/short").contains("../usr"));
    assert!(stat("/opt/large").contains("Size: 5000001"));
    assert!(stat("/opt/große").contains("not found") && stat("/opt/größe").contains("Size: 5"));
    assert!(debugfs(&root, "cat /etc/hostname").contains("pi\n"));
    for gone in ["/etc/ssh/ssh_host_ed25519_key", "/.dockerenv", "/boot/firmware/config.txt"] {
        assert!(stat(gone).contains("File not found"), "{gone}");
    }
    assert_eq!(debugfs(&root, "ls -p /opt/many").matches("file-with").count(), 3000);

    let boot = boot.to_str().unwrap();
    assert_eq!(run("mtype", &["-i", boot, "::/config.txt"]), "arm_64bit=1\n");
    assert!(run("mdir", &["-i", boot, "::/overlays"]).contains("a-long-overlay-name.dtbo"));
    assert!(run("mlabel", &["-s", "-i", boot, "::"]).contains("PIBOOT"));
}

/// The kernel's own reading of the file system, where this machine lets us mount it.
#[test]
fn the_kernel_reads_what_was_written() {
    let written = write(&Nasty::build(false));
    let root = written.partition(1);
    mounted(&root, "loop,ro,acl", |mount| {
        use std::os::unix::fs::MetadataExt as _;
        let meta = |path: &str| std::fs::symlink_metadata(mount.join(path)).unwrap();
        assert_eq!((meta("usr/bin/su").mode() & 0o7777, meta("usr/bin/su").uid()), (0o4755, 1000));
        assert_eq!(meta("usr/bin/ping").ino(), meta("usr/bin/ping6").ino());
        assert_eq!(meta("opt/loop").rdev(), (7 << 8) | (300 & 0xff) | ((300 & !0xff) << 12));
        assert_eq!(meta("opt/large").mtime(), EPOCH as i64 - 5);
        assert_eq!(std::fs::read(mount.join("opt/large")).unwrap(), vec![0x5a; 5_000_001]);
        assert_eq!(std::fs::read_link(mount.join("opt/long")).unwrap().as_os_str().len(), 400);
        assert_eq!(std::fs::read_dir(mount.join("opt/many")).unwrap().count(), 3000);
        let attribute = |path: &str, name: &str| {
            let mut value = vec![0; 256];
            let size = rustix::fs::getxattr(mount.join(path), name, &mut value[..]).unwrap();
            value.truncate(size);
            value
        };
        assert_eq!(attribute("srv/shared", "system.posix_acl_access"), acl());
        assert_eq!(attribute("usr/bin/ping6", "security.capability"), CAP_NET_RAW);
        assert_eq!(attribute("opt/deep/er/ping", "user.note"), b"kept");
    });
}

#[test]
fn the_same_tree_gives_the_same_bytes_in_whatever_order_it_arrives() {
    let (one, two) = (write(&Nasty::build(false)), write(&Nasty::build(true)));
    assert_eq!(one.info.digest, two.info.digest);
    let mut other = identity();
    other.seed = Digest::of(b"another");
    let path = one.folder.path().join("b.img");
    let info = write_image(&Nasty::build(false)[..], &layout(), &other, &path).unwrap();
    assert_ne!(one.info.digest, info.digest, "identifiers derive from the seed");
}

/// An image names its partitions by what it has: identifiers as blkid reads them, and a mount point for each.
#[test]
fn an_image_finds_its_own_partitions() {
    let mut layout = layout();
    let data = PartitionSpec {
        label: "DATA".to_owned(),
        mount: "/srv/data".to_owned(),
        ..layout.partitions[1].clone()
    };
    layout.partitions.push(data);
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let with = |files: &[(&str, String)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = Nasty::header(EntryType::Regular, 0o644, text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        write_image(&tar.into_inner().unwrap()[..], &layout, &identity(), &image)
    };
    let info = with(&[("etc/x", String::new())]).unwrap();
    let parts = Written { folder: tempfile::tempdir().unwrap(), image: image.clone(), info };
    let blkid = |file: &Path, tag: &str| {
        let value = run("blkid", &["-p", "-s", tag, "-o", "value", file.to_str().unwrap()]);
        value.trim().to_owned()
    };
    let uuid = |index: usize| blkid(&parts.partition(index), "UUID");
    assert!(debugfs(&parts.partition(1), "stat /srv/data").contains("Type: directory"));
    assert!(debugfs(&parts.partition(1), "stat /boot/firmware").contains("Type: directory"));
    let texts = |root: &str, boot: &str, partuuid: &str| {
        let fstab = format!(
            "UUID={root} / ext4 ro 0 1\nUUID={boot} /boot/firmware vfat ro 0 2\nLABEL=DATA /srv/data ext4 ro 0 2\n"
        );
        let line = format!("console=tty1 root=PARTUUID={partuuid} ro\n");
        [("etc/fstab", fstab), ("boot/firmware/cmdline.txt", line)]
    };
    let (root, boot, disk) = (uuid(1), uuid(0), blkid(&image, "PTUUID"));
    let second = format!("{disk}-02");
    with(&texts(&root, &boot, &second)).unwrap();
    let earlier = std::fs::read(&image).unwrap();
    for (files, say) in [
        (texts("0000", &boot, &second), "/etc/fstab` line 1"),
        (texts(&root, "0000", &second), "/etc/fstab` line 2"),
        (texts(&root, &boot, "0000-02"), "cmdline.txt` line 1"),
        (texts(&root, &boot, &format!("{disk}-03")), "the partition for `/srv/data`"),
    ] {
        let error = with(&files).unwrap_err().to_string();
        assert!(error.contains(say), "no {say} in {error}");
    }
    assert!(std::fs::read(&image).unwrap() == earlier, "a failure harms no earlier image");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_link(&mut Nasty::header(EntryType::Symlink, 0o777, 0), "srv", "var").unwrap();
    let tar = tar.into_inner().unwrap();
    let error = write_image(&tar[..], &layout, &identity(), &image).unwrap_err().to_string();
    assert!(error.contains("`/srv` is a symbolic link") && error.contains("/srv/data"), "{error}");
}

#[test]
fn a_failure_leaves_the_earlier_image_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    std::fs::write(&image, b"earlier").unwrap();
    let whole = Nasty::build(false);
    let write = |rootfs: &[u8], layout: &Layout| write_image(rootfs, layout, &identity(), &image);
    assert!(matches!(write(&whole[..whole.len() / 2], &layout()), Err(DiskError::Stream(_))));
    let mut small = layout();
    small.partitions[1].free = None;
    small.partitions[1].size = PartitionSize::Fixed(ByteSize(16 << 20));
    let error = write(&whole, &small).unwrap_err();
    assert!(matches!(error, DiskError::TooSmall { .. }), "{error}");
    let mut link = tar::Builder::new(Vec::new());
    link.append_link(&mut Nasty::header(EntryType::Symlink, 0o777, 0), "boot/firmware/l", "x").unwrap();
    let error = write(&link.into_inner().unwrap(), &layout()).unwrap_err();
    assert!(error.to_string().contains("symbolic links"), "{error}");
    assert_eq!(std::fs::read(&image).unwrap(), b"earlier");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_is_said_so() {
    // A file system of 8 MiB for the image's folder; without the right to mount one there is nothing to fill.
    let folder = tempfile::tempdir().unwrap();
    let args = ["-t", "tmpfs", "-o", "size=8m", "pib-test", folder.path().to_str().unwrap()];
    if !Command::new("mount").args(args).env("PATH", path_with_sbin()).status().unwrap().success() {
        skip("no file system in memory can be mounted");
        return;
    }
    let mut tar = tar::Builder::new(Vec::new());
    let bytes = vec![1; 12 << 20];
    tar.append_data(&mut Nasty::header(EntryType::Regular, 0o644, bytes.len() as u64), "f", &bytes[..])
        .unwrap();
    let rootfs = tar.into_inner().unwrap();
    let outcome = write_image(&rootfs[..], &layout(), &identity(), &folder.path().join("a.img"));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    unmount(folder.path());
    let error = outcome.unwrap_err();
    assert!(matches!(error, DiskError::DiskFull { .. }), "{error:?}");
    assert_eq!(left, 0);
    std::io::stderr().flush().unwrap();
}
