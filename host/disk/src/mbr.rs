//! The master boot record: the partition table that the board's firmware reads.
//!
//! Format: four entries of 16 bytes at offset 446, each a status, two old-style addresses that nothing reads
//! any more, a type, and the first sector and number of sectors as little-endian 32-bit numbers; the disk's
//! signature at 440; 55 AA at the end.

use pib_plan::layout::{Filesystem, Layout, Region, SECTOR};

use crate::identity::Identity;

/// What stands for "beyond what cylinder, head and sector can say".
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// Returns the first sector of an image.
pub(crate) fn table(layout: &Layout, regions: &[Region], identity: &Identity) -> [u8; 512] {
    let mut sector = [0; 512];
    // PARTUUIDs derive from the signature, so it must be the same for the same image.
    sector[440..444].copy_from_slice(&signature(identity));
    for (number, (spec, region)) in layout.partitions.iter().zip(regions).enumerate() {
        let entry = &mut sector[446 + 16 * number..][..16];
        entry[1..4].copy_from_slice(&NO_CHS);
        entry[4] = match spec.filesystem {
            Filesystem::Vfat => 0x0c,
            Filesystem::Ext4 => 0x83,
        };
        entry[5..8].copy_from_slice(&NO_CHS);
        // `arrange` has made sure that these fit.
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
        entry[8..12].copy_from_slice(&sectors(region.offset));
        entry[12..16].copy_from_slice(&sectors(region.size));
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn signature(identity: &Identity) -> [u8; 4] {
    let [first, second, third, fourth, ..] = identity.derive("pib disk signature", "");
    [first, second, third, fourth]
}

/// Returns the PARTUUID of a partition by its place in the table, from 0, as Linux makes it: the disk's signature and
/// the number of the partition.
pub(super) fn partuuid(identity: &Identity, number: usize) -> String {
    format!("{:08x}-{:02x}", u32::from_le_bytes(signature(identity)), number + 1)
}
