//! Compresses the finished image, where the project asks for that.

use std::io::{self, BufReader, Read, Seek as _};

use pib_file::NewFile;
use pib_plan::manifest::project::Compression;

use crate::project::Error;
use pib_event::{Reporter, ReporterExt as _};

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
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let source = BufReader::with_capacity(1 << 20, source);
    pib_disk::compress(source, file.file(), how, threads).map_err(fail)?;
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
