//! Layouts of both tables with every kind of partition, judged by the tools of the tables' and file systems' own projects.

use pib_disk::{DiskImage, FoundFilesystem, TableKind};
use pib_plan::layout::{Ext4Writer, Filesystem, PartitionTable};

use super::reading::{Found, all, compare_with_tar, open};
use super::*;

const MIB: u64 = 1 << 20;
/// The size of the images.
const SIZE: u64 = 600 * MIB;

/// Returns a layout with a share, a rest, swap, room for others' data, and more partitions than a master boot record has.
fn rich(table: PartitionTable) -> Layout {
    let part = |label: &str, filesystem, mount: &str, size: &str| PartitionSpec {
        size: size.parse().unwrap(),
        ..PartitionSpec::new(label, filesystem, mount)
    };
    let boot = PartitionSpec {
        active: true,
        align: Some(ByteSize(MIB)),
        ..part("BOOT", Filesystem::Vfat, "/boot/firmware", "48MiB")
    };
    let root = PartitionSpec { reserved: Some(5), ..part("ROOT", Filesystem::Ext4, "/", "25%") };
    let raw = PartitionSpec {
        kind: Some(match table {
            PartitionTable::Mbr => "da".to_owned(),
            PartitionTable::Gpt => "21686148-6449-6e6f-744e-656564454649".to_owned(),
        }),
        ..part("RAW", Filesystem::None, "", "8MiB")
    };
    let data = PartitionSpec { grow: true, ..part("DATA", Filesystem::Ext4, "/srv", "rest") };
    let swap = part("SWAP", Filesystem::Swap, "", "16MiB");
    let spare = part("SPARE", Filesystem::Ext4, "", "32MiB");
    let partitions = vec![boot, root, raw, swap, spare, data];
    Layout { table, size: Some(ByteSize(SIZE)), partitions, foreign_root: false, writer: Ext4Writer::Mkext4 }
}

fn write_rich(table: PartitionTable, tar: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let layout = rich(table);
    assert_eq!(layout.check(), Ok(()));
    let info = write_image(tar, &layout, &identity(), &image).unwrap();
    Written { folder, image, info }
}

/// Compares what is read back with the tar; returns the image.
fn compare(written: &Written, layout: &Layout, tar: &[u8]) -> DiskImage {
    let image = open(&written.image);
    let mut found = Found::new();
    for (index, spec) in layout.partitions.iter().enumerate().filter(|(_, spec)| !spec.mount.is_empty()) {
        let files = all(&mut *image.files(layout.number(index)).unwrap()).unwrap();
        let mount = spec.mount.trim_end_matches('/');
        found.extend(files.into_iter().map(|(path, entry)| (format!("{mount}{path}"), entry)));
    }
    compare_with_tar(tar, &found);
    image
}

