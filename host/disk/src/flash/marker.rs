//! What stands on a card while it is written, in the place of its partition table.
//!
//! The first sector has a sentence for people, and not the signature of a partition table, so that nothing boots from the
//! card. The two sectors after it have a record each, of which the one with the larger number counts: while one is
//! written, the other is whole.

use pib_plan::id::Digest;

/// The block that holds the marker, in bytes: the first of the device.
pub(crate) const MARKER: usize = 4096;

const SECTOR: usize = 512;
const MAGIC: &[u8; 16] = b"pib flash mark 1";

/// How far a device is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The digest that stands for the image.
    pub(crate) image: Digest,
    /// Everything of the image before this byte is safe on the device, but for the part that is written last.
    pub(crate) position: u64,
    /// Counts the records.
    pub(crate) number: u64,
}

impl Marker {
    /// Reads the marker of a device's first block, if it has one.
    pub(crate) fn parse(block: &[u8]) -> Option<Self> {
        let records = [SECTOR, 2 * SECTOR].into_iter().filter_map(|at| record(block.get(at..at + SECTOR)?));
        records.max_by_key(|marker| marker.number)
    }

    /// Puts this marker into the first block of the device, beside the record before it.
    pub(crate) fn put(&self, block: &mut [u8], name: &str) {
        let text = format!(
            "This card is not complete: pib was writing the image {} to it ({}). Run the same `pib flash` again.\n",
            name.chars().filter(|c| !c.is_control()).take(100).collect::<String>(),
            self.image
        );
        // The last bytes of the sector stay zero: they would be the signature of a partition table.
        block[..SECTOR].fill(0);
        let length = text.len().min(440);
        block[..length].copy_from_slice(&text.as_bytes()[..length]);
        let at = SECTOR * (1 + (self.number % 2) as usize);
        let record = &mut block[at..at + SECTOR];
        record.fill(0);
        record[..16].copy_from_slice(MAGIC);
        record[16..48].copy_from_slice(self.image.as_bytes());
        record[48..56].copy_from_slice(&self.position.to_le_bytes());
        record[56..64].copy_from_slice(&self.number.to_le_bytes());
        let sum = Digest::of(&record[..64]);
        record[64..96].copy_from_slice(sum.as_bytes());
    }
}

fn record(sector: &[u8]) -> Option<Marker> {
    let (body, rest) = sector.split_at_checked(64)?;
    let is_whole = body.starts_with(MAGIC) && rest.starts_with(Digest::of(body).as_bytes());
    let image = Digest::from_bytes(body[16..48].try_into().ok()?);
    let number = |at: usize| Some(u64::from_le_bytes(body[at..at + 8].try_into().ok()?));
    is_whole.then_some(Marker { image, position: number(48)?, number: number(56)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_record_counts_and_a_torn_one_does_not() {
        let mut block = vec![0; MARKER];
        assert_eq!(Marker::parse(&block), None);
        let marker = |number| Marker { image: Digest::of(b"x"), position: number * 1000, number };
        for number in 0..4 {
            marker(number).put(&mut block, "a\u{1b}.img");
            assert_eq!(Marker::parse(&block), Some(marker(number)));
        }
        assert!(block[510..512] == [0, 0] && block.starts_with(b"This card is not complete"));
        block[2 * SECTOR + 50] ^= 1;
        assert_eq!(Marker::parse(&block), Some(marker(2)));
        assert_eq!(Marker::parse(&[]), None);
    }
}
