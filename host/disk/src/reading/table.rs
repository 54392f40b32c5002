//! Reads partition tables: the master boot record with its chain of logical partitions, and GPT.
//!
//! Formats: for the master boot record see `crate::mbr`; an extended partition (types 05, 0f, 85) begins with a table
//! of the same form, whose first entry is a logical partition and whose second leads to the next such table. GPT is
//! UEFI Specification 2.10, section 5.3: a header at the second sector, with the digests (CRC-32) of itself and of the
//! entries.

use pib_plan::layout::{Region, SECTOR};

use super::error::ReadingError;
use super::section::{Section, array_at, u16_at, u32_at, u64_at};

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// A master boot record.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// None: the image is one file system.
    None,
}

/// An entry of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableEntry {
    /// The number by which Linux calls it, from 1.
    pub(crate) number: u32,
    pub(crate) region: Region,
    /// The type: two hex digits, or a GUID.
    pub(crate) kind: String,
    /// The PARTUUID, as Linux writes it.
    pub(crate) partuuid: String,
    /// The name, which only GPT has.
    pub(crate) name: Option<String>,
}

/// The most logical partitions and GPT entries that are read.
const MAX_LOGICAL: u32 = 64;
const MAX_ENTRIES: u64 = 1024;
/// The types of extended partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// The type of the entry by which a master boot record protects a GPT.
const PROTECTIVE: u8 = 0xee;

/// Reads the table of a whole image.
///
/// # Errors
/// When it cannot be read, a GPT's digests are wrong, or a partition is not in the image.
pub(crate) fn read(image: &Section) -> Result<(TableKind, Vec<TableEntry>), ReadingError> {
    if image.size() < SECTOR {
        return Ok((TableKind::None, Vec::new()));
    }
    let sector = image.bytes(0, SECTOR)?;
    let entries = mbr_entries(&sector);
    // A FAT file system without a table has the same signature; its boot code stands where entries would.
    if sector[510..] != [0x55, 0xaa] || entries.iter().any(|entry| entry.status & 0x7f != 0) {
        return Ok((TableKind::None, Vec::new()));
    }
    let (kind, found) = if entries.iter().any(|entry| entry.kind == PROTECTIVE) {
        (TableKind::Gpt, gpt(image)?)
    } else {
        (TableKind::Mbr, mbr(image, &sector, &entries)?)
    };
    if found.is_empty() && kind == TableKind::Mbr {
        return Ok((TableKind::None, found));
    }
    for entry in &found {
        let end = entry.region.offset.checked_add(entry.region.size);
        if end.is_none_or(|end| end > image.size()) {
            return Err(damaged(format!(
                "partition {} ends beyond the end of the image, which has {} bytes",
                entry.number,
                image.size()
            )));
        }
    }
    Ok((kind, found))
}

fn damaged(found: String) -> ReadingError {
    ReadingError::Damaged { what: "the partition table", found }
}

struct MbrEntry {
    status: u8,
    kind: u8,
    first: u64,
    sectors: u64,
}

fn mbr_entries(sector: &[u8]) -> Vec<MbrEntry> {
    (0..4)
        .map(|number| {
            let at = 446 + 16 * number;
            let (first, sectors) = (u32_at(sector, at + 8), u32_at(sector, at + 12));
            MbrEntry {
                status: sector[at],
                kind: sector[at + 4],
                first: first.into(),
                sectors: sectors.into(),
            }
        })
        .collect()
}

