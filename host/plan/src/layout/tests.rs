//! Layouts as projects write them, sound and not.

use super::partition::*;
use super::placement::*;
use crate::size::ByteSize;
use proptest::prelude::*;

#[test]
fn default_layouts_are_sound() {
    for os in ["debian", "arch", "raspios"] {
        assert_eq!(Layout::default_for(os).check(), Ok(()), "{os}");
    }
}

#[test]
fn the_text_for_keys_never_changes_and_tells_layouts_apart() {
    let layout = Layout::default_for("debian");
    let expected = "pib layout 1\n\"PIBOOT\" vfat \"/boot/firmware\" 536870912 default\n\"PIROOT\" ext4 \"/\" auto default\n";
    assert_eq!(layout.key_text(), expected);
    let edits: [fn(&mut PartitionSpec); 10] = [
        |part| part.label = "X\" ext4".to_owned(),
        |part| part.filesystem = Filesystem::Vfat,
        |part| part.mount = "/x y".to_owned(),
        |part| part.size = PartitionSize::Fixed(ByteSize(1)),
        |part| part.free = Some(ByteSize(1)),
        |part| part.align = Some(ByteSize(4096)),
        |part| part.reserved = Some(1),
        |part| part.active = true,
        |part| part.kind = Some("83".to_owned()),
        |part| part.grow = true,
    ];
    for edit in edits {
        let mut changed = layout.clone();
        edit(&mut changed.partitions[1]);
        assert_ne!(changed.key_text(), expected);
    }
}

#[test]
fn broken_layouts_are_refused() {
    let change = |edit: fn(&mut Layout)| {
        let mut layout = Layout::default_for("debian");
        edit(&mut layout);
        layout.check()
    };
    assert!(change(|layout| drop(layout.partitions.pop())).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "/".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "boot".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "/a/../b".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "/a//b".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "/a b".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].mount = "/a;b".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[0].label = "TWELVELETTER".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[1].label = "PIBOOT".to_owned()).is_err());
    assert!(change(|layout| layout.partitions[1].filesystem = Filesystem::Vfat).is_err());
    assert!(change(|layout| layout.partitions[0].free = Some(ByteSize(1))).is_err());
}

#[test]
fn fstab_names_every_partition_and_outer_mounts_come_first() {
    let mut layout = Layout::default_for("debian");
    assert_eq!(layout.root_device().as_deref(), Some("LABEL=PIROOT"));
    layout.partitions[1].label = "ROOTFS".to_owned();
    layout.partitions.insert(0, toml_like("label = 'MEDIA'\nfilesystem = 'ext4'\nmount = '/data/media'"));
    layout.partitions.insert(2, toml_like("label = 'DATA'\nfilesystem = 'ext4'\nmount = '/data'"));
    assert_eq!((layout.check(), layout.root_device().as_deref()), (Ok(()), Some("LABEL=ROOTFS")));
    assert_eq!(
        layout.fstab(),
        [
            "LABEL=ROOTFS / ext4 defaults,noatime 0 1",
            "LABEL=DATA /data ext4 defaults,noatime 0 2",
            "LABEL=MEDIA /data/media ext4 defaults,noatime 0 2",
            "LABEL=PIBOOT /boot/firmware vfat defaults,noatime,umask=0077 0 2",
        ]
    );
}

#[test]
fn specs_are_read() {
    let spec: PartitionSpec = toml_like("label = 'R'\nfilesystem = 'ext4'\nmount = '/'\nfree = '1GiB'");
    assert_eq!((spec.size, spec.free), (PartitionSize::Auto, Some(ByteSize(1 << 30))));
    let spec: PartitionSpec = toml_like("label = 'R'\nfilesystem = 'vfat'\nmount = '/b'\nsize = '64MiB'");
    assert_eq!(spec.size, PartitionSize::Fixed(ByteSize(64 << 20)));
}

fn toml_like(text: &str) -> PartitionSpec {
    toml::from_str(text).unwrap()
}

/// Returns a layout of ext4 partitions of these sizes; the first is the root.
fn layout(table: PartitionTable, size: Option<u64>, sizes: &[&str]) -> Layout {
    let partition = |(index, size): (usize, &&str)| PartitionSpec {
        size: size.parse().unwrap(),
        ..PartitionSpec::new(
            &format!("P{index}"),
            Filesystem::Ext4,
            &if index == 0 { "/".to_owned() } else { format!("/{index}") },
        )
    };
    let partitions = sizes.iter().enumerate().map(partition).collect();
    Layout { table, size: size.map(ByteSize), partitions, foreign_root: false, writer: Ext4Writer::Mkext4 }
}

fn what(layout: &Layout) -> String {
    layout.check().unwrap_err().to_string()
}

const MIB: u64 = 1 << 20;

