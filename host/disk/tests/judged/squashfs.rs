//! Squashfs, judged by squashfs-tools, by squashfs-tools-ng, which is independent of those, and by the kernel.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use pib_disk::{FileKind, FoundFilesystem};
use pib_plan::layout::Filesystem;

use super::reading::{Found, all, compare_with_folder, compare_with_tar, folder, open};
use super::*;

/// Returns a layout whose root is a squashfs.
fn layout() -> Layout {
    let mut layout = super::layout();
    (layout.partitions[1].filesystem, layout.partitions[1].free) = (Filesystem::Squashfs, None);
    layout
}

fn without_acl(reversed: bool) -> Vec<u8> {
    Nasty::with_acl(reversed, |n| n.file("srv/shared", 0o640, b"no acl"))
}

fn write(rootfs: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(rootfs, &layout(), &identity(), &image).unwrap();
    Written { folder, image, info }
}

/// Returns a small squashfs whose tables stand there as they are, to be damaged, and where something stands in it.
pub(super) fn small() -> (Vec<u8>, Vec<usize>) {
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("from"), place.path().join("image"));
    std::fs::create_dir_all(from.join("a/b")).unwrap();
    for number in 0..40_u8 {
        std::fs::write(from.join(format!("a/file-{number}")), vec![number; 3000]).unwrap();
    }
    std::fs::write(from.join("a/b/large"), vec![7; 300_000]).unwrap();
    std::os::unix::fs::symlink("y/".repeat(100), from.join("link")).unwrap();
    // Not all file systems for temporary files take one.
    let flags = rustix::fs::XattrFlags::empty();
    _ = rustix::fs::setxattr(from.join("a/file-1"), "user.note", &[1; 200], flags);
    let (from, at) = (from.to_str().unwrap(), to.to_str().unwrap());
    if !lacks(&["mksquashfs"]) {
        run("mksquashfs", &[from, at, "-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX"]);
    } else {
        std::fs::copy(write(&without_acl(false)).partition(1), at).unwrap();
    }
    let bytes = std::fs::read(at).unwrap();
    // Of the content there is enough; the tables are at the end.
    let used =
        (0..bytes.len()).filter(|at| bytes[*at] != 0).filter(|at| *at < 96 || *at > bytes.len() - 8000);
    let used = used.collect();
    (bytes, used)
}

/// Takes out what the tests compare: a folder's size, and how many names it has, are each file system's own matter.
fn comparable(found: Found) -> Found {
    let of = |(path, (mut metadata, digest)): (String, _)| {
        let metadata_ref: &mut pib_disk::Metadata = &mut metadata;
        if metadata_ref.kind == FileKind::Folder {
            (metadata_ref.size, metadata_ref.links) = (0, 0);
        }
        (path, (metadata, digest))
    };
    found.into_iter().filter(|(path, _)| path != "/lost+found").map(of).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let tar = without_acl(false);
    let written = write(&tar);
    let image = open(&written.image);
    let root = &image.partitions()[1];
    assert_eq!((root.filesystem, &root.label, &root.fault), (FoundFilesystem::Squashfs, &None, &None));
    assert!(root.region.size < 8 << 20, "no more than it needs: {root:?}");
    let mut found = all(&mut *image.files(2).unwrap()).unwrap();
    let boot = all(&mut *image.files(1).unwrap()).unwrap();
    found.extend(boot.into_iter().map(|(path, entry)| (format!("/boot/firmware{path}"), entry)));
    compare_with_tar(&tar, &found);
    let (ping, _) = &found["/usr/bin/ping"];
    assert_eq!((ping.links, &ping.xattrs["user.note"][..]), (3, &b"kept"[..]));
    assert_eq!(ping.xattrs["security.capability"], CAP_NET_RAW);
    assert_eq!(found["/opt"].0.links, 4, "itself, its own name, and two folders in it");
    let again = write(&without_acl(true));
    assert_eq!(written.info.digest, again.info.digest);
    let mut files = image.files(2).unwrap();
    assert_eq!(files.read("/opt/short/bin/su", 100).unwrap(), b"setuid", "through a link");
}