fn mbr(image: &Section, sector: &[u8], entries: &[MbrEntry]) -> Result<Vec<TableEntry>, ReadingError> {
    let signature = u32_at(sector, 440);
    let entry = |number: u32, kind: u8, first: u64, sectors: u64| TableEntry {
        number,
        region: Region { offset: first * SECTOR, size: sectors * SECTOR },
        kind: format!("{kind:02x}"),
        partuuid: format!("{signature:08x}-{number:02x}"),
        name: None,
    };
    let mut found = Vec::new();
    for (number, MbrEntry { kind, first, sectors, .. }) in (1..).zip(entries) {
        if *kind == 0 || *sectors == 0 {
            continue;
        }
        if !EXTENDED.contains(kind) {
            found.push(entry(number, *kind, *first, *sectors));
            continue;
        }
        // Logical partitions count from 5. Their tables' first entries count from the table, the second from the
        // extended partition.
        let mut table = *first;
        let mut tables = Vec::new();
        for logical in 5..5 + MAX_LOGICAL {
            if tables.contains(&table) {
                return Err(damaged("its logical partitions lead around".to_owned()));
            }
            tables.push(table);
            let sector = image.bytes(table.saturating_mul(SECTOR), SECTOR)?;
            let [first_entry, next, ..] = &mbr_entries(&sector)[..] else { break };
            if sector[510..] != [0x55, 0xaa] || first_entry.kind == 0 {
                break;
            }
            found.push(entry(logical, first_entry.kind, table + first_entry.first, first_entry.sectors));
            if next.kind == 0 || next.sectors == 0 {
                break;
            }
            table = first + next.first;
        }
    }
    Ok(found)
}

fn gpt(image: &Section) -> Result<Vec<TableEntry>, ReadingError> {
    let header = image.bytes(SECTOR, SECTOR)?;
    let size = u32_at(&header, 12) as usize;
    if !header.starts_with(b"EFI PART") || !(92..=512).contains(&size) {
        return Err(damaged("its master boot record protects a GPT, and the GPT is missing".to_owned()));
    }
    let mut checked = header[..size].to_vec();
    checked[16..20].fill(0);
    if crc32(&checked) != u32_at(&header, 16) {
        return Err(damaged("the checksum of the GPT's header is wrong".to_owned()));
    }
    let (count, length) = (u64::from(u32_at(&header, 80)), u64::from(u32_at(&header, 84)));
    if count > MAX_ENTRIES || !(128..=4096).contains(&length) {
        return Err(damaged(format!("the GPT has {count} entries of {length} bytes")));
    }
    let entries = image.bytes(u64_at(&header, 72).saturating_mul(SECTOR), count * length)?;
    if crc32(&entries) != u32_at(&header, 88) {
        return Err(damaged("the checksum of the GPT's entries is wrong".to_owned()));
    }
    let length = usize::try_from(length).unwrap_or(128);
    let used = (1..).zip(entries.chunks_exact(length)).filter(|(_, entry)| entry[..16] != [0; 16]);
    used.map(|(number, entry)| gpt_entry(number, entry)).collect()
}

fn gpt_entry(number: u32, entry: &[u8]) -> Result<TableEntry, ReadingError> {
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let sectors = last.checked_sub(first).and_then(|sectors| sectors.checked_add(1));
    let bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
    let (Some(offset), Some(size)) = (first.checked_mul(SECTOR), bytes) else {
        return Err(damaged(format!("partition {number} reaches from sector {first} to {last}")));
    };
    let units: Vec<u16> =
        (0..36).map(|unit| u16_at(entry, 56 + 2 * unit)).take_while(|unit| *unit != 0).collect();
    let name = String::from_utf16_lossy(&units);
    Ok(TableEntry {
        number,
        region: Region { offset, size },
        kind: guid(array_at(entry, 0)),
        partuuid: guid(array_at(entry, 16)),
        name: (!name.is_empty()).then_some(name),
    })
}

/// Returns a GUID as text: its first three fields are little-endian (UEFI Specification 2.10, appendix A).
pub(crate) fn guid(bytes: [u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (a, b, c) = (u32_at(&bytes, 0), u16_at(&bytes, 4), u16_at(&bytes, 6));
    format!("{a:08x}-{b:04x}-{c:04x}-{}-{}", hex(&bytes[8..10]), hex(&bytes[10..]))
}

/// Returns the CRC-32 that GPT, gzip and others use (ISO 3309, reflected polynomial EDB88320).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0xedb8_8320 * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_guid_is_written_as_linux_writes_it() {
        // The type "Linux filesystem data" as its bytes lie on a disk.
        let bytes =
            [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];
        assert_eq!(guid(bytes), "0fc63daf-8483-4772-8e79-3d69d8477de4");
    }
}
