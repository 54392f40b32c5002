//! EROFS, judged by erofs-utils and by the kernel.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use pib_disk::{FileKind, FoundFilesystem};
use pib_plan::layout::Filesystem;

use super::reading::{all, compare_with_folder, compare_with_tar, folder, open};
use super::*;

/// Returns a layout whose root is an EROFS.
fn layout() -> Layout {
    let mut layout = super::layout();
    (layout.partitions[1].filesystem, layout.partitions[1].free) = (Filesystem::Erofs, None);
    layout
}

fn write(rootfs: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(rootfs, &layout(), &identity(), &image).unwrap();
    Written { folder, image, info }
}

/// Returns bytes that no compressor makes smaller.
fn noise(size: u32) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761).rotate_left(at % 31) >> 24) as u8).collect()
}

/// Returns a root file system with what is hard to lay out: contents of every size around a block's and an extent's, holes,
/// folders of one block and of many, links that are too long to stand behind an inode, and attributes of every length.
fn awkward() -> Vec<u8> {
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    for size in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 65_535, 65_536, 65_537, 69_632, 131_073] {
        nasty.file(&format!("sizes/text-{size}"), 0o644, &b"all work and no play ".repeat(7000)[..size]);
        nasty.file(&format!("sizes/noise-{size}"), 0o600, &noise(size as u32));
    }
    let mut mixed = noise(300_000);
    mixed[70_000..200_000].fill(3);
    nasty.file("mixed", 0o644, &mixed);
    let mut holes = vec![0; 40_000_001];
    holes[20_000_000..20_000_010].fill(9);
    nasty.file("holes", 0o644, &holes);
    for (folder, count) in [("few", 3_u32), ("one-block", 80), ("many", 3000)] {
        for number in 0..count {
            nasty.file(
                &format!("{folder}/file-with-a-rather-long-name-{number:05}"),
                0o644,
                &number.to_le_bytes(),
            );
        }
    }
    for length in [1, 2048, 2049, 4000] {
        nasty.link(EntryType::Symlink, &format!("links/{length}"), &"x/".repeat(2000)[..length]);
    }
    for length in [1_usize, 30, 500, 3900, 4090] {
        let value = vec![7; length];
        nasty.xattrs(&[("security.capability", &CAP_NET_RAW), ("trusted.x", &value), ("user.empty", b"")]);
        nasty.file(&format!("attributes/{length}"), 0o644, &noise(length as u32));
    }
    nasty.0.into_inner().unwrap()
}

/// Returns a small EROFS to be damaged, and where something stands in it.
pub(super) fn small() -> (Vec<u8>, Vec<usize>) {
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    for number in 0..40_u8 {
        nasty.file(&format!("a/file-{number}"), 0o644, &vec![number; 3000]);
    }
    nasty.xattrs(&[("user.note", &[1; 200])]);
    nasty.file("a/large", 0o644, &b"large".repeat(60_000));
    nasty.link(EntryType::Symlink, "link", &"y/".repeat(100));
    let bytes = std::fs::read(write(&nasty.0.into_inner().unwrap()).partition(1)).unwrap();
    let used = (0..bytes.len()).filter(|at| bytes[*at] != 0).take(200_000).collect();
    (bytes, used)
}

#[test]
fn what_was_written_is_read_back() {
    let tar = Nasty::build(false);
    let written = write(&tar);
    let image = open(&written.image);
    let root = &image.partitions()[1];
    assert_eq!(
        (root.filesystem, root.label.as_deref(), &root.fault),
        (FoundFilesystem::Erofs, Some("PIROOT"), &None)
    );
    assert!(root.region.size < 8 << 20, "no more than it needs: {root:?}");
    let mut found = all(&mut *image.files(2).unwrap()).unwrap();
    let boot = all(&mut *image.files(1).unwrap()).unwrap();
    found.extend(boot.into_iter().map(|(path, entry)| (format!("/boot/firmware{path}"), entry)));
    compare_with_tar(&tar, &found);
    let (ping, _) = &found["/usr/bin/ping"];
    assert_eq!((ping.links, &ping.xattrs["user.note"][..]), (3, &b"kept"[..]));
    assert_eq!(
        found["/srv/shared"].0.xattrs["system.posix_acl_access"],
        acl(),
        "what a squashfs cannot keep"
    );
    assert_eq!(found["/opt"].0.links, 4, "itself, its own name, and two folders in it");
    let again = write(&Nasty::build(true));
    assert_eq!(written.info.digest, again.info.digest);
    let mut files = image.files(2).unwrap();
    assert_eq!(files.read("/opt/short/bin/su", 100).unwrap(), b"setuid", "through a link");
}

