//! The reader of images, judged by what others wrote: our own writer, mke2fs, mkfs.vfat and mtools.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use pib_disk::{DiskImage, FileKind, FilesReader, FoundFilesystem, Metadata, ReadingError, TableKind, walk};
use proptest::prelude::*;

use super::*;

/// What is compared of an entry: its metadata, and of a file its content.
pub(super) type Found = BTreeMap<String, (Metadata, Option<Digest>)>;

pub(super) fn all(files: &mut dyn FilesReader) -> Result<Found, ReadingError> {
    let mut found = Found::new();
    walk(files, &mut |files, path, entry, metadata| {
        let mut content = Vec::new();
        let digest = match metadata.kind {
            FileKind::File => {
                files.copy_entry(entry, &mut content, 1 << 30)?;
                Some(Digest::of(&content))
            }
            _ => None,
        };
        found.insert(path.to_owned(), (metadata.clone(), digest));
        Ok::<_, ReadingError>(())
    })?;
    Ok(found)
}

pub(super) fn open(image: &Path) -> DiskImage {
    DiskImage::open(File::open(image).unwrap()).unwrap()
}

#[test]
fn what_the_writer_wrote_is_read_back() {
    let tar = Nasty::build(false);
    let written = write(&tar);
    let image = open(&written.image);
    assert_eq!((image.table(), image.size()), (TableKind::Mbr, written.info.size));
    let [boot, root] = image.partitions() else { panic!("{:?}", image.partitions()) };
    assert_eq!((boot.filesystem, boot.label.as_deref()), (FoundFilesystem::Vfat, Some("PIBOOT")));
    assert_eq!((root.filesystem, root.label.as_deref()), (FoundFilesystem::Ext4, Some("PIROOT")));
    assert_eq!(root.region, written.info.partitions[1].region);
    assert!(root.fault.is_none() && root.space.unwrap().1 > 0, "{root:?}");
    let mut found = all(&mut *image.files(2).unwrap()).unwrap();
    let boot = all(&mut *image.files(1).unwrap()).unwrap();
    assert_eq!(boot["/config.txt"].1, Some(Digest::of(b"arm_64bit=1\n")));
    assert_eq!(boot["/overlays/a-long-overlay-name.dtbo"].1, Some(Digest::of(&vec![7; 70_000])));
    found.extend(boot.into_iter().map(|(path, entry)| (format!("/boot/firmware{path}"), entry)));
    compare_with_tar(&tar, &found);
    let (ping, _) = &found["/usr/bin/ping"];
    assert_eq!((ping.links, &ping.xattrs["user.note"][..]), (3, &b"kept"[..]));
    assert_eq!(ping.xattrs["security.capability"], CAP_NET_RAW);
    assert_eq!(found["/srv/shared"].0.xattrs["system.posix_acl_access"], acl());
    let mut files = image.files(2).unwrap();
    assert_eq!(files.read("/opt/short/bin/su", 100).unwrap(), b"setuid", "through a link");
    assert!(matches!(files.read("/opt/large", 5_000_000), Err(ReadingError::TooLarge { .. })));
    assert!(matches!(files.read("/opt/none", 1), Err(ReadingError::NotFound { .. })));
    assert_eq!(image.files(1).unwrap().read("CONFIG.TXT", 100).unwrap(), b"arm_64bit=1\n");
}

/// Compares what was found with what the tar has, but for what is the device's own.
pub(super) fn compare_with_tar(tar: &[u8], found: &Found) {
    let own = ["etc/hostname", "etc/ssh/ssh_host_ed25519_key", ".dockerenv", "lost+found/fragment"];
    let mut archive = tar::Archive::new(tar);
    let mut compared = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        if own.contains(&&*path) {
            continue;
        }
        let (metadata, digest) = &found[&format!("/{path}")];
        let target = entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
        let header = entry.header();
        let device = || (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap());
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Link => FileKind::File,
            EntryType::Symlink => FileKind::Symlink(target.clone().unwrap()),
            EntryType::Char => FileKind::CharDevice { major: device().0, minor: device().1 },
            EntryType::Block => FileKind::BlockDevice { major: device().0, minor: device().1 },
            EntryType::Fifo => FileKind::Fifo,
            other => panic!("{other:?}"),
        };
        assert_eq!(metadata.kind, kind, "{path}");
        if header.entry_type() == EntryType::Link {
            assert_eq!(found[&format!("/{path}")], found[&format!("/{}", target.unwrap())]);
            continue;
        }
        if !path.starts_with("boot/firmware/") {
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            assert_eq!((u64::from(metadata.uid), u64::from(metadata.gid)), owner, "{path}");
            assert_eq!(u32::from(metadata.mode), header.mode().unwrap(), "{path}");
            assert_eq!(metadata.mtime, header.mtime().unwrap() as i64, "{path}");
        }
        if kind == FileKind::File {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            assert_eq!(
                (metadata.size, *digest),
                (content.len() as u64, Some(Digest::of(&content))),
                "{path}"
            );
        }
        compared += 1;
    }
    assert!(compared > 3000);
}

