//! Opens a Debian package: an `ar` archive with two tars, of metadata and of the files that it installs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::decompress::{self, Format};
use super::error::DebianError;

/// The most bytes that a package's files may unpack to; the largest in a minimal system is a hundredth of this.
const MAX_DATA: u64 = 4 << 30;
/// The most bytes that a package's metadata may unpack to.
const MAX_CONTROL: u64 = 64 << 20;
/// What every package and every `ar` archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";

/// A package, decompressed.
#[derive(Debug)]
pub(super) struct Package {
    control: Vec<u8>,
    data: File,
    size: u64,
}

impl Package {
    /// Decompresses the package at `path`; its files' tar goes to a nameless file in the folder `temp`.
    ///
    /// # Errors
    /// When the file is no Debian package, uses a form that pib does not know, or unpacks to too much.
    pub(super) fn open(path: &Path, temp: &Path) -> Result<Self, DebianError> {
        let file = pib_file::open(path).map_err(DebianError::io("opening", path))?;
        let mut data = tempfile::tempfile_in(temp).map_err(DebianError::io("creating a file in", temp))?;
        let mut read = || {
            let mut control = Vec::new();
            member(&file, "control.tar", MAX_CONTROL)?.read_to_end(&mut control)?;
            let mut output = BufWriter::with_capacity(1 << 18, &mut data);
            let size = io::copy(&mut member(&file, "data.tar", MAX_DATA)?, &mut output)?;
            output.flush()?;
            Ok((control, size))
        };
        let (control, size) =
            read().map_err(|error: io::Error| DebianError::archive(path.display().to_string(), error))?;
        Ok(Self { control, data, size })
    }

    /// Returns the tar of the files that the package installs.
    pub(super) fn files(&mut self) -> io::Result<impl Read + '_> {
        self.data.rewind()?;
        Ok(BufReader::with_capacity(1 << 18, &self.data))
    }

    /// Returns the same package with nothing compressed, and its size.
    ///
    /// The target's own dpkg would decompress under emulation, which takes many times as long as doing it here.
    pub(super) fn plain(&mut self) -> io::Result<(u64, impl Read + '_)> {
        let mut head = MAGIC.to_vec();
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &self.control)] {
            head.extend(header(name, bytes.len() as u64));
            head.extend(bytes);
            head.resize(head.len() + bytes.len() % 2, b'\n');
        }
        head.extend(header("data.tar", self.size));
        let padding = &b"\n"[..usize::from(self.size % 2 == 1)];
        let total = head.len() as u64 + self.size + padding.len() as u64;
        Ok((total, Cursor::new(head).chain(self.files()?).chain(padding)))
    }
}

/// Returns the header of a member of an `ar` archive.
fn header(name: &str, size: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).into_bytes()
}

/// Returns the decompressed bytes of the member `stem`, whose name's ending says how it is compressed.
fn member<'a>(file: &'a File, stem: &str, limit: u64) -> io::Result<impl Read + use<'a>> {
    let (name, bytes) = find_member(file, stem)?;
    let format = match &name[stem.len()..] {
        "" => Format::Plain,
        ".gz" => Format::Gzip,
        ".xz" => Format::Xz,
        ".zst" => Format::Zstd,
        other => return Err(invalid(&format!("it is compressed as `{other}`, which pib does not know"))),
    };
    let stream = decompress::decoder(format, BufReader::with_capacity(1 << 16, bytes))?;
    Ok(decompress::bounded(stream, limit))
}

/// Finds the first member whose name is `stem` with any ending.
fn find_member<'a>(mut file: &'a File, stem: &str) -> io::Result<(String, impl Read + use<'a>)> {
    file.rewind()?;
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(|_| invalid("it is shorter than a package's header"))?;
    if &magic != MAGIC {
        return Err(invalid("it is no Debian package (no `ar` header)"));
    }
    let length = file.metadata()?.len();
    loop {
        let mut header = [0; 60];
        file.read_exact(&mut header).map_err(|_| invalid(&format!("it has no member `{stem}`")))?;
        let field =
            |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).unwrap_or_default().trim();
        if &header[58..] != b"`\n" {
            return Err(invalid("a member's header is malformed"));
        }
        let name = field(0..16).trim_end_matches('/').to_owned();
        let size: u64 = field(48..58).parse().map_err(|_| invalid("a member's size is no number"))?;
        let start = file.stream_position()?;
        if size > length.saturating_sub(start) {
            return Err(invalid("a member is longer than the file"));
        }
        if name.starts_with(stem) {
            return Ok((name, file.take(size)));
        }
        file.seek(SeekFrom::Start(start + size + size % 2))?;
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, data.len() as u64);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + data.len() % 2, b'\n');
        bytes
    }

    /// Opens the package and returns its files and its uncompressed form.
    fn open(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), DebianError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        std::fs::write(&path, bytes).unwrap();
        let mut package = Package::open(&path, folder.path())?;
        let (mut data, mut plain) = (Vec::new(), Vec::new());
        package.files().unwrap().read_to_end(&mut data).unwrap();
        let (size, mut stream) = package.plain().unwrap();
        stream.read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len() as u64, size);
        Ok((data, plain))
    }

    #[test]
    fn the_data_member_is_found_in_every_compression() {
        let head = [b"!<arch>\n".to_vec(), part("debian-binary", b"2.0"), part("control.tar", b"c")].concat();
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut encoder, b"files").unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(&b"files"[..], 1).unwrap();
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            io::Write::write_all(&mut encoder, b"files").unwrap();
            encoder.finish().unwrap()
        };
        for (name, data) in [
            ("data.tar/", b"files".to_vec()),
            ("data.tar.gz", gzip),
            ("data.tar.zst", zstd),
            ("data.tar.xz", xz),
        ] {
            let (files, plain) = open(&[head.clone(), part(name, &data)].concat()).unwrap();
            assert_eq!(files, b"files", "{name}");
            assert_eq!(open(&plain).unwrap(), (files, plain), "{name}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let magic = b"!<arch>\n".to_vec();
        let lying = {
            let mut bytes = part("data.tar", b"files");
            bytes[48..58].copy_from_slice(b"9999999999");
            bytes
        };
        for bad in [
            vec![],
            b"PK\x03\x04 a zip file".to_vec(),
            magic.clone(),
            [magic.clone(), part("debian-binary", b"2.0")].concat(),
            [magic.clone(), part("control.tar", b"c"), part("data.tar.lzma", b"x")].concat(),
            [magic.clone(), part("data.tar", b"x")].concat(),
            [magic.clone(), part("control.tar", b"c"), lying].concat(),
            [magic, vec![b'x'; 60]].concat(),
        ] {
            assert!(open(&bad).is_err(), "{bad:?}");
        }
    }
}