fn is_sound(table: PartitionTable) {
    let (tar, layout) = (Nasty::build(false), rich(table));
    let written = write_rich(table, &tar);
    assert_eq!(written.info.size, SIZE);
    let image = compare(&written, &layout, &tar);
    let kinds: Vec<FoundFilesystem> = image.partitions().iter().map(|found| found.filesystem).collect();
    use FoundFilesystem::{Ext4, Swap, Unknown, Vfat};
    assert_eq!(kinds, [Vfat, Ext4, Unknown, Swap, Ext4, Ext4]);
    for (index, found) in image.partitions().iter().enumerate() {
        assert_eq!(
            (found.number, found.region),
            (layout.number(index), written.info.partitions[index].region)
        );
        assert!(found.fault.is_none(), "{found:?}");
        let part = written.partition(index);
        let part = part.to_str().unwrap();
        match found.filesystem {
            Ext4 => drop(run("e2fsck", &["-fn", part])),
            Vfat => drop(run("fsck.vfat", &["-n", part])),
            Swap => {
                let text = run("blkid", &["-p", part]);
                assert!(text.contains("LABEL=\"SWAP\"") && text.contains("VERSION=\"1\""), "{text}");
            }
            _ => {}
        }
    }
    let root = run("dumpe2fs", &["-h", written.partition(1).to_str().unwrap()]);
    let number = |name: &str| -> u64 {
        let line = root.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    assert_eq!(number("Reserved block count:"), number("Block count:") * 5 / 100);
    let again = write_rich(table, &Nasty::build(true));
    assert_eq!(written.info.digest, again.info.digest);
    // What the table's identifiers are in the image's own files is what Linux reads.
    let shown = run("sfdisk", &["--dump", written.image.to_str().unwrap()]).to_lowercase();
    for found in image.partitions() {
        let uuid =
            if table == PartitionTable::Gpt { format!("uuid={}", found.partuuid) } else { String::new() };
        let start = format!("start={:>12}, size={:>12}", found.region.offset / 512, found.region.size / 512);
        assert!(shown.contains(&start) && shown.contains(&uuid), "{found:?} in {shown}");
    }
    let verified = run("sfdisk", &["--verify", written.image.to_str().unwrap()]);
    assert!(verified.contains("No errors detected"), "{verified}");
}

#[test]
fn a_master_boot_record_with_logical_partitions_is_sound() {
    if lacks(&["e2fsck", "fsck.vfat", "blkid", "sfdisk"]) {
        return;
    }
    is_sound(PartitionTable::Mbr);
}

#[test]
fn a_gpt_is_sound() {
    if lacks(&["e2fsck", "fsck.vfat", "blkid", "sfdisk", "sgdisk"]) {
        return;
    }
    is_sound(PartitionTable::Gpt);
    let written = write_rich(PartitionTable::Gpt, &Nasty::build(false));
    assert_eq!(open(&written.image).table(), TableKind::Gpt);
    let text = run("sgdisk", &["--verify", written.image.to_str().unwrap()]);
    assert!(text.contains("No problems found"), "{text}");
    // The copy at the end is whole, too: without the first, the same partitions are there.
    let shown = |image: &Path| run("sgdisk", &["--print", image.to_str().unwrap()]);
    let before = shown(&written.image);
    let mut bytes = std::fs::read(&written.image).unwrap();
    bytes[512..34 * 512].fill(0);
    std::fs::write(&written.image, bytes).unwrap();
    let after = shown(&written.image);
    let lines =
        |text: &str| text.lines().filter(|line| line.contains("MiB")).map(str::to_owned).collect::<Vec<_>>();
    assert!(after.contains("SWAP") && lines(&before).iter().all(|line| after.contains(line)), "{after}");
}

/// Content that is larger than a share or the rest is told with the partition's label; nothing is left.
#[test]
fn content_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    for (edit, say) in [
        ((|layout| layout.partitions[1].size = "1%".parse().unwrap()) as fn(&mut Layout), "ROOT has"),
        (|layout| layout.size = Some(ByteSize(150 * MIB)), "DATA has 4MiB"),
        (|layout| layout.partitions[0].size = "8MiB".parse().unwrap(), "BOOT has 8MiB"),
        (|layout| layout.partitions[1].size = "auto".parse().unwrap(), "fits"),
    ] {
        let mut layout = rich(PartitionTable::Gpt);
        edit(&mut layout);
        match write_image(&Nasty::build(false)[..], &layout, &identity(), &image) {
            Ok(_) => assert_eq!(say, "fits"),
            Err(error) => assert!(error.to_string().contains(say), "{say}: {error}"),
        }
    }
}