#[test]
fn shares_and_the_rest_divide_the_image() {
    let sizes = |layout: &Layout| -> Vec<u64> {
        layout.place(&[0; 8]).unwrap().regions.iter().map(|region| region.size / MIB).collect()
    };
    let halves = layout(PartitionTable::Mbr, Some(1004 * MIB), &["50%", "50%"]);
    assert_eq!((halves.check(), sizes(&halves)), (Ok(()), vec![500, 500]));
    let rest = layout(PartitionTable::Mbr, Some(1024 * MIB), &["100MiB", "rest", "25%"]);
    assert_eq!((rest.check(), sizes(&rest)), (Ok(()), vec![100, 668, 252]));
    let gpt = layout(PartitionTable::Gpt, Some(1024 * MIB), &["100MiB", "rest"]);
    let placement = gpt.place(&[0, 0]).unwrap();
    assert_eq!((sizes(&gpt), placement.size), (vec![100, 916], 1024 * MIB), "the end is the table's");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for (size, sizes, say) in [
        (None, &["10%"][..], "write `size` in [image]"),
        (None, &["rest"], "write `size` in [image]"),
        (Some(100), &["rest", "rest"], "two partitions with the size `rest`"),
        (Some(100), &["60%", "60%"], "the image's `size` is 100MiB"),
        (Some(100), &["100%", "rest"], "the image's `size` is 100MiB"),
        (Some(100), &["200MiB"], "the partitions need 204MiB"),
        (Some(100), &["96MiB", "rest"], "the partitions need 104MiB"),
        (Some(0), &["rest"], "the image's `size` is 0B"),
    ] {
        let layout = layout(PartitionTable::Mbr, size.map(|size| size * MIB), sizes);
        assert!(what(&layout).contains(say), "{sizes:?}: {}", what(&layout));
    }
    for bad in ["0%", "101%", "-1%", "1.5%", "%", "300%"] {
        assert!(bad.parse::<PartitionSize>().is_err(), "{bad}");
    }
}

#[test]
fn more_than_four_partitions_of_a_master_boot_record_are_logical() {
    let sizes = ["16MiB"; 6];
    let mbr = layout(PartitionTable::Mbr, None, &sizes);
    let placement = mbr.place(&[0; 6]).unwrap();
    let numbers: Vec<u32> = (0..6).map(|index| mbr.number(index)).collect();
    assert_eq!((mbr.check(), numbers), (Ok(()), vec![1, 2, 3, 5, 6, 7]));
    let extended = placement.extended.unwrap();
    assert_eq!(extended.offset, placement.regions[3].offset - LOGICAL_TABLE);
    assert_eq!(extended.end(), placement.regions[5].end());
    let gpt = layout(PartitionTable::Gpt, None, &sizes);
    assert_eq!((gpt.number(5), gpt.place(&[0; 6]).unwrap().extended), (6, None));
    assert!(what(&layout(PartitionTable::Gpt, None, &["4MiB"; 17])).contains("17 partitions"));
}

#[test]
fn what_a_partition_cannot_be_is_refused() {
    type Edit = fn(&mut PartitionSpec);
    let edits: [(Edit, &str); 19] = [
        (
            |part| (part.filesystem, part.grow) = (Filesystem::Squashfs, true),
            "a squashfs stays as it was written",
        ),
        (
            |part| (part.filesystem, part.free) = (Filesystem::Squashfs, Some(ByteSize(1))),
            "which a squashfs cannot use",
        ),
        (|part| (part.filesystem, part.grow) = (Filesystem::Erofs, true), "an erofs stays as it was written"),
        (|part| (part.filesystem, part.reserved) = (Filesystem::Squashfs, Some(1)), "only an ext4"),
        (|part| (part.filesystem, part.mount) = (Filesystem::Squashfs, String::new()), "empty for ever"),
        (|part| part.filesystem = Filesystem::Swap, "has no `mount`"),
        (|part| (part.filesystem, part.mount) = (Filesystem::Swap, String::new()), "no `size`"),
        (|part| part.align = Some(ByteSize(5 * MIB)), "a power of two"),
        (|part| part.align = Some(ByteSize(512)), "a power of two"),
        (|part| part.reserved = Some(51), "at most 50"),
        (|part| (part.filesystem, part.reserved) = (Filesystem::Vfat, Some(1)), "only an ext4"),
        (|part| (part.filesystem, part.grow) = (Filesystem::Vfat, true), "enlarge a FAT"),
        (|part| (part.mount, part.grow) = (String::new(), true), "nothing mounts"),
        (|part| part.kind = Some("ee".to_owned()), "the type of a table"),
        (|part| part.kind = Some("8E".to_owned()), "small letters"),
        (|part| part.kind = Some("x".to_owned()), "two hex digits"),
        (|part| part.size = PartitionSize::Fixed(ByteSize(0)), "a size of nothing"),
        (|part| part.size = PartitionSize::Fixed(ByteSize(12 * MIB)), "a journal needs 16MiB or more"),
        (|part| (part.size, part.free) = (PartitionSize::Fixed(ByteSize(1)), Some(ByteSize(1))), "both"),
    ];
    for (edit, say) in edits {
        let mut layout = layout(PartitionTable::Mbr, None, &["auto", "auto"]);
        edit(&mut layout.partitions[1]);
        assert!(what(&layout).contains(say), "{say}: {}", what(&layout));
    }
    let mut both = layout(PartitionTable::Mbr, None, &["auto", "auto"]);
    both.partitions[0].grow = true;
    assert!(what(&both).contains("only the last"));
    both.partitions[0].grow = false;
    both.partitions.iter_mut().for_each(|part| part.active = true);
    assert!(what(&both).contains("`P1` is the second"));
    let mut gpt = layout(PartitionTable::Gpt, None, &["auto"]);
    gpt.partitions[0].kind = Some("83".to_owned());
    assert!(what(&gpt).contains("a GUID"));
    gpt.partitions[0].kind = Some("0fc63daf-8483-4772-8e79-3d69d8477de4".to_owned());
    assert_eq!(gpt.check(), Ok(()));
}

