//! The program of the stage `grow`, on files: tables that grow with the disk, judged by our reader and by others' tools.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use pib_disk::{DiskImage, Identity};
use pib_event::Silent;
use pib_plan::id::Digest;
use pib_plan::layout::{Ext4Writer, Filesystem, Layout, PartitionSpec, PartitionTable, Region};
use pib_plan::size::ByteSize;

use crate::skip::lacks;

const MIB: u64 = 1 << 20;
/// The size of the image, and of the card.
const IMAGE: u64 = 192 * MIB;
const CARD: u64 = 64 << 30;

/// Returns a layout of so many partitions, of which the last grows.
fn layout(table: PartitionTable, count: usize) -> Layout {
    let part = |index: usize| PartitionSpec {
        size: if index + 1 == count { "rest".parse().unwrap() } else { "16MiB".parse().unwrap() },
        grow: index + 1 == count,
        ..PartitionSpec::new(
            &format!("P{index}"),
            Filesystem::Ext4,
            &if index + 1 == count { "/".to_owned() } else { format!("/{index}") },
        )
    };
    Layout {
        table,
        size: Some(ByteSize(IMAGE)),
        partitions: (0..count).map(part).collect(),
        foreign_root: false,
        writer: Ext4Writer::Mkext4,
    }
}

fn written(layout: &Layout) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let identity = Identity {
        hostname: "pi".to_owned(),
        epoch: 0,
        seed: Digest::of(b"seed"),
        mount_points: std::collections::BTreeSet::new(),
    };
    pib_disk::write_empty(layout, &identity, file.as_file(), &Silent).unwrap();
    file
}

fn grow(file: &Path, number: u32) -> Result<String, String> {
    let program = crate::world::root().join("stages/grow/files/usr/lib/pib/grow");
    let number = number.to_string();
    let output = Command::new("perl").arg(program).arg("--table").arg(file).arg(number).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn regions(file: &Path) -> Vec<(u32, Region)> {
    let image = DiskImage::open(File::open(file).unwrap()).unwrap();
    image.partitions().iter().map(|found| (found.number, found.region)).collect()
}

fn verify(file: &Path, is_gpt: bool) {
    let tools: &[(&str, &str)] = if is_gpt {
        &[("sfdisk", "No errors detected"), ("sgdisk", "No problems found")]
    } else {
        &[("sfdisk", "No errors detected")]
    };
    for (tool, says) in tools {
        if lacks(&[tool]) {
            continue;
        }
        let output = Command::new(tool).arg("--verify").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(says), "{output:?}");
    }
}

#[test]
fn the_last_partition_of_each_table_takes_the_card() {
    if lacks(&["perl"]) {
        return;
    }
    for (table, count) in [
        (PartitionTable::Mbr, 1),
        (PartitionTable::Mbr, 2),
        (PartitionTable::Mbr, 4),
        (PartitionTable::Mbr, 5),
        (PartitionTable::Mbr, 7),
        (PartitionTable::Gpt, 1),
        (PartitionTable::Gpt, 7),
    ] {
        let layout = layout(table, count);
        let file = written(&layout);
        let number = layout.number(count - 1);
        let before = regions(file.path());
        assert_eq!(grow(file.path(), number).unwrap(), "nothing to grow\n", "{table:?} {count}");
        file.as_file().set_len(CARD).unwrap();
        let said = grow(file.path(), number).unwrap();
        assert!(said.starts_with(&format!("partition {number} has ")), "{said}");
        let after = regions(file.path());
        assert_eq!(before[..count - 1], after[..count - 1]);
        let (old, new) = (before[count - 1].1, after[count - 1].1);
        assert_eq!(old.offset, new.offset);
        assert!(new.end() <= CARD && CARD - new.end() < 2 * MIB, "{new:?}");
        verify(file.path(), table == PartitionTable::Gpt);
        assert_eq!(grow(file.path(), number).unwrap(), "nothing to grow\n");
        if count > 1 {
            assert_eq!(grow(file.path(), number - 1).unwrap(), "nothing to grow\n", "what is not the last");
        }
    }
}

/// A loss of power while the first table was written leaves the copy, and the next run goes on from it.
#[test]
fn a_gpt_whose_first_table_is_torn_is_mended_by_its_copy() {
    if lacks(&["perl"]) {
        return;
    }
    let layout = layout(PartitionTable::Gpt, 3);
    let file = written(&layout);
    let whole = std::fs::read(file.path()).unwrap();
    let device = OpenOptions::new().write(true).open(file.path()).unwrap();
    device.set_len(CARD).unwrap();
    grow(file.path(), 3).unwrap();
    let grown = regions(file.path());
    // The entries are those that were grown, and the header is the old one.
    device.write_all_at(&whole[512..1024], 512).unwrap();
    grow(file.path(), 3).unwrap();
    assert_eq!(grown, regions(file.path()));
    device.write_all_at(&[0; 512], 512).unwrap();
    grow(file.path(), 3).unwrap();
    assert_eq!(grown, regions(file.path()));
    verify(file.path(), true);
    device.write_all_at(&[0; 512], 512).unwrap();
    device.write_all_at(&[0; 512], CARD - 512).unwrap();
    assert_eq!(grow(file.path(), 3).unwrap_err(), "grow: neither table of the GPT is whole\n");
}

#[test]
fn what_is_no_table_is_left_as_it_is() {
    if lacks(&["perl"]) {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(grow(file.path(), 1).unwrap_err().contains("cannot read sector 0"));
    file.as_file().set_len(IMAGE).unwrap();
    assert!(grow(file.path(), 1).unwrap_err().contains("no partition table"));
    for (table, number, says) in [
        (PartitionTable::Mbr, 4, "no partition 4"),
        (PartitionTable::Mbr, 5, "no partition 5"),
        (PartitionTable::Gpt, 9, "no partition 9"),
        (PartitionTable::Gpt, 999, "no partition 999"),
    ] {
        let file = written(&layout(table, 2));
        let before = std::fs::read(file.path()).unwrap();
        let said = grow(file.path(), number).unwrap_err();
        assert!(said.contains(says), "{said}");
        assert!(std::fs::read(file.path()).unwrap() == before);
    }
}
