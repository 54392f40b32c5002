//! Reads a tar stream as records: all the bytes of one entry, with the extended headers before it and the padding after it.

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::pax::{Extensions, MAX_EXTENSION, Meta, c_string};

/// The size of a block of a tar.
pub(crate) const BLOCK: usize = 512;
/// How many bytes are handed over at once.
const CHUNK: usize = 256 << 10;

/// A tar stream, record by record.
pub(crate) struct TarRecords<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: Read> TarRecords<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; CHUNK] }
    }

    /// Hands all bytes of the next record to `sink`, and returns what it says; `None` at the end, which is read through to the
    /// stream's own.
    ///
    /// # Errors
    /// When the stream is no tar or ends early, or `sink` fails.
    pub(crate) fn next(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Option<Meta>> {
        let mut pending = Extensions::default();
        let mut is_begun = false;
        loop {
            let mut block = [0; BLOCK];
            self.input.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                if is_begun {
                    return Err(invalid("it ends after an extended header"));
                }
                io::copy(&mut self.input, &mut io::sink())?;
                return Ok(None);
            }
            is_begun = true;
            let header = Header::from_byte_slice(&block);
            check(header)?;
            sink(&block)?;
            match header.entry_type() {
                EntryType::XHeader => pending.records(&self.extension(header, sink)?)?,
                EntryType::GNULongName => pending.path = Some(c_string(self.extension(header, sink)?)),
                EntryType::GNULongLink => pending.link = Some(c_string(self.extension(header, sink)?)),
                EntryType::XGlobalHeader | EntryType::GNUSparse => {
                    return Err(invalid("it has entries of a kind that container engines do not write"));
                }
                _ => {
                    let meta = pending.apply(header)?;
                    self.data(header.entry_size()?, sink)?;
                    return Ok(Some(meta));
                }
            }
        }
    }

    fn extension(
        &mut self,
        header: &Header,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(invalid("an extended header is too large"));
        }
        let mut bytes = Vec::new();
        self.data(size, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            sink(chunk)
        })?;
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// Hands over the data of an entry, with its padding.
    fn data(&mut self, size: u64, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left =
            size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| invalid("a size is too large"))?;
        while left > 0 {
            let count = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let chunk = &mut self.buffer[..count];
            self.input.read_exact(chunk)?;
            sink(chunk)?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// Compares a header with its checksum.
fn check(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let blanks = 8 * u32::from(b' ');
    let outside = bytes[..148].iter().chain(&bytes[156..]);
    let sum = outside.map(|byte| u32::from(*byte)).sum::<u32>() + blanks;
    if header.cksum()? == sum {
        Ok(())
    } else {
        Err(invalid("a header does not have the checksum that it names"))
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