/// The kernel and erofs-utils read the same as pib does.
#[test]
fn others_read_the_same() {
    let written = write(&awkward());
    let part = written.partition(1);
    let image = open(&written.image);
    let found = all(&mut *image.files(2).unwrap()).unwrap();
    assert!(found.len() > 3100);
    let compare = |root: &Path, has_all: bool| {
        for (path, (metadata, digest)) in &found {
            let at = root.join(&path[1..]);
            let known = std::fs::symlink_metadata(&at).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(
                (known.mode() & 0o7777, known.mtime()),
                (metadata.mode.into(), metadata.mtime),
                "{path}"
            );
            match &metadata.kind {
                FileKind::File => {
                    assert_eq!(Some(Digest::of(&std::fs::read(&at).unwrap())), *digest, "{path}");
                    for (name, value) in metadata.xattrs.iter().filter(|_| has_all) {
                        let mut buffer = vec![0; 1 << 16];
                        let size = rustix::fs::getxattr(&at, &**name, &mut buffer[..]).unwrap();
                        assert!(buffer[..size] == value[..], "{path} {name}");
                    }
                }
                FileKind::Symlink(target) => {
                    assert_eq!(std::fs::read_link(&at).unwrap(), Path::new(target), "{path}");
                }
                kind => assert!(*kind == FileKind::Folder && known.is_dir(), "{path}"),
            }
            assert_eq!(u32::try_from(known.nlink()).unwrap(), metadata.links, "{path}");
        }
    };
    mounted(&part, "loop,ro", |mount| {
        compare(mount, true);
        assert_eq!(std::fs::read_dir(mount.join("many")).unwrap().count(), 3000);
        let holes = std::fs::metadata(mount.join("holes")).unwrap();
        assert_eq!(holes.len(), 40_000_001);
    });
    if lacks(&["fsck.erofs"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    run("fsck.erofs", &[part.to_str().unwrap()]);
    let out = written.folder.path().join("out");
    run("fsck.erofs", &[&format!("--extract={}", out.display()), part.to_str().unwrap()]);
    // The version 1.5 leaves out of a file what is behind its last hole.
    let whole = found.iter().filter(|(path, (entry, _))| entry.kind == FileKind::File && *path != "/holes");
    for (path, (metadata, digest)) in whole {
        let content = std::fs::read(out.join(&path[1..])).unwrap();
        assert_eq!((content.len() as u64, Some(Digest::of(&content))), (metadata.size, *digest), "{path}");
    }
    assert!(part.metadata().unwrap().len() < 12 << 20, "holes take no room");
}

/// What only a system has: devices, owners, setuid, hard links, as the kernel sees them.
#[test]
fn the_kernel_sees_a_system() {
    let written = write(&Nasty::build(false));
    mounted(&written.partition(1), "loop,ro", |mount| {
        let meta = |path: &str| std::fs::symlink_metadata(mount.join(path)).unwrap();
        let ping = meta("usr/bin/ping");
        assert_eq!((ping.uid(), ping.gid(), ping.nlink()), (1000, 1001, 3));
        assert_eq!(ping.ino(), meta("opt/deep/er/ping").ino());
        assert_eq!(meta("usr/bin/su").mode() & 0o7777, 0o4755);
        assert_eq!(meta("opt/loop").rdev(), (7 << 8) | (300 & 0xff) | ((300 & !0xff) << 12));
        assert!(meta("opt/pipe").file_type().is_fifo());
        let mut value = [0; 64];
        let size = rustix::fs::getxattr(mount.join("srv/shared"), "system.posix_acl_access", &mut value[..]);
        assert_eq!(value[..size.unwrap()], acl());
    });
}

#[test]
fn what_mkfs_writes_is_read() {
    if lacks(&["mkfs.erofs"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    folder(&from);
    let image = place.path().join("image");
    let (source, to) = (from.to_str().unwrap(), image.to_str().unwrap());
    for how in [&["-x1"][..], &["--chunksize=65536"], &["-Eforce-inode-compact", "-T1"]] {
        run("mkfs.erofs", &[how, &[to, source]].concat());
        let opened = open(&image);
        let found = all(&mut *opened.files(0).unwrap()).unwrap();
        assert_eq!(found.len(), 2505);
        if !how.contains(&"-T1") {
            compare_with_folder(&found, &from, &how.join(" "));
        }
    }
    // What is compressed in another way is told, where it is read.
    std::fs::write(from.join("text"), b"all work and no play ".repeat(7000)).unwrap();
    run("mkfs.erofs", &["-zlz4", to, source]);
    let opened = open(&image);
    assert_eq!(opened.partitions()[0].fault, None);
    let outcome = opened.files(0).unwrap().read("/text", 1 << 20);
    let error = outcome.map(|content| content.len()).unwrap_err().to_string();
    assert!(error.contains("compression with a packed index"), "{error}");
}

/// A name that is too long for the format is told with its path.
#[test]
fn what_the_format_cannot_say_is_refused() {
    for (name, value, says) in [
        ("system.nfs4_acl", vec![1], "of a kind that an EROFS does not keep"),
        ("user.large", vec![1; 70_000], "has more than 65535 bytes"),
    ] {
        let mut nasty = Nasty(tar::Builder::new(Vec::new()));
        nasty.xattrs(&[(name, &value)]);
        nasty.file("etc/a", 0o644, b"");
        let folder = tempfile::tempdir().unwrap();
        let tar = nasty.0.into_inner().unwrap();
        let outcome = write_image(&tar[..], &layout(), &identity(), &folder.path().join("a.img"));
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("`etc/a`") && error.contains(says), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
