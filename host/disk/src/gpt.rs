//! The GUID partition table.
//!
//! Format: UEFI Specification 2.10, section 5.3. The first sector is a master boot record with one entry, by which older
//! programs see that the disk is in use. A header and 128 entries follow, and stand at the disk's end once more, entries
//! first. Each header has the checksums of itself and of the entries.

use pib_plan::layout::{Filesystem, GPT_SECTORS, Layout, PartitionSpec, Placement, Region, SECTOR};

use crate::identity::Identity;
use crate::reading::{crc32, guid};

/// The size of an entry, and how many there are.
const ENTRY: usize = 128;
const ENTRIES: usize = 128;
/// The bytes of a header that count.
const HEADER: usize = 92;
/// The attribute of the partition that older firmware starts from.
const LEGACY_BOOT: u64 = 1 << 2;
/// The type by which a master boot record protects the table.
const PROTECTIVE: u8 = 0xee;
/// The usual types of partitions: basic data, which the boards' firmware looks for, Linux' data, and swap.
const BASIC_DATA: &str = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";
const LINUX_DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const LINUX_SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";

/// Returns the sectors of both tables, each run with its offset in the image.
pub(crate) fn tables(layout: &Layout, placement: &Placement, identity: &Identity) -> Vec<(u64, Vec<u8>)> {
    let mut entries = vec![0; ENTRY * ENTRIES];
    let partitions = layout.partitions.iter().zip(&placement.regions);
    for (entry, (spec, region)) in entries.chunks_exact_mut(ENTRY).zip(partitions) {
        write_entry(entry, spec, *region, identity);
    }
    let last = placement.size / SECTOR - 1;
    let header = |own: u64, other: u64, entries_at: u64| {
        let mut sector = vec![0; SECTOR as usize];
        sector[..8].copy_from_slice(b"EFI PART");
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(8, &0x0001_0000_u32.to_le_bytes());
        put(12, &(HEADER as u32).to_le_bytes());
        put(24, &own.to_le_bytes());
        put(32, &other.to_le_bytes());
        put(40, &(1 + GPT_SECTORS).to_le_bytes());
        put(48, &(last - GPT_SECTORS).to_le_bytes());
        put(56, &to_disk(identity.derive("pib gpt disk", "")));
        put(72, &entries_at.to_le_bytes());
        put(80, &(ENTRIES as u32).to_le_bytes());
        put(84, &(ENTRY as u32).to_le_bytes());
        put(88, &crc32(&entries).to_le_bytes());
        let sum = crc32(&sector[..HEADER]);
        sector[16..20].copy_from_slice(&sum.to_le_bytes());
        sector
    };
    let first = [protective(last), header(1, last, 2), entries.clone()].concat();
    let second = [entries.clone(), header(last, 1, last - GPT_SECTORS + 1)].concat();
    vec![(0, first), ((last - GPT_SECTORS + 1) * SECTOR, second)]
}

/// Returns the first sector: an entry over all of the disk, or as much as it can say.
fn protective(last: u64) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    let entry = &mut sector[446..462];
    entry[1..4].copy_from_slice(&[0, 2, 0]);
    entry[4] = PROTECTIVE;
    entry[5..8].copy_from_slice(&[0xff; 3]);
    entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn write_entry(entry: &mut [u8], spec: &PartitionSpec, region: Region, identity: &Identity) {
    let usual = match spec.filesystem {
        Filesystem::Vfat => BASIC_DATA,
        Filesystem::Ext4 | Filesystem::Squashfs | Filesystem::Erofs | Filesystem::None => LINUX_DATA,
        Filesystem::Swap => LINUX_SWAP,
    };
    entry[..16].copy_from_slice(&to_disk(of_text(spec.kind.as_deref().unwrap_or(usual))));
    entry[16..32].copy_from_slice(&to_disk(partition_guid(spec, identity)));
    entry[32..40].copy_from_slice(&(region.offset / SECTOR).to_le_bytes());
    entry[40..48].copy_from_slice(&(region.end() / SECTOR - 1).to_le_bytes());
    let attributes = if spec.active { LEGACY_BOOT } else { 0 };
    entry[48..56].copy_from_slice(&attributes.to_le_bytes());
    // The label is ASCII, and shorter than the 36 units that there are.
    for (unit, letter) in entry[56..].chunks_exact_mut(2).zip(spec.label.encode_utf16()) {
        unit.copy_from_slice(&letter.to_le_bytes());
    }
}

fn partition_guid(spec: &PartitionSpec, identity: &Identity) -> [u8; 16] {
    identity.derive("pib gpt partition", &spec.label)
}

/// Returns the PARTUUID of a partition, as Linux writes it.
pub(super) fn partuuid(identity: &Identity, spec: &PartitionSpec) -> String {
    guid(to_disk(partition_guid(spec, identity)))
}

/// Reads a GUID that the layout has checked.
fn of_text(text: &str) -> [u8; 16] {
    let mut digits = text.bytes().filter_map(|byte| char::from(byte).to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
        *byte = (high << 4 | low) as u8;
    }
    bytes
}

/// Returns a GUID as it lies on a disk: the first three fields are little-endian (appendix A).
fn to_disk(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_on_the_disk_as_others_read_it() {
        assert_eq!(guid(to_disk(of_text(LINUX_DATA))), LINUX_DATA);
    }
}