/// Makes a folder with what is hard to read: holes, long folders, long links, many extents.
pub(super) fn folder(at: &Path) {
    std::fs::create_dir_all(at.join("many")).unwrap();
    for number in 0..2500 {
        std::fs::write(at.join(format!("many/a-name-that-takes-room-{number}")), [number as u8]).unwrap();
    }
    let holes = File::create(at.join("holes")).unwrap();
    for number in 0..400_u64 {
        holes.write_all_at(&[number as u8; 4096], number * 3 * 4096).unwrap();
    }
    holes.set_len(200_000_000).unwrap();
    std::fs::write(at.join("large"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    symlink("x/".repeat(300), at.join("long-link")).unwrap();
    symlink("large", at.join("short-link")).unwrap();
    std::fs::set_permissions(at.join("large"), std::fs::Permissions::from_mode(0o2751)).unwrap();
}

#[test]
fn what_mke2fs_writes_is_read() {
    if lacks(&["mke2fs"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    folder(&from);
    let kinds = [
        ["-t", "ext4", "-b", "4096"],
        ["-t", "ext4", "-b", "1024"],
        ["-t", "ext3", "-b", "1024"],
        ["-t", "ext2", "-b", "4096"],
    ];
    for kind in kinds {
        let image = place.path().join("image");
        let (from, to) = (from.to_str().unwrap(), image.to_str().unwrap());
        run("mke2fs", &[&kind[..], &["-q", "-F", "-L", "label", "-d", from, to, "96M"]].concat());
        let opened = open(&image);
        assert_eq!(opened.partitions()[0].label.as_deref(), Some("label"), "{kind:?}");
        let found = all(&mut *opened.files(0).unwrap()).unwrap();
        compare_with_folder(&found, Path::new(from), &format!("{kind:?}"));
        assert_eq!(found.len(), 2506, "{kind:?}");
    }
}

/// Compares what was found with the folder that it was made of.
pub(super) fn compare_with_folder(found: &Found, from: &Path, what: &str) {
    let mut count = 0;
    for (path, (metadata, digest)) in found.iter().filter(|(path, _)| *path != "/lost+found") {
        let at = from.join(&path[1..]);
        let known = std::fs::symlink_metadata(&at).unwrap();
        assert_eq!(
            (u32::from(metadata.mode), metadata.mtime),
            (known.mode() & 0o7777, known.mtime()),
            "{what}: {path}"
        );
        match &metadata.kind {
            FileKind::Symlink(target) => assert_eq!(Path::new(target), std::fs::read_link(&at).unwrap()),
            FileKind::File => {
                assert_eq!(*digest, Some(Digest::of(&std::fs::read(&at).unwrap())), "{what}: {path}");
            }
            kind => assert_eq!(*kind, FileKind::Folder),
        }
        count += 1;
    }
    assert_eq!(count, 2505, "{what}");
}

#[test]
fn every_width_of_fat_is_read() {
    if lacks(&["mkfs.vfat", "mcopy"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("A rather long name.with dots");
    std::fs::write(&from, vec![9; 100_000]).unwrap();
    for (width, size) in [("12", 2_u64 << 20), ("16", 32 << 20), ("32", 64 << 20)] {
        let image = place.path().join("image");
        File::create(&image).unwrap().set_len(size).unwrap();
        let at = image.to_str().unwrap();
        run("mkfs.vfat", &["-F", width, "-n", "CARD", "-i", "12abcdef", at]);
        run("mmd", &["-i", at, "::/sub", "::/sub/deep"]);
        run("mcopy", &["-m", "-i", at, from.to_str().unwrap(), "::/sub/deep"]);
        run("mcopy", &["-i", at, from.to_str().unwrap(), "::/SHORT.TXT"]);
        let opened = open(&image);
        let [partition] = opened.partitions() else { panic!() };
        assert_eq!(
            (partition.label.as_deref(), partition.uuid.as_deref()),
            (Some("CARD"), Some("12AB-CDEF"))
        );
        let found = all(&mut *opened.files(0).unwrap()).unwrap();
        let paths: Vec<&str> = found.keys().map(String::as_str).collect();
        let long = "/sub/deep/A rather long name.with dots";
        assert_eq!(paths, ["/SHORT.TXT", "/sub", "/sub/deep", long], "FAT{width}");
        assert_eq!(found[long].1, Some(Digest::of(&vec![9; 100_000])));
    }
}

/// Returns a small image of each kind, to be damaged, and where something stands in it: most of it is zeros that nothing
/// leads to.
fn small() -> Vec<(Vec<u8>, Vec<usize>)> {
    let mut builder = Nasty(tar::Builder::new(Vec::new()));
    for number in 0..40 {
        builder.file(&format!("etc/file-{number}"), 0o644, &vec![number; 3000]);
        builder.file(&format!("boot/firmware/file {number}.txt"), 0o644, &[number]);
    }
    builder.xattrs(&[("user.note", &[1; 200]), ("system.posix_acl_access", &acl())]);
    builder.file("etc/noted", 0o644, b"");
    builder.link(EntryType::Symlink, "etc/link", &"y/".repeat(100));
    let written = write(&builder.0.into_inner().unwrap());
    let with_used = |index| {
        let bytes = std::fs::read(written.partition(index)).unwrap();
        let used = (0..bytes.len()).filter(|at| bytes[*at] != 0).take(200_000).collect();
        (bytes, used)
    };
    let mut images: Vec<_> = (0..2).map(with_used).collect();
    images.push(super::squashfs::small());
    images.push(super::erofs::small());
    images
}

/// Opens an image of these bytes; returns what is wrong with it, or with its only file system.
fn fault(bytes: &[u8]) -> String {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    match DiskImage::open(file) {
        Ok(image) => image.partitions()[0].fault.clone().unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_leads_around_is_damaged() {
    let (fat, _) = small().swap_remove(0);
    let number = |at: usize, size: usize| -> usize {
        fat[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // The root folder's first cluster is followed by itself.
    let table = number(11, 2) * number(14, 2);
    let entry = table + 4 * number(44, 4);
    let mut around = fat.clone();
    around[entry..entry + 4].copy_from_slice(&fat[44..48]);
    // Without an end, the folder goes on for ever.
    let data = table + fat[16] as usize * number(36, 4) * number(11, 2);
    for at in (data..data + number(11, 2) * fat[13] as usize).step_by(32) {
        around[at..at + 32].copy_from_slice(b"NAME    TXT \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    assert!(fault(&around).contains("leads around"), "{}", fault(&around));
    let mut disk = vec![0; 4 << 20];
    let table = |disk: &mut [u8], sector: usize, entries: [(u8, u32, u32); 2]| {
        for (at, (kind, first, sectors)) in (sector * 512 + 446..).step_by(16).zip(entries) {
            disk[at + 4] = kind;
            disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
            disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    table(&mut disk, 0, [(0x05, 100, 2000), (0, 0, 0)]);
    table(&mut disk, 100, [(0x83, 10, 20), (0x05, 200, 100)]);
    table(&mut disk, 300, [(0x83, 10, 20), (0, 0, 0)]);
    assert_eq!(fault(&disk), "");
    table(&mut disk, 300, [(0x83, 10, 20), (0x05, 200, 100)]);
    assert!(fault(&disk).contains("lead around"), "{}", fault(&disk));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is wrong with an image, reading it ends, and with an error or with what can be read.
    #[test]
    fn damaged_images_are_read_or_refused(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<u32>(), any::<u8>(), any::<bool>()), 1..60),
    ) {
        static SMALL: std::sync::LazyLock<Vec<(Vec<u8>, Vec<usize>)>> = std::sync::LazyLock::new(small);
        let (mut bytes, used) = SMALL[which].clone();
        for (at, value, is_near) in changes {
            let at = used[at as usize % if is_near { used.len().min(4000) } else { used.len() }];
            bytes[at] = value;
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        if let Ok(image) = DiskImage::open(file)
            && let Ok(mut files) = image.files(0)
        {
            let mut budget = 1_u64 << 28;
            let _ = walk(&mut *files, &mut |files, path, entry, metadata| {
                if metadata.kind == FileKind::File && metadata.size < budget {
                    budget -= metadata.size;
                    let _ = files.copy_entry(entry, &mut std::io::sink(), 1 << 24);
                }
                let _ = files.find(path);
                Ok::<_, ReadingError>(())
            });
        }
    }
}
