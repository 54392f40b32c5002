//! The two names that every entry of a FAT folder has: a short one, and the long one that people gave it.
//!
//! Format: Microsoft's "FAT File System Specification", sections 6 (short) and 7 (long names).

use std::collections::HashSet;

/// The size of a folder's slot.
pub(crate) const SLOT: usize = 32;
/// UTF-16 units that one slot of a long name holds.
const UNITS: usize = 13;
/// Where they are in the slot.
const PLACES: [usize; UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The longest name, in UTF-16 units.
const LONGEST: usize = 255;

/// A short name: eight bytes and three more, both filled up with spaces.
pub(crate) type Short = [u8; 11];

/// Says why a name cannot be on FAT, if it cannot.
pub(crate) fn refuse(name: &str) -> Option<&'static str> {
    if name.encode_utf16().count() > LONGEST {
        return Some("its name is longer than 255 characters");
    }
    if name.chars().any(|c| c.is_control() || "\"*/:<>?\\|".contains(c)) {
        return Some("its name has a character that FAT does not allow");
    }
    if name.ends_with(['.', ' ']) {
        return Some("its name ends in a dot or space");
    }
    None
}

/// Returns how many slots an entry takes.
pub(crate) fn slots(name: &str) -> usize {
    1 + name.encode_utf16().count().div_ceil(UNITS)
}

/// Returns a short name that no other entry of the folder has, and takes it.
///
/// A name that is a short one but for its case keeps it, so that firmware which reads only short names finds
/// its files; others are cut, and numbered.
pub(crate) fn shorten(name: &str, taken: &mut HashSet<Short>) -> Short {
    let upper = name.to_ascii_uppercase();
    let (stem, extension) = match upper.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (upper.as_str(), ""),
    };
    let plain = |text: &str| text.bytes().all(legal);
    if plain(stem) && plain(extension) && (1..=8).contains(&stem.len()) && extension.len() <= 3 {
        let short = join(stem.as_bytes(), extension.as_bytes());
        if taken.insert(short) {
            return short;
        }
    }
    let clean = |text: &str| -> Vec<u8> {
        let kept = text.chars().filter(|c| !matches!(c, ' ' | '.'));
        kept.map(|c| u8::try_from(c).ok().filter(|b| legal(*b)).unwrap_or(b'_')).collect()
    };
    let (stem, mut extension) = (clean(stem), clean(extension));
    extension.truncate(3);
    let mut number = 1_u32;
    loop {
        let tail = format!("~{number}");
        let mut start = stem.clone();
        start.truncate(8 - tail.len());
        start.extend(tail.bytes());
        let short = join(&start, &extension);
        // A folder has fewer than 65,536 slots, so a number is found before its digits fill the name.
        if taken.insert(short) || number == 999_999 {
            return short;
        }
        number += 1;
    }
}

fn legal(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn join(stem: &[u8], extension: &[u8]) -> Short {
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// Appends the slots of a long name, last piece first, as they stand before the short one.
pub(crate) fn push_long(out: &mut Vec<u8>, name: &str, short: &Short) {
    let units: Vec<u16> = name.encode_utf16().collect();
    let pieces = units.len().div_ceil(UNITS);
    for (number, piece) in units.chunks(UNITS).enumerate().rev() {
        let mut slot = [0; SLOT];
        let last = if number + 1 == pieces { 0x40 } else { 0 };
        slot[0] = u8::try_from(number + 1).unwrap_or(0) | last;
        slot[11] = 0x0f;
        slot[13] = checksum(short);
        for (index, place) in PLACES.into_iter().enumerate() {
            // The name's end is marked by a zero, and what follows by ones.
            let unit = match piece.get(index) {
                Some(unit) => *unit,
                None if index == piece.len() => 0,
                None => 0xffff,
            };
            slot[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        out.extend(slot);
    }
}

fn checksum(short: &Short) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_kept_where_they_can_be_and_unique() {
        let mut taken = HashSet::new();
        let mut short = |name: &str| String::from_utf8(shorten(name, &mut taken).to_vec()).unwrap();
        assert_eq!(short("bootcode.bin"), "BOOTCODEBIN");
        assert_eq!(short("start.elf"), "START   ELF");
        assert_eq!(short("vmlinuz-6.12.1-arm64"), "VMLINU~11-A");
        assert_eq!(short("vmlinuz-6.12.1-amd64"), "VMLINU~21-A");
        assert_eq!(short("größe.txt"), "GR__E~1 TXT");
        assert_eq!(short(".hidden"), "HIDDEN~1   ");
        for number in 0..200 {
            short(&format!("a-very-long-name-{number}.dtbo"));
        }
        assert_eq!(taken.len(), 206);
    }

    #[test]
    fn long_names_end_as_the_format_says() {
        let mut out = Vec::new();
        push_long(&mut out, "abcdefghijklmno", b"ABCDEF~1   ");
        assert_eq!((out.len(), out[0], out[32]), (64, 0x42, 0x01));
        assert_eq!(&out[1..8], b"n\0o\0\0\0\xff");
        assert_eq!((slots("abcdefghijklm"), slots("abcdefghijklmn")), (2, 3));
    }

    #[test]
    fn what_fat_does_not_allow_is_refused() {
        for name in ["a:b", "a?", "end.", "end ", "tab\t", &"x".repeat(256)] {
            assert!(refuse(name).is_some(), "{name:?}");
        }
        assert_eq!(refuse("bcm2711-rpi-4-b.dtb"), None);
    }
}
