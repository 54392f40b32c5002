//! A stream whose digest is known when all of it has been read.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use pib_disk::FlashError;
use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};

/// A stream that computes its digest on the way.
pub(super) struct CheckedStream<R> {
    inner: R,
    hasher: Sha256,
    found: Arc<Mutex<Option<Digest>>>,
}

/// Compares the digest of a stream with the one that it must have.
pub(super) struct Confirmation {
    expected: Digest,
    /// Whether a person named the digest; else it is what was found at a first look.
    is_asked_for: bool,
    /// The digest of the stream, once all of it has been read.
    found: Arc<Mutex<Option<Digest>>>,
}

impl<R> CheckedStream<R> {
    /// Returns the stream, and what compares its digest at the end.
    pub(super) fn new(inner: R, expected: Digest, is_asked_for: bool) -> (Self, Confirmation) {
        let found = Arc::default();
        let stream = Self { inner, hasher: Sha256::new(), found: Arc::clone(&found) };
        (stream, Confirmation { expected, is_asked_for, found })
    }
}

impl<R: Read> Read for CheckedStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let digest = Digest::from_bytes(self.hasher.clone().finalize().into());
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        }
        Ok(count)
    }
}

impl Confirmation {
    /// Compares the digest of what was read.
    ///
    /// # Errors
    /// When it is another one, or not all was read.
    pub(super) fn check(&self) -> Result<(), FlashError> {
        match *self.found.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(found) if found == self.expected => Ok(()),
            Some(_) if !self.is_asked_for => Err(FlashError::Changed),
            Some(found) => Err(FlashError::Digest { expected: self.expected, found, is_written: true }),
            None => Err(FlashError::Image {
                offset: 0,
                source: io::Error::other("more follows after its end, which no digest covers"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_compared_when_all_of_it_was_read() {
        let (mut stream, confirmation) = CheckedStream::new(&b"image"[..], Digest::of(b"image"), true);
        let mut read = [0; 5];
        stream.read_exact(&mut read).unwrap();
        assert!(matches!(confirmation.check(), Err(FlashError::Image { .. })));
        io::copy(&mut stream, &mut io::sink()).unwrap();
        assert!(confirmation.check().is_ok());
        let evil = |is_asked_for| {
            let (mut stream, confirmation) =
                CheckedStream::new(&b"evil"[..], Digest::of(b"image"), is_asked_for);
            io::copy(&mut stream, &mut io::sink()).unwrap();
            confirmation.check()
        };
        assert!(matches!(evil(true), Err(FlashError::Digest { is_written: true, .. })));
        assert!(matches!(evil(false), Err(FlashError::Changed)));
    }
}
