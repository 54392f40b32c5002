//! Tells file systems by what stands at known places of them.

use super::error::ReadingError;
use super::section::{Section, u16_at, u32_at};

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundFilesystem {
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// ext2, ext3 or ext4.
    Ext4,
    /// A squashfs.
    Squashfs,
    /// An EROFS.
    Erofs,
    /// A swap area.
    Swap,
    /// An f2fs.
    F2fs,
    /// A btrfs.
    Btrfs,
    /// An encrypted volume.
    Luks,
    /// Nothing that is known here.
    Unknown,
}

impl FoundFilesystem {
    /// Returns its usual name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Ext4 => "ext4",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Swap => "swap",
            Self::F2fs => "f2fs",
            Self::Btrfs => "btrfs",
            Self::Luks => "luks",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether it is made once and never written to, so that it is always full.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs)
    }
}

/// Where a signature stands, and what it is of.
///
/// Sources: linux/magic.h and the headers of each file system in Linux's source; cryptsetup's LUKS2 specification;
/// `mkswap` for pages of 4096 bytes.
const SIGNATURES: [(u64, &[u8], FoundFilesystem); 7] = [
    (0, b"hsqs", FoundFilesystem::Squashfs),
    (0, b"LUKS\xba\xbe", FoundFilesystem::Luks),
    (1024, &0xe0f5_e1e2_u32.to_le_bytes(), FoundFilesystem::Erofs),
    (1024, &0xf2f5_2010_u32.to_le_bytes(), FoundFilesystem::F2fs),
    (1024 + 56, &0xef53_u16.to_le_bytes(), FoundFilesystem::Ext4),
    (4086, b"SWAPSPACE2", FoundFilesystem::Swap),
    (65_536 + 64, b"_BHRfS_M", FoundFilesystem::Btrfs),
];

/// Returns what a partition holds.
pub(crate) fn probe(section: &Section) -> Result<FoundFilesystem, ReadingError> {
    for (at, signature, filesystem) in SIGNATURES {
        let length = signature.len() as u64;
        if at + length <= section.size() && section.bytes(at, length)? == signature {
            return Ok(filesystem);
        }
    }
    if section.size() >= 512 && is_fat(&section.bytes(0, 512)?) {
        return Ok(FoundFilesystem::Vfat);
    }
    Ok(FoundFilesystem::Unknown)
}

/// Tells a FAT by what its parameter block may hold (Microsoft's FAT specification of 2000, "Boot Sector and BPB").
fn is_fat(sector: &[u8]) -> bool {
    let (bytes, clusters) = (u16_at(sector, 11), sector[13]);
    let fits = [512, 1024, 2048, 4096].contains(&bytes) && clusters.is_power_of_two();
    let has_size = u16_at(sector, 19) != 0 || u32_at(sector, 32) != 0;
    sector[510..512] == [0x55, 0xaa]
        && fits
        && has_size
        && (1..=2).contains(&sector[16])
        && u16_at(sector, 14) > 0
}
