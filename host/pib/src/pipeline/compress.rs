//! Compresses the finished image, where the project asks for that.

use std::io::{self, BufReader, Read, Seek as _, Write};

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

/// Returns the image in its compressed form, which is to be beside it; itself for `none`.
pub(crate) fn compress(
    mut image: NewFile,
    how: Compression,
    reporter: &dyn Reporter,
) -> Result<NewFile, Error> {
    let to = match how {
        Compression::None => return Ok(image),
        Compression::Xz => image.path().with_extension("img.xz"),
        Compression::Zstd => image.path().with_extension("img.zst"),
    };
    reporter.started(STEP, format!("Compressing to {}", to.display()));
    let fail = |error| Error::io("write", &to, error);
    let output = image.output().with_name(to.file_name().unwrap_or_default());
    let mut file = output.create().map_err(fail)?;
    image.file().rewind().map_err(fail)?;
    let total = image.as_file().metadata().map_or(0, |metadata| metadata.len());
    let source = Metered { source: image.as_file(), done: 0, total, told: 0, reporter };
    copy(how, &mut BufReader::with_capacity(1 << 20, source), file.file()).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    reporter.finished(STEP, false);
    Ok(file)
}

/// Tells how much of a file has been read.
struct Metered<'a> {
    source: &'a std::fs::File,
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
    use pib_file::Output;

    #[test]
    fn what_is_compressed_comes_back_and_the_plain_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = |how| {
            let mut image = Output::at(folder.path().join("a.img")).unwrap().create().unwrap();
            image.file().write_all(&bytes).unwrap();
            let mut packed = compress(image, how, &Silent).unwrap();
            packed.file().rewind().unwrap();
            let mut content = Vec::new();
            packed.file().read_to_end(&mut content).unwrap();
            (packed.path().file_name().unwrap().to_owned(), content)
        };
        let (name, content) = packed(Compression::Zstd);
        assert_eq!((name.to_str(), zstd::decode_all(&*content).unwrap()), (Some("a.img.zst"), bytes.clone()));
        let (name, content) = packed(Compression::Xz);
        let mut plain = Vec::new();
        liblzma::read::XzDecoder::new(&*content).read_to_end(&mut plain).unwrap();
        assert_eq!((name.to_str(), plain), (Some("a.img.xz"), bytes.clone()));
        assert_eq!(packed(Compression::None).1, bytes);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing has its place yet");
    }
}
