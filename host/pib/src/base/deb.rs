//! Opens a Debian package: an `ar` archive with a compressed tar of the files that it installs.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::compress::{self, Format};
use super::error::BaseError;

/// The most bytes that one package may unpack to; the largest in a minimal system is a hundredth of this.
const MAX_UNPACKED: u64 = 4 << 30;

/// Opens the tar stream of the files that the package at `path` installs.
///
/// # Errors
/// When the file is no Debian package or uses a form that pib does not know.
pub(super) fn open_data(path: &Path) -> Result<impl Read + use<>, BaseError> {
    let file = File::open(path).map_err(BaseError::io("opening", path))?;
    let fail = |reason: String| BaseError::archive(path.display().to_string(), reason);
    let (name, member) = find_member(file, "data.tar").map_err(|error| fail(error.to_string()))?;
    let format = match name.strip_prefix("data.tar").unwrap_or_default() {
        "" => Format::Plain,
        ".gz" => Format::Gzip,
        ".xz" => Format::Xz,
        ".zst" => Format::Zstd,
        other => return Err(fail(format!("its files are compressed as `{other}`, which pib does not know"))),
    };
    let stream =
        compress::decoder(format, BufReader::new(member)).map_err(|error| fail(error.to_string()))?;
    Ok(compress::bounded(stream, MAX_UNPACKED))
}

/// Finds the first member whose name is `prefix` with any ending.
fn find_member(mut file: File, prefix: &str) -> io::Result<(String, impl Read + use<>)> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(|_| invalid("it is shorter than a package's header"))?;
    if &magic != b"!<arch>\n" {
        return Err(invalid("it is no Debian package (no `ar` header)"));
    }
    let length = file.metadata()?.len();
    loop {
        let mut header = [0; 60];
        file.read_exact(&mut header).map_err(|_| invalid("it has no member `data.tar`"))?;
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
        if name.starts_with(prefix) {
            return Ok((name, file.take(size)));
        }
        file.seek(SeekFrom::Start(start + size + size % 2))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len()).into_bytes();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + data.len() % 2, b'\n');
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Vec<u8>, BaseError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        std::fs::write(&path, bytes).unwrap();
        let mut data = Vec::new();
        open_data(&path)?.read_to_end(&mut data).unwrap();
        Ok(data)
    }

    #[test]
    fn the_data_member_is_found_in_every_compression() {
        let head =
            [b"!<arch>\n".to_vec(), member("debian-binary", b"2.0"), member("control.tar.xz", b"c")].concat();
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
            assert_eq!(open(&[head.clone(), member(name, &data)].concat()).unwrap(), b"files", "{name}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let magic = b"!<arch>\n".to_vec();
        let lying = {
            let mut bytes = member("data.tar", b"files");
            bytes[48..58].copy_from_slice(b"9999999999");
            bytes
        };
        for bad in [
            vec![],
            b"PK\x03\x04 a zip file".to_vec(),
            magic.clone(),
            [magic.clone(), member("debian-binary", b"2.0")].concat(),
            [magic.clone(), member("data.tar.lzma", b"x")].concat(),
            [magic.clone(), lying].concat(),
            [magic, vec![b'x'; 60]].concat(),
        ] {
            assert!(open(&bad).is_err(), "{bad:?}");
        }
    }
}
