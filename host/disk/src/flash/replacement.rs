//! Bytes of an image in whose place a card gets others: the image stays as it is.

/// What a card gets in the place of some bytes of the image.
#[derive(Clone)]
pub struct Replacement {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    /// Where it begins in the image, in bytes.
    offset: u64,
    /// What the image has there, and what the card gets: of one length.
    old: Vec<u8>,
    new: Vec<u8>,
}

impl std::fmt::Debug for Replacement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is put there may be secret.
        write!(f, "Replacement({} bytes)", self.size())
    }
}

impl Replacement {
    /// Returns the replacement of the content of these ranges, which is `old`, by `new`; none where the lengths differ.
    pub fn new(ranges: &[(u64, u64)], old: &[u8], new: &[u8]) -> Option<Self> {
        let (mut old, mut new) = (old, new);
        let mut parts = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            let length = usize::try_from(end.checked_sub(*start)?).ok()?;
            let ((old_part, old_rest), (new_part, new_rest)) =
                (old.split_at_checked(length)?, new.split_at_checked(length)?);
            parts.push(Part { offset: *start, old: old_part.to_vec(), new: new_part.to_vec() });
            (old, new) = (old_rest, new_rest);
        }
        (old.is_empty() && new.is_empty()).then_some(Self { parts })
    }

    /// Returns how many bytes are replaced.
    pub(super) fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.new.len() as u64).sum()
    }

    /// Replaces what of the image's `bytes`, which begin at `offset`, is to be replaced; returns how many bytes that was,
    /// and nothing where the image has something else there than was seen before.
    pub(super) fn apply(&self, bytes: &mut [u8], offset: u64) -> Option<u64> {
        let end = offset + bytes.len() as u64;
        let mut count = 0;
        for part in &self.parts {
            let (first, last) = (offset.max(part.offset), end.min(part.offset + part.new.len() as u64));
            if first >= last {
                continue;
            }
            let within = |start: u64| (first - start) as usize..(last - start) as usize;
            let place = &mut bytes[within(offset)];
            if *place != part.old[within(part.offset)] {
                return None;
            }
            place.copy_from_slice(&part.new[within(part.offset)]);
            count += last - first;
        }
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_replaced_once_however_the_image_is_cut() {
        let image: Vec<u8> = (0..100).collect();
        let old = [&image[10..15], &image[40..50]].concat();
        let replacement = Replacement::new(&[(10, 15), (40, 50)], &old, &[200; 15]).unwrap();
        let mut whole = image.clone();
        assert_eq!(replacement.apply(&mut whole, 0), Some(15));
        for size in 1..30 {
            let mut cut = image.clone();
            let chunks = cut.chunks_mut(size).enumerate();
            let count: u64 =
                chunks.map(|(at, chunk)| replacement.apply(chunk, (at * size) as u64).unwrap()).sum();
            assert_eq!((count, &cut), (15, &whole));
        }
        assert_eq!(replacement.apply(&mut whole, 0), None);
        assert!(Replacement::new(&[(0, 4)], &[0; 4], &[0; 5]).is_none());
        assert!(Replacement::new(&[(4, 0)], &[], &[]).is_none());
    }
}
