//! Decompression, bounded: a small file must not fill the disk.

use std::io::{self, BufRead, Read};

/// A compression that tarballs and packages use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// None.
    Plain,
    /// RFC 1952.
    Gzip,
    /// The `.xz` container.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Format {
    /// Recognises the compression by the first bytes of a file.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// Returns what people call it; nothing where nothing is compressed.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Xz => Some("xz"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Returns the decompressed stream of `input`; several compressed streams one after the other are joined.
///
/// # Errors
/// When the decoder cannot be set up.
pub fn decoder<'a>(format: Format, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    /// The most memory that the xz decoder may take: level 9 needs 65 MiB.
    const XZ_MEMORY: u64 = 512 << 20;
    Ok(match format {
        Format::Plain => Box::new(input),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Format::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
    })
}

/// Returns a reader that fails after `limit` bytes, unlike [`Read::take`], which ends as if all were well.
pub fn bounded<R: Read>(input: R, limit: u64) -> Bounded<R> {
    Bounded { input, left: limit }
}

/// A reader with a limit, see [`bounded`].
pub struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than it can rightly hold")
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_stopped() {
        let zeros = zstd::encode_all(io::repeat(0).take(1 << 20), 1).unwrap();
        assert!(zeros.len() < 1000);
        let stream = |limit| bounded(decoder(Format::of(&zeros), &zeros[..]).unwrap(), limit);
        assert_eq!(io::copy(&mut stream(1 << 20), &mut io::sink()).unwrap(), 1 << 20);
        let problem = io::copy(&mut stream((1 << 20) - 1), &mut io::sink()).unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn formats_are_recognised() {
        assert_eq!(Format::of(&[0x1f, 0x8b, 8]), Format::Gzip);
        assert_eq!(Format::of(b"\xfd7zXZ\0\0"), Format::Xz);
        assert_eq!(Format::of(&[0x28, 0xb5, 0x2f, 0xfd]), Format::Zstd);
        assert_eq!(Format::of(b"etc/"), Format::Plain);
        assert_eq!(Format::of(b""), Format::Plain);
    }
}
