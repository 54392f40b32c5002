//! Digests by which the contents of files are compared.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};

/// The bytes that are looked at together.
const BLOCK: usize = 4096;

/// Takes a file's content for a digest of it, until nobody waits for it any more.
///
/// The digest is of the blocks that are not all zero and of their places: a file that claims to have 60 GiB and is a hole costs no
/// more than reading zeros. Two files of one size have the same digest if they have the same bytes.
pub(super) struct ContentHasher<'a> {
    state: Sha256,
    /// The beginning of a block that is not whole yet.
    begun: Vec<u8>,
    /// The place of the next block.
    block: u64,
    stopped: &'a AtomicBool,
}

impl<'a> ContentHasher<'a> {
    /// Returns one that has seen nothing; `stopped` is raised when nobody waits any more.
    pub(super) fn new(stopped: &'a AtomicBool) -> Self {
        Self { state: Sha256::new(), begun: Vec::new(), block: 0, stopped }
    }

    /// Returns the digest of what it has seen.
    pub(super) fn finish(mut self) -> Digest {
        let rest = std::mem::take(&mut self.begun);
        self.add(&rest);
        Digest::from_bytes(self.state.finalize().into())
    }

    fn add(&mut self, block: &[u8]) {
        if *block != [0; BLOCK][..block.len()] {
            self.state.update(self.block.to_le_bytes());
            self.state.update(block);
        }
        self.block += 1;
    }
}

impl io::Write for ContentHasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped by the user"));
        }
        let mut rest = bytes;
        if !self.begun.is_empty() {
            let (more, after) = rest.split_at(rest.len().min(BLOCK - self.begun.len()));
            self.begun.extend_from_slice(more);
            if self.begun.len() < BLOCK {
                return Ok(bytes.len());
            }
            let whole = std::mem::take(&mut self.begun);
            self.add(&whole);
            rest = after;
        }
        let blocks = rest.chunks_exact(BLOCK);
        self.begun.extend_from_slice(blocks.remainder());
        blocks.for_each(|block| self.add(block));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let stopped = AtomicBool::new(false);
        let mut hasher = ContentHasher::new(&stopped);
        for piece in pieces {
            hasher.write_all(piece).unwrap();
        }
        hasher.finish()
    }

    #[test]
    fn contents_of_one_size_that_differ_have_other_digests() {
        let base = vec![0; 3 * BLOCK + 5];
        let mut seen = vec![digest([&base[..]])];
        for at in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, 3 * BLOCK, 3 * BLOCK + 4] {
            let mut content = base.clone();
            content[at] = 1;
            seen.push(digest([&content[..]]));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn pieces_do_not_matter() {
        let content: Vec<u8> =
            (0..3 * BLOCK + 77).map(|at| if at % 5000 < 4500 { 0 } else { at as u8 }).collect();
        let whole = digest([&content[..]]);
        for piece in [1, 7, 512, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 9] {
            assert_eq!(digest(content.chunks(piece)), whole, "{piece}");
        }
    }
}