#[test]
fn fstab_has_swap_and_what_is_to_grow() {
    let mut layout = layout(PartitionTable::Mbr, None, &["auto", "8MiB", "8MiB", "auto"]);
    (layout.partitions[1].filesystem, layout.partitions[1].mount) = (Filesystem::Swap, String::new());
    (layout.partitions[2].filesystem, layout.partitions[2].mount) = (Filesystem::None, String::new());
    layout.partitions[3].grow = true;
    assert_eq!(layout.check(), Ok(()));
    assert_eq!(
        layout.fstab(),
        [
            "LABEL=P0 / ext4 defaults,noatime 0 1",
            "LABEL=P3 /3 ext4 defaults,noatime,x-pib.grow 0 2",
            "LABEL=P1 none swap sw 0 0"
        ]
    );
}

#[test]
fn slots_have_boot_partition_and_root_twice() {
    let mut data = Layout::default_for("debian");
    let part = PartitionSpec { grow: true, ..PartitionSpec::new("DATA", Filesystem::Ext4, "/data") };
    data.partitions.push(part);
    let layout = data.clone().with_slots().unwrap();
    let labels: Vec<&str> = layout.partitions.iter().map(|part| &*part.label).collect();
    assert_eq!(labels, ["START", "PIBOOT-A", "PIBOOT-B", "PIROOT-A", "PIROOT-B", "DATA"]);
    assert_eq!((layout.check(), layout.root_device().as_deref()), (Ok(()), Some("LABEL=PIROOT-A")));
    assert_eq!(
        layout.fstab(),
        [
            "LABEL=PIROOT-A / ext4 defaults,noatime 0 1",
            "LABEL=DATA /data ext4 defaults,noatime,x-pib.grow 0 2",
            "LABEL=PIBOOT-A /boot/firmware vfat defaults,noatime,umask=0077 0 2",
        ]
    );
    let autoboot = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";
    assert_eq!(layout.autoboot().as_deref(), Some(autoboot));
    assert_eq!(data.autoboot(), None);
    let mut same_names = layout.clone();
    same_names.partitions.iter_mut().for_each(|part| part.slot = None);
    assert_ne!(layout.key_text(), same_names.key_text());
    let refused = |edit: fn(&mut Layout)| {
        let mut layout = Layout::default_for("debian");
        edit(&mut layout);
        layout.with_slots().and_then(|layout| layout.check()).unwrap_err().to_string()
    };
    assert!(refused(|layout| drop(layout.partitions.remove(0))).contains("no FAT partition"));
    assert!(refused(|layout| layout.partitions[1].grow = true).contains("only the last partition can grow"));
    assert!(refused(|layout| layout.partitions[0].label = "ABCDEFGHIJ".to_owned()).contains("ABCDEFGHIJ-A"));
    let rest = refused(|layout| {
        layout.size = Some(ByteSize(8 << 30));
        layout.partitions[1].size = PartitionSize::Rest;
    });
    assert!(rest.contains("two partitions with the size `rest`"), "{rest}");
}

