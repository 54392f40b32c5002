//! Each writer of ext4 is judged by the other, by e2fsck, and by our reader.

use pib_disk::FileKind;
use pib_plan::layout::{Ext4Writer, Filesystem};

use super::reading::{Found, all, compare_with_tar, open};
use super::*;

/// A layout with a root, and a partition for data with a name of its own in fstab's place.
fn layout_by(writer: Ext4Writer) -> Layout {
    let mut layout = Layout { writer, ..layout() };
    let free = Some(ByteSize(16 << 20));
    let data = PartitionSpec {
        free,
        reserved: Some(0),
        ..PartitionSpec::new("DATA", Filesystem::Ext4, "/srv/data")
    };
    layout.partitions.push(data);
    layout
}

/// Returns the tar, with names and times that a script of commands may trip over.
fn tar() -> Vec<u8> {
    let mut bytes = Nasty::build(false);
    // Without the zeros that end it, others can follow.
    bytes.truncate(bytes.len() - 1024);
    let mut nasty = Nasty(tar::Builder::new(bytes));
    let names = [
        "two words",
        "quo\"te",
        "\"",
        "'",
        "back\\slash",
        "<12>",
        "#",
        "-f",
        "a\tb",
        " lead",
        "trail ",
        "$x;`y`",
    ];
    for name in names {
        nasty.file(&format!("opt/odd/{name}/{name}"), 0o640, name.as_bytes());
        nasty.link(EntryType::Symlink, &format!("opt/odd/{name}/link"), name);
    }
    nasty.xattrs(&[("user.empty", b""), ("user.long", &[7; 300])]);
    nasty.file("srv/data/noted", 0o600, b"noted");
    nasty.0.into_inner().unwrap()
}

fn write_by(writer: Ext4Writer, tar: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    let info = write_image(tar, &layout_by(writer), &identity(), &image).unwrap();
    Written { folder, image, info }
}

/// Returns what an image holds, but for what each writer is free in: the sizes of folders.
fn content(written: &Written) -> Vec<Found> {
    let image = open(&written.image);
    let of = |number: u32| {
        let mut found = all(&mut *image.files(number).unwrap()).unwrap();
        for (metadata, _) in found.values_mut().filter(|(metadata, _)| metadata.kind == FileKind::Folder) {
            metadata.size = 0;
        }
        found
    };
    vec![of(2), of(3)]
}

#[test]
fn both_writers_write_the_same_content() {
    if lacks(&["mke2fs", "debugfs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    let tar = tar();
    let (ours, theirs) = (write_by(Ext4Writer::Mkext4, &tar), write_by(Ext4Writer::Mke2fs, &tar));
    assert_ne!(ours.info.digest, theirs.info.digest, "the writer was not another one");
    for written in [&ours, &theirs] {
        for index in [1, 2] {
            run("e2fsck", &["-fn", written.partition(index).to_str().unwrap()]);
        }
    }
    let (first, second) = (content(&ours), content(&theirs));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
        for (path, entry) in first {
            assert_eq!(entry, &second[path], "{path}");
        }
    }
    assert!(first[0].contains_key("/opt/odd/quo\"te/quo\"te") && first[1]["/noted"].0.xattrs.len() == 2);
    // What the superblocks say is the same, but for what counts the journal's and folders' blocks.
    let said = |written: &Written, index: usize| -> Vec<String> {
        let text = run("dumpe2fs", &["-h", written.partition(index).to_str().unwrap()]);
        let names = [
            "Filesystem volume name",
            "Filesystem UUID",
            "Filesystem features",
            "Inode count",
            "Block count",
            "Reserved block count",
            "Block size",
            "Inode size",
            "Directory Hash Seed",
            "Filesystem created",
        ];
        let is_one = |line: &&str| names.iter().any(|name| line.starts_with(name));
        text.lines().filter(is_one).map(str::to_owned).collect()
    };
    for index in [1, 2] {
        assert_eq!(said(&ours, index), said(&theirs, index));
    }
}

#[test]
fn mke2fs_gives_the_same_bytes_in_whatever_order_the_tree_arrives() {
    if lacks(&["mke2fs", "debugfs"]) {
        return;
    }
    let write = |reversed: bool| write_by(Ext4Writer::Mke2fs, &Nasty::build(reversed));
    let (one, two) = (write(false), write(true));
    assert_eq!(one.info.digest, two.info.digest);
    // Everything that is not zero is in the map: a card that gets what is mapped gets the image.
    let (tar, image) = (Nasty::build(false), open(&one.image));
    let mut found = all(&mut *image.files(2).unwrap()).unwrap();
    for (number, mount) in [(1, "/boot/firmware"), (3, "/srv/data")] {
        let files = all(&mut *image.files(number).unwrap()).unwrap();
        found.extend(files.into_iter().map(|(path, entry)| (format!("{mount}{path}"), entry)));
    }
    compare_with_tar(&tar, &found);
}

#[test]
fn a_map_of_mke2fs_names_all_that_is_not_zero() {
    if lacks(&["mke2fs", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = pib_file::Output::at(folder.path().join("a.img")).unwrap();
    let tar = Nasty::build(false);
    let new = pib_disk::write_image(&tar[..], &layout_by(Ext4Writer::Mke2fs), &identity(), &output, &Silent);
    let new = new.unwrap();
    let ranges: Vec<(u64, u64)> = new.map.ranges.iter().map(|range| (range.first, range.last)).collect();
    new.keep().unwrap();
    let bytes = std::fs::read(folder.path().join("a.img")).unwrap();
    for (number, block) in bytes.chunks(4096).enumerate() {
        let number = number as u64;
        let is_mapped = ranges.iter().any(|(first, last)| (*first..=*last).contains(&number));
        assert!(is_mapped || block.iter().all(|byte| *byte == 0), "block {number} is not in the map");
    }
}

#[test]
fn names_that_debugfs_does_not_take_are_refused() {
    if lacks(&["mke2fs", "debugfs"]) {
        return;
    }
    let mut nasty = Nasty(tar::Builder::new(Vec::new()));
    nasty.file("opt/two\nlines", 0o644, b"");
    let tar = nasty.0.into_inner().unwrap();
    let image = tempfile::tempdir().unwrap();
    let out = image.path().join("a.img");
    let error = write_image(&tar[..], &layout_by(Ext4Writer::Mke2fs), &identity(), &out).unwrap_err();
    assert!(error.to_string().contains("a line break in a name"), "{error}");
    assert!(write_image(&tar[..], &layout_by(Ext4Writer::Mkext4), &identity(), &out).is_ok());
}