/// However little room is asked for, an ext4 gets what its journal takes.
#[test]
fn the_smallest_file_systems_are_sound() {
    let mut layout = layout();
    let free = Some(ByteSize(1));
    for (label, size) in [("TINY", "auto"), ("LEAST", "16MiB")] {
        let part = PartitionSpec::new(label, Filesystem::Ext4, &format!("/{}", label.to_lowercase()));
        let size: PartitionSize = size.parse().unwrap();
        let free = free.filter(|_| size == PartitionSize::Auto);
        layout.partitions.push(PartitionSpec { size, free, ..part });
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(&Nasty::build(false)[..], &layout, &identity(), &image).unwrap();
    let written = Written { folder, image, info };
    for index in [2, 3] {
        assert_eq!(written.info.partitions[index].region.size, Filesystem::LEAST_EXT4);
        if !lacks(&["e2fsck"]) {
            run("e2fsck", &["-fn", written.partition(index).to_str().unwrap()]);
        }
    }
}

/// Each slot has the same content, and names its own partitions; the first partition says which is started.
#[test]
fn slots_have_the_same_content_and_name_themselves() {
    let layout = layout().with_slots().unwrap();
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    nasty.file("etc/fstab", 0o644, layout.fstab().join("\n").as_bytes());
    nasty.file("etc/default/raspi-firmware", 0o644, b"ROOTPART=LABEL=PIROOT-A\n");
    nasty.file("boot/firmware/cmdline.txt", 0o644, b"console=tty0 root=LABEL=PIROOT-A ro\n");
    nasty.file("boot/firmware/kernel8.img", 0o644, &vec![3; 100_000]);
    nasty.file("usr/bin/x", 0o4755, &vec![9; 300_000]);
    let tar = nasty.0.into_inner().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(&tar[..], &layout, &identity(), &image).unwrap();
    let written = Written { folder, image, info };
    let image = open(&written.image);
    let files = |number: u32| all(&mut *image.files(number).unwrap()).unwrap();
    let text = |number: u32, path: &str| {
        String::from_utf8(image.files(number).unwrap().read(path, 4096).unwrap()).unwrap()
    };
    assert_eq!(text(1, "/autoboot.txt"), layout.autoboot().unwrap());
    assert_eq!(files(1).keys().filter(|path| path.len() > 1).count(), 1);
    let root = ["/etc/default/raspi-firmware", "/etc/fstab"];
    for (a, b, own) in [(2, 3, &["/cmdline.txt"][..]), (layout.number(3), layout.number(4), &root[..])] {
        let (first, second) = (files(a), files(b));
        let differs = |path: &&str| first[*path].1 != second[*path].1;
        let differing: Vec<&str> = first.keys().map(String::as_str).filter(differs).collect();
        assert_eq!((&differing[..], first.len()), (own, second.len()));
        for path in own {
            assert_eq!(text(a, path).replace("-A", "-B"), text(b, path));
        }
    }
    for (index, checker) in [(0, "fsck.vfat"), (2, "fsck.vfat"), (4, "e2fsck")] {
        if !lacks(&[checker]) {
            let flags = if checker == "e2fsck" { "-fn" } else { "-n" };
            run(checker, &[flags, written.partition(index).to_str().unwrap()]);
        }
    }
}

/// A card's layout without content: empty file systems, the table over all of it.
#[test]
fn empty_file_systems_are_sound() {
    if lacks(&["e2fsck", "fsck.vfat"]) {
        return;
    }
    let mut layout = rich(PartitionTable::Gpt);
    layout.size = Some(ByteSize(2 << 30));
    let file = tempfile::NamedTempFile::new().unwrap();
    let (map, partitions) = pib_disk::write_empty(&layout, &identity(), file.as_file(), &Silent).unwrap();
    assert_eq!((map.image_size, file.as_file().metadata().unwrap().len()), (2 << 30, 2 << 30));
    let image = open(file.path());
    for (index, found) in image.partitions().iter().enumerate() {
        assert_eq!((found.region, &found.fault), (partitions[index].region, &None));
        if layout.partitions[index].filesystem.has_files() {
            let files = all(&mut *image.files(found.number).unwrap()).unwrap();
            assert!(files.keys().all(|path| path.len() <= 1 || path == "/lost+found"), "{:?}", files.keys());
        }
    }
}