/// A squashfs has no label: the table's names are the same before and after anything is built.
#[test]
fn a_partition_without_a_label_is_found_by_the_table() {
    let mut layout = Layout::default_for("debian");
    assert_eq!(layout.disk_signature(), None, "what was there before has the signature that it had");
    layout.partitions[1].filesystem = Filesystem::Squashfs;
    let signature = layout.disk_signature().unwrap();
    let device = format!("PARTUUID={signature:08x}-02");
    assert_eq!((layout.check(), layout.root_device()), (Ok(()), Some(device.clone())));
    assert_eq!(layout.fstab()[0], format!("{device} / squashfs ro 0 0"));
    let mut larger = layout.clone();
    larger.partitions[1].size = PartitionSize::Fixed(ByteSize(1 << 30));
    assert_eq!(larger.root_device(), Some(device), "an update of another size finds it, too");
    let slots = layout.clone().with_slots().unwrap();
    let devices: Vec<String> = slots.partitions.iter().map(|part| slots.device(part)).collect();
    assert_eq!(devices[..3], ["LABEL=START", "LABEL=PIBOOT-A", "LABEL=PIBOOT-B"]);
    let signature = slots.disk_signature().unwrap();
    assert_eq!(devices[3..], [5, 6].map(|number| format!("PARTUUID={signature:08x}-{number:02x}")));
    layout.table = PartitionTable::Gpt;
    assert_eq!((layout.root_device().as_deref(), layout.disk_signature()), (Some("PARTLABEL=PIROOT"), None));
}

#[test]
fn a_card_is_used_to_its_end() {
    let sizes = |layout: &Layout| -> Vec<u64> {
        layout.check().unwrap();
        layout.place(&[8 * MIB; 3]).unwrap().regions.iter().map(|region| region.size / MIB).collect()
    };
    let of = |sizes: &[&str]| layout(PartitionTable::Mbr, None, sizes).for_card((1 << 30) + 100);
    assert_eq!(sizes(&of(&["64MiB", "auto"])), [64, 956]);
    assert_eq!(sizes(&of(&["auto", "auto", "64MiB"])), [8, 948, 64], "the last that follows its content");
    assert_eq!(sizes(&of(&["64MiB", "64MiB"])), [64, 64]);
    let mut growing = layout(PartitionTable::Gpt, None, &["auto", "64MiB"]);
    growing.partitions[1].grow = true;
    assert_eq!(sizes(&growing.for_card(1 << 30)), [8, 1008]);
}

proptest! {
    #[test]
    fn regions_are_aligned_disjoint_and_large_enough(
        sizes in prop::collection::vec(1_u64..1 << 36, 1..=16),
        align in 12_u32..=30,
        gpt: bool,
    ) {
        let table = if gpt { PartitionTable::Gpt } else { PartitionTable::Mbr };
        let mut layout = layout(table, None, &vec!["auto"; sizes.len()]);
        layout.partitions.iter_mut().for_each(|part| part.align = Some(ByteSize(1 << align)));
        let placement = layout.place(&sizes).unwrap();
        let mut at = MIB;
        for (index, (region, size)) in placement.regions.iter().zip(&sizes).enumerate() {
            let table = if layout.is_logical(index) { LOGICAL_TABLE } else { 0 };
            prop_assert!(region.offset >= at + table && region.offset % (1 << align) == 0);
            prop_assert!(region.size >= *size && region.size - size < 1 << align);
            at = region.end();
        }
        let at_end = if gpt { GPT_SECTORS * SECTOR } else { 0 };
        prop_assert!(placement.size >= at + at_end);
    }

    #[test]
    fn placing_never_goes_beyond_the_image(
        size in 0_u64..1 << 40,
        sizes in prop::collection::vec(prop_oneof![
            Just("rest".to_owned()), Just("auto".to_owned()),
            (1_u8..=100).prop_map(|share| format!("{share}%")),
            (1_u64..u64::MAX).prop_map(|bytes| bytes.to_string()),
        ], 1..8),
        contents in prop::collection::vec(0_u64..u64::MAX, 8),
        gpt: bool,
    ) {
        let table = if gpt { PartitionTable::Gpt } else { PartitionTable::Mbr };
        let layout = layout(table, Some(size * SECTOR), &sizes.iter().map(String::as_str).collect::<Vec<_>>());
        if layout.check().is_ok() && let Ok(placement) = layout.place(&contents) {
            let end = placement.regions.last().unwrap().end() + if gpt { GPT_SECTORS * SECTOR } else { 0 };
            prop_assert!(end <= size * SECTOR && placement.size == size * SECTOR);
        }
    }
}

#[test]
fn more_than_the_table_addresses_is_refused() {
    let place = |table, size: u64| layout(table, None, &["auto"]).place(&[size]);
    assert!(matches!(place(PartitionTable::Mbr, 3 << 40), Err(LayoutError::TooLarge { .. })));
    assert!(matches!(place(PartitionTable::Mbr, u64::MAX), Err(LayoutError::TooLarge { .. })));
    assert!(place(PartitionTable::Gpt, 3 << 40).is_ok());
    assert!(matches!(place(PartitionTable::Gpt, u64::MAX), Err(LayoutError::TooLarge { .. })));
}
