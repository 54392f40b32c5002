//! The image that is written: a plain file, or a stream that is decoded on the way.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::os::unix::fs::FileExt as _;

use liblzma::stream::{CONCATENATED, Stream};

/// The most memory that decoding takes, in bytes: `xz -9` needs 65 MiB, `zstd --long` 128 MiB.
const MEMORY: u64 = 256 << 20;
/// The largest window of zstd, as a power of two in bytes.
const WINDOW: u32 = 27;

/// An image that can be read.
pub enum ImageSource {
    /// A plain image in a file of this size in bytes.
    Plain(File, u64),
    /// The plain bytes of an image, which can be read once.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_, size) => write!(f, "Plain({size})"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl ImageSource {
    /// Returns the image in a file: plain, or compressed by xz, zstd or gzip, which its first bytes tell.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(file: File) -> io::Result<Self> {
        let mut first = [0; 6];
        let count = file.read_at(&mut first, 0)?;
        if Format::of(&first[..count]).is_none() {
            let size = file.metadata()?.len();
            return Ok(Self::Plain(file, size));
        }
        Self::of_stream(file)
    }

    /// Returns the image in a stream: plain, or compressed by xz, zstd or gzip.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_stream(mut stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut first = Vec::new();
        stream.by_ref().take(6).read_to_end(&mut first)?;
        let format = Format::of(&first);
        let whole: BufReader<Chain<Cursor<Vec<u8>>, _>> =
            BufReader::with_capacity(1 << 20, Cursor::new(first).chain(stream));
        Ok(Self::Stream(match format {
            None => Box::new(whole),
            Some(Format::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            Some(Format::Xz) => {
                let decoder = Stream::new_stream_decoder(MEMORY, CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(whole, decoder))
            }
            Some(Format::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(whole)?;
                decoder.window_log_max(WINDOW)?;
                Box::new(decoder)
            }
        }))
    }
}

/// How an image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Xz,
    Zstd,
}

impl Format {
    /// Returns the format that a file of these first bytes has; none for a plain image.
    fn of(first: &[u8]) -> Option<Self> {
        const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
        match first {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ if first.starts_with(&XZ) => Some(Self::Xz),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use pib_plan::manifest::project::Compression;

    use super::*;

    #[test]
    fn every_format_is_told_by_its_first_bytes_and_a_cut_one_fails() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let packed = |how| {
            let mut out = Vec::new();
            crate::compress::compress(&*plain, &mut out, how, 2).unwrap();
            out
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for bytes in [packed(Compression::Xz), packed(Compression::Zstd), gzip.finish().unwrap()] {
            let read = |bytes: Vec<u8>| {
                let ImageSource::Stream(mut stream) = ImageSource::of_stream(Cursor::new(bytes)).unwrap()
                else {
                    panic!("it is a stream")
                };
                let mut out = Vec::new();
                stream.read_to_end(&mut out).map(|_| out)
            };
            assert!(read(bytes.clone()).unwrap() == plain);
            assert!(read(bytes[..bytes.len() / 2].to_vec()).is_err());
            let mut damaged = bytes.clone();
            damaged[bytes.len() / 2] ^= 0x55;
            assert!(read(damaged).is_err());
        }
    }
}