/// What others read is the same as what an ext4 of the same tree has, which e2fsprogs judge.
#[test]
fn others_read_the_same() {
    if lacks(&["unsquashfs", "sqfs2tar"]) {
        return;
    }
    let written = write(&without_acl(false));
    let part = written.partition(1);
    let text = run("unsquashfs", &["-stat", part.to_str().unwrap()]);
    assert!(text.contains("Compression zstd") && text.contains("Number of ids"), "{text}");
    let tar = Command::new("sqfs2tar").arg(&part).output().unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    let mut plain = super::layout();
    plain.partitions[0].mount = "/mnt".to_owned();
    let write_plain = |tar: &[u8]| {
        let image = written.folder.path().join("plain.img");
        write_image(tar, &plain, &identity(), &image).unwrap();
        comparable(all(&mut *open(&image).files(2).unwrap()).unwrap())
    };
    let mut expected = write_plain(&without_acl(false));
    // It is on another partition in the one, and in the root in the other.
    expected.retain(|path, _| !path.starts_with("/boot/firmware/"));
    let found = write_plain(&tar.stdout);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, entry) in &expected {
        assert_eq!(&found[path], entry, "{path}");
    }
    // Every block is unpacked, and every table walked, by the first program, too.
    let out = written.folder.path().join("out");
    let out = out.to_str().unwrap();
    if rustix::process::geteuid().is_root() {
        run(
            "unsquashfs",
            &["-quiet", "-no-progress", "-strict-errors", "-dest", out, part.to_str().unwrap()],
        );
        assert_eq!(std::fs::read(Path::new(out).join("opt/large")).unwrap(), vec![0x5a; 5_000_001]);
    }
}

/// The kernel's own reading, where this machine lets us mount it: holes, many fragments, a large folder.
#[test]
fn the_kernel_reads_it() {
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    let mut holes = vec![0; 3_000_001];
    holes[1_500_000..1_500_010].fill(9);
    nasty.file("opt/holes", 0o644, &holes);
    nasty.file("opt/zeros", 0o644, &vec![0; 131_072]);
    for number in 0..6000_u32 {
        let bytes: Vec<u8> = (0..number % 700).map(|at| (at * number) as u8).collect();
        nasty.file(&format!("many/file-with-a-rather-long-name-{number:05}"), 0o644, &bytes);
    }
    nasty.xattrs(&[("security.capability", &CAP_NET_RAW), ("trusted.x", b"1")]);
    nasty.file("usr/bin/ping", 0o4755, b"ping");
    nasty.device(EntryType::Block, "dev-loop", 7, 300);
    nasty.link(EntryType::Symlink, "opt/long", &"x/".repeat(200));
    let written = write(&nasty.0.into_inner().unwrap());
    let part = written.partition(1);
    mounted(&part, "loop,ro", |mount| {
        let meta = |path: &str| std::fs::symlink_metadata(mount.join(path)).unwrap();
        assert!(std::fs::read(mount.join("opt/holes")).unwrap() == holes);
        assert!(meta("opt/holes").blocks() < 3_000_001 / 512 / 2, "holes take no room");
        assert_eq!(std::fs::read(mount.join("opt/zeros")).unwrap(), vec![0; 131_072]);
        assert_eq!(std::fs::read_dir(mount.join("many")).unwrap().count(), 6000);
        for number in (0..6000_u32).step_by(97) {
            let bytes: Vec<u8> = (0..number % 700).map(|at| (at * number) as u8).collect();
            let path = format!("many/file-with-a-rather-long-name-{number:05}");
            assert_eq!(std::fs::read(mount.join(path)).unwrap(), bytes, "{number}");
        }
        let ping = meta("usr/bin/ping");
        assert_eq!((ping.mode() & 0o7777, ping.uid(), ping.gid()), (0o4755, 1000, 1001));
        assert_eq!(ping.mtime(), EPOCH as i64 - 5);
        assert_eq!(meta("dev-loop").rdev(), (7 << 8) | (300 & 0xff) | ((300 & !0xff) << 12));
        assert_eq!(std::fs::read_link(mount.join("opt/long")).unwrap().as_os_str().len(), 400);
        let mut value = [0; 64];
        let size = rustix::fs::getxattr(mount.join("usr/bin/ping"), "security.capability", &mut value[..]);
        assert_eq!(value[..size.unwrap()], CAP_NET_RAW);
    });
}

