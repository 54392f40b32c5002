//! What is on a disk or a partition, as the first bytes of known formats tell.
//!
//! Offsets and magic numbers are those of util-linux's libblkid, each format's own documents beside them.

use std::io;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signature {
    /// Part of something that spans devices or is encrypted: it is not overwritten by accident.
    InUse(&'static str),
    /// A file system, a partition table, or an unfinished flash.
    Content(String),
}

/// Formats that are told by bytes at an offset, whose presence speaks against writing.
const IN_USE: [(u64, &[u8], &str); 9] = [
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x4000, b"SKUL\xba\xbe", "a LUKS volume"),
    (512 + 24, b"LVM2 001", "an LVM volume"),
    (24, b"LVM2 001", "an LVM volume"),
    // Version 1.2 and 1.1 of md's superblock, little-endian.
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of a RAID"),
    (4086, b"SWAPSPACE2", "swap"),
    (4096, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    (0x2_0000 + 0x3f8, b"\x0c\xb1\xba\x00\x00\x00\x00\x00", "a member of a ZFS pool"),
];

/// Formats whose presence is only told.
const CONTENT: [(u64, &[u8], &str); 11] = [
    (0, b"This card is not complete", "an unfinished flash"),
    (1080, b"\x53\xef", "ext4"),
    (0, b"XFSB", "XFS"),
    (65_600, b"_BHRfS_M", "btrfs"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (82, b"FAT32", "FAT"),
    (54, b"FAT1", "FAT"),
    (3, b"NTFS    ", "NTFS"),
    (32_769, b"CD001", "an ISO image"),
];

/// Returns what a region of `size` bytes holds; `read` gives bytes of it.
pub(super) fn signature(read: impl Fn(u64, usize) -> io::Result<Vec<u8>>, size: u64) -> Option<Signature> {
    let has = |offset: u64, magic: &[u8]| {
        let end = offset.checked_add(magic.len() as u64);
        end.is_some_and(|end| end <= size) && read(offset, magic.len()).is_ok_and(|bytes| bytes == magic)
    };
    if let Some((_, _, what)) = IN_USE.iter().find(|(offset, magic, _)| has(*offset, magic)) {
        return Some(Signature::InUse(what));
    }
    // Versions 1.0 and 0.90 of md's superblock are near the end.
    let ends = [(size.saturating_sub(8192)) & !4095, (size & !0xffff).saturating_sub(0x1_0000)];
    if ends.iter().any(|offset| *offset > 0 && has(*offset, b"\xfc\x4e\x2b\xa9")) {
        return Some(Signature::InUse("a member of a RAID"));
    }
    let content = CONTENT.iter().find(|(offset, magic, _)| has(*offset, magic)).map(|(_, _, what)| *what);
    let table = || match (has(512, b"EFI PART"), has(510, b"\x55\xaa")) {
        (true, _) => Some("a GPT partition table"),
        (_, true) => Some("an MBR partition table"),
        _ => None,
    };
    content.or_else(table).map(|what| Signature::Content(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize, at: usize, magic: &[u8]) -> Option<Signature> {
        let mut bytes = vec![0; size];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        let read = |offset: u64, length: usize| {
            let offset = offset as usize;
            bytes
                .get(offset..offset + length)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        signature(read, size as u64)
    }

    #[test]
    fn formats_are_told_by_their_bytes() {
        let in_use = |size, at, magic: &[u8]| matches!(of(size, at, magic), Some(Signature::InUse(_)));
        assert!(in_use(1 << 20, 0, b"LUKS\xba\xbe"));
        assert!(in_use(1 << 20, 536, b"LVM2 001"));
        assert!(in_use(1 << 20, 4096, b"\xfc\x4e\x2b\xa9"));
        assert!(in_use(1 << 20, (1 << 20) - 8192, b"\xfc\x4e\x2b\xa9"));
        assert!(in_use((1 << 20) + 5 * 512, (1 << 20) - 65_536, b"\xfc\x4e\x2b\xa9"));
        assert!(in_use(1 << 20, 4086, b"SWAPSPACE2"));
        let text = |at, magic: &[u8]| match of(1 << 20, at, magic) {
            Some(Signature::Content(what)) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(1080, b"\x53\xef"), "ext4");
        assert_eq!(text(510, b"\x55\xaa"), "an MBR partition table");
        assert_eq!(text(512, b"EFI PART"), "a GPT partition table");
        assert_eq!(of(1 << 20, 300, b"x"), None);
        assert_eq!(of(512, 0, b""), None);
    }
}
