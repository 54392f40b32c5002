//! Compresses the finished image, where the project asks for that.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use pib_file::NewFile;
use pib_plan::manifest::project::Compression;

use crate::project::Error;
use pib_event::{Reporter, ReporterExt as _};

/// Levels that are slow enough to be worth it and quick enough to wait for.
const ZSTD_LEVEL: i32 = 9;
const XZ_LEVEL: u32 = 6;

const STEP: &str = "compress";
/// How often progress is told, in bytes.
const TICK: u64 = 4 << 20;

/// Replaces `image` by its compressed form beside it; does nothing for `none`.
pub(crate) fn compress(image: &Path, how: Compression, reporter: &dyn Reporter) -> Result<(), Error> {
    let to = match how {
        Compression::None => return Ok(()),
        Compression::Xz => image.with_extension("img.xz"),
        Compression::Zstd => image.with_extension("img.zst"),
    };
    reporter.started(STEP, format!("Compressing to {}", to.display()));
    let fail = |error| Error::io("write", &to, error);
    let mut file = NewFile::create(&to).map_err(fail)?;
    let source = pib_file::open(image).map_err(|error| Error::io("read", image, error))?;
    let total = source.metadata().map_or(0, |metadata| metadata.len());
    let source = Metered { source, done: 0, total, told: 0, reporter };
    copy(how, &mut BufReader::with_capacity(1 << 20, source), file.file()).map_err(fail)?;
    let mode = std::fs::metadata(image).map_err(fail)?.permissions();
    file.keep(mode).map_err(fail)?;
    std::fs::remove_file(image).map_err(|error| Error::io("remove", image, error))?;
    reporter.finished(STEP, false);
    Ok(())
}

/// Tells how much of a file has been read.
struct Metered<'a> {
    source: std::fs::File,
    done: u64,
    total: u64,
    told: u64,
    reporter: &'a dyn Reporter,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.done += read as u64;
        if self.done >= self.told + TICK {
            self.told = self.done;
            self.reporter.progress(STEP, self.done, Some(self.total));
        }
        Ok(read)
    }
}

fn copy(how: Compression, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    match how {
        Compression::None => io::copy(from, to).map(drop),
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            io::copy(from, &mut encoder)?;
            encoder.finish()?.flush()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(to, XZ_LEVEL);
            io::copy(from, &mut encoder)?;
            encoder.finish()?.flush()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pib_event::Silent;

    #[test]
    fn what_is_compressed_comes_back_and_the_plain_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.img");
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&image, &bytes).unwrap();
        compress(&image, Compression::Zstd, &Silent).unwrap();
        assert!(!image.exists());
        let packed = std::fs::File::open(folder.path().join("a.img.zst")).unwrap();
        assert_eq!(zstd::decode_all(packed).unwrap(), bytes);
        std::fs::write(&image, &bytes).unwrap();
        compress(&image, Compression::Xz, &Silent).unwrap();
        let mut plain = Vec::new();
        let packed = std::fs::File::open(folder.path().join("a.img.xz")).unwrap();
        liblzma::read::XzDecoder::new(packed).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, bytes);
    }
}