#[test]
fn what_mksquashfs_writes_is_read() {
    if lacks(&["mksquashfs"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    folder(&from);
    let image = place.path().join("image");
    let (source, to) = (from.to_str().unwrap(), image.to_str().unwrap());
    for how in [
        &["-comp", "gzip"][..],
        &["-comp", "xz", "-b", "1M"],
        &["-comp", "zstd", "-always-use-fragments"],
        &["-comp", "zstd", "-no-fragments", "-b", "4096"],
    ] {
        run("mksquashfs", &[&[source, to, "-quiet", "-no-progress", "-noappend"], how].concat());
        let opened = open(&image);
        let found = all(&mut *opened.files(0).unwrap()).unwrap();
        compare_with_folder(&found, &from, &how.join(" "));
        assert_eq!(found.len(), 2505);
    }
    run("mksquashfs", &[source, to, "-quiet", "-no-progress", "-noappend", "-comp", "lz4"]);
    let opened = open(&image);
    let fault = opened.partitions()[0].fault.clone().unwrap();
    assert!(fault.contains("uses the compression lz4"), "{fault}");
}

/// An ACL says who may do what, and is not dropped; the error says which file has it.
#[test]
fn an_acl_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let error =
        write_image(&Nasty::build(false)[..], &layout(), &identity(), &image).unwrap_err().to_string();
    assert!(
        error.contains("`srv/shared`") && error.contains("PIROOT") && error.contains("an ACL"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Each slot names its own root, which has no label, by the table.
#[test]
fn slots_name_their_own_root() {
    let layout = layout().with_slots().unwrap();
    let root = layout.root_device().unwrap();
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    nasty.file("etc/fstab", 0o644, layout.fstab().join("\n").as_bytes());
    let settings = format!("ROOTPART=\"{root} rootfstype=squashfs\"\n");
    nasty.file("etc/default/raspi-firmware", 0o644, settings.as_bytes());
    let line = format!("console=tty0 root={root} rootfstype=squashfs ro\n");
    nasty.file("boot/firmware/cmdline.txt", 0o644, line.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.img");
    write_image(&nasty.0.into_inner().unwrap()[..], &layout, &identity(), &path).unwrap();
    let image = open(&path);
    let found: Vec<&str> = image.partitions().iter().map(|found| &*found.partuuid).collect();
    assert_eq!(root, format!("PARTUUID={}", found[3]));
    let text = |number: u32, path: &str| {
        String::from_utf8(image.files(number).unwrap().read(path, 4096).unwrap()).unwrap()
    };
    let second = format!("PARTUUID={}", found[4]);
    assert_eq!(text(3, "/cmdline.txt"), line.replace(&root, &second));
    assert_eq!(text(layout.number(4), "/etc/default/raspi-firmware"), settings.replace(&root, &second));
    assert!(text(layout.number(4), "/etc/fstab").starts_with(&format!("{second} / squashfs ro 0 0\n")));
    assert!(text(layout.number(3), "/etc/fstab").starts_with(&format!("{root} / squashfs ro 0 0\n")));
}

/// A size that is given is kept for later versions; one that is too small is told.
#[test]
fn a_fixed_size_leaves_room_for_updates() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let mut layout = layout();
    layout.partitions[1].size = PartitionSize::Fixed(ByteSize(64 << 20));
    let mut builder = Nasty(tar::Builder::new(Vec::new()));
    let noise: Vec<u8> =
        (0..6_000_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    builder.file("noise", 0o644, &noise);
    let tar = builder.0.into_inner().unwrap();
    let info = write_image(&tar[..], &layout, &identity(), &image).unwrap();
    assert_eq!(info.partitions[1].region.size, 64 << 20);
    layout.partitions[1].size = PartitionSize::Fixed(ByteSize(4 << 20));
    let error = write_image(&tar[..], &layout, &identity(), &image).unwrap_err().to_string();
    assert!(error.contains("the partition PIROOT has 4MiB and its file system needs"), "{error}");
    let bytes = File::open(&image).unwrap();
    let mut magic = [0; 4];
    bytes.read_exact_at(&mut magic, info.partitions[1].region.offset).unwrap();
    assert_eq!(&magic, b"hsqs", "the earlier image is as it was");
}
