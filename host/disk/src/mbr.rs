//! The master boot record: the partition table that every board's firmware reads.
//!
//! Format: four entries of 16 bytes at offset 446, each a status, two old-style addresses that nothing reads
//! any more, a type, and the first sector and number of sectors as little-endian 32-bit numbers; the disk's
//! signature at 440; 55 AA at the end. An extended partition holds logical ones: before each is a table of the same
//! form, whose first entry is the partition, counted from that table, and whose second is the next such table with its
//! partition, counted from the begin of the extended one.

use pib_plan::layout::{Filesystem, LOGICAL_TABLE, Layout, PartitionSpec, Placement, Region, SECTOR};

use crate::identity::Identity;

/// What stands for "beyond what cylinder, head and sector can say".
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
/// The status of the partition to start from.
const ACTIVE: u8 = 0x80;
/// The type of an extended partition, and of an entry that leads to a further table.
const EXTENDED: u8 = 0x0f;
const NEXT: u8 = 0x05;

/// Returns the sectors of the table, each with its offset in the image.
pub(crate) fn tables(layout: &Layout, placement: &Placement, identity: &Identity) -> Vec<(u64, Vec<u8>)> {
    let mut record = Sector::new();
    // PARTUUIDs derive from the signature, so it must be the same for the same image.
    record.0[440..444].copy_from_slice(&signature(layout, identity));
    let partitions = || layout.partitions.iter().zip(&placement.regions).enumerate();
    let primary = partitions().filter(|(index, _)| !layout.is_logical(*index));
    let mut last = 0;
    for (index, (spec, region)) in primary {
        record.put(index, status(spec), kind(spec), *region, 0);
        last = index + 1;
    }
    let Some(extended) = placement.extended else { return vec![(0, record.finish())] };
    record.put(last, 0, EXTENDED, extended, 0);
    let mut tables = vec![(0, record.finish())];
    let logical: Vec<_> = partitions().filter(|(index, _)| layout.is_logical(*index)).collect();
    for (at, (_, (spec, region))) in logical.iter().enumerate() {
        let table = region.offset - LOGICAL_TABLE;
        let mut sector = Sector::new();
        sector.put(0, status(spec), kind(spec), **region, table);
        if let Some((_, (_, next))) = logical.get(at + 1) {
            let with_table = Region { offset: next.offset - LOGICAL_TABLE, size: next.size + LOGICAL_TABLE };
            sector.put(1, 0, NEXT, with_table, extended.offset);
        }
        tables.push((table, sector.finish()));
    }
    tables
}

struct Sector([u8; SECTOR as usize]);

impl Sector {
    fn new() -> Self {
        Self([0; SECTOR as usize])
    }

    /// Puts an entry, whose first sector counts from `base`.
    fn put(&mut self, number: usize, status: u8, kind: u8, region: Region, base: u64) {
        let entry = &mut self.0[446 + 16 * number..][..16];
        entry[0] = status;
        entry[1..4].copy_from_slice(&NO_CHS);
        entry[4] = kind;
        entry[5..8].copy_from_slice(&NO_CHS);
        // `Layout::place` has made sure that these fit.
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
        entry[8..12].copy_from_slice(&sectors(region.offset - base));
        entry[12..16].copy_from_slice(&sectors(region.size));
    }

    fn finish(mut self) -> Vec<u8> {
        self.0[510..].copy_from_slice(&[0x55, 0xaa]);
        self.0.to_vec()
    }
}

fn status(spec: &PartitionSpec) -> u8 {
    if spec.active { ACTIVE } else { 0 }
}

fn kind(spec: &PartitionSpec) -> u8 {
    let usual = match spec.filesystem {
        Filesystem::Vfat => 0x0c,
        Filesystem::Ext4 | Filesystem::Squashfs | Filesystem::Erofs | Filesystem::None => 0x83,
        Filesystem::Swap => 0x82,
    };
    spec.kind.as_ref().and_then(|kind| u8::from_str_radix(kind, 16).ok()).unwrap_or(usual)
}

fn signature(layout: &Layout, identity: &Identity) -> [u8; 4] {
    if let Some(signature) = layout.disk_signature() {
        return signature.to_le_bytes();
    }
    let [first, second, third, fourth, ..] = identity.derive("pib disk signature", "");
    [first, second, third, fourth]
}

/// Returns the PARTUUID of a partition by its number, as Linux makes it: the disk's signature and that number.
pub(super) fn partuuid(layout: &Layout, identity: &Identity, number: u32) -> String {
    format!("{:08x}-{number:02x}", u32::from_le_bytes(signature(layout, identity)))
}
