//! Reads tar streams entry by entry, with their extended headers.
//!
//! The `tar` crate cuts PAX records at line breaks, but the values of extended attributes are binary: a file
//! capability or an ACL may well contain that byte. A record says how long it is, and here that is what counts.
//! Deliberately absent: sparse files, which no container engine writes; those of a tarball are written out before.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Archive, EntryType, Header};

/// How extended attributes are named in PAX records, by GNU tar, libarchive and container engines alike.
const XATTR: &str = "SCHILY.xattr.";
/// The most bytes that an extended header may have.
pub(crate) const MAX_EXTENSION: u64 = 16 << 20;

/// What a tar says of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The path as written.
    pub path: Vec<u8>,
    /// The target of a symbolic or hard link, as written.
    pub link: Option<Vec<u8>>,
    /// What the entry is.
    pub kind: EntryType,
    /// Permissions, with the setuid, setgid and sticky bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The time of the last change, in whole seconds since 1970.
    pub mtime: u64,
    /// The size of the data in bytes.
    pub size: u64,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// The extended attributes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Calls `visit` with every entry of the tar `input` and a reader of its data.
///
/// # Errors
/// When the stream is no tar or ends early, has a form that is not supported, or `visit` fails.
pub fn for_each<R: Read>(
    input: R,
    mut visit: impl FnMut(Meta, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = Archive::new(input);
    let mut pending = Extensions::default();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XGlobalHeader => {}
            EntryType::XHeader => pending.records(&read_extension(&mut entry)?)?,
            EntryType::GNULongName => pending.path = Some(c_string(read_extension(&mut entry)?)),
            EntryType::GNULongLink => pending.link = Some(c_string(read_extension(&mut entry)?)),
            EntryType::GNUSparse => return Err(invalid("a sparse file is not supported")),
            _ => {
                let meta = std::mem::take(&mut pending).apply(entry.header())?;
                visit(meta, &mut entry)?;
            }
        }
    }
    Ok(())
}

/// Returns the records of an extended header: a length in decimal, a space, `key=value` and a line break, all within the
/// length.
///
/// # Errors
/// When one is malformed.
pub fn records(mut bytes: &[u8]) -> io::Result<Vec<(&str, &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| *length > space + 1 && *length <= bytes.len());
        let (record, rest) = bytes.split_at(length.ok_or_else(malformed)?);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| malformed())?;
        records.push((key, &record[equals + 1..]));
        bytes = rest;
    }
    Ok(records)
}

fn malformed() -> io::Error {
    invalid("an extended header is malformed")
}

/// What the extended headers before an entry say of it.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    numbers: BTreeMap<&'static str, u64>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Extensions {
    pub(crate) fn records(&mut self, bytes: &[u8]) -> io::Result<()> {
        for (key, value) in records(bytes)? {
            self.record(key, value).ok_or_else(malformed)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.split('.').next()?.parse::<u64>().ok();
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "uid" => drop(self.numbers.insert("uid", number()?)),
            "gid" => drop(self.numbers.insert("gid", number()?)),
            "size" => drop(self.numbers.insert("size", number()?)),
            // A time before 1970 counts as 1970.
            "mtime" => drop(self.numbers.insert("mtime", number().unwrap_or(0))),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Some(())
    }

    pub(crate) fn apply(self, header: &Header) -> io::Result<Meta> {
        let kind = header.entry_type();
        let size = header.entry_size()?;
        if self.numbers.get("size").is_some_and(|number| *number != size) {
            return Err(invalid("a file of more than 8 GiB is not supported"));
        }
        let number = |name, plain: io::Result<u64>| self.numbers.get(name).copied().map_or(plain, Ok);
        let device = match kind {
            EntryType::Char | EntryType::Block => {
                (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0))
            }
            _ => (0, 0),
        };
        Ok(Meta {
            link: self.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned())),
            kind: match kind {
                // An old name of a plain file.
                EntryType::Continuous => EntryType::Regular,
                other => other,
            },
            mode: header.mode()? & 0o7777,
            uid: number("uid", header.uid())?,
            gid: number("gid", header.gid())?,
            mtime: number("mtime", Ok(header.mtime().unwrap_or(0)))?,
            size,
            device,
            path: self.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            xattrs: self.xattrs,
        })
    }
}

/// Returns the PAX records for extended attributes, to be written before an entry.
pub fn xattr_records(xattrs: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (String, &[u8])> {
    xattrs.iter().map(|(name, value)| (format!("{XATTR}{name}"), value.as_slice()))
}

fn read_extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENSION + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_EXTENSION {
        true => Err(invalid("an extended header is too large")),
        false => Ok(bytes),
    }
}

/// Cuts the zero byte that ends a name, and what follows.
pub(crate) fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::Builder;

    type Listed = Vec<(Meta, Vec<u8>)>;

    fn list(bytes: &[u8]) -> io::Result<Listed> {
        let mut found = Vec::new();
        for_each(bytes, |meta, data| {
            let mut text = Vec::new();
            data.read_to_end(&mut text)?;
            found.push((meta, text));
            Ok(())
        })?;
        Ok(found)
    }

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        header.set_size(size);
        header
    }

    #[test]
    fn attributes_may_hold_any_byte() {
        let value = b"\x01\n12 a=b\n\0\xff\n";
        let mut builder = Builder::new(Vec::new());
        let records = [
            ("SCHILY.xattr.security.capability", &value[..]),
            ("SCHILY.xattr.user.empty", b""),
            ("uid", b"3000000"),
            ("mtime", b"77.25"),
        ];
        builder.append_pax_extensions(records).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 4), "a", &b"data"[..]).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 0), "b", &b""[..]).unwrap();
        let found = list(&builder.into_inner().unwrap()).unwrap();
        let (meta, data) = &found[0];
        assert_eq!(data, b"data");
        assert_eq!((meta.uid, meta.gid, meta.mtime, meta.mode), (3_000_000, 2, 77, 0o4755));
        assert_eq!(meta.xattrs["security.capability"], value);
        assert_eq!(meta.xattrs["user.empty"], b"");
        let records: Vec<_> = xattr_records(&meta.xattrs).map(|(key, _)| key).collect();
        assert_eq!(records, ["SCHILY.xattr.security.capability", "SCHILY.xattr.user.empty"]);
        assert_eq!((found[1].0.uid, found[1].0.xattrs.len()), (1, 0));
    }

    #[test]
    fn long_names_come_from_either_kind_of_header() {
        let long = "d/".repeat(150) + "f";
        let mut builder = Builder::new(Vec::new());
        builder.append_data(&mut header(EntryType::Regular, 0), &long, &b""[..]).unwrap();
        builder.append_link(&mut header(EntryType::Symlink, 0), "l", &long).unwrap();
        builder.append_pax_extensions([("path", long.as_bytes()), ("linkpath", b"to")]).unwrap();
        builder.append_link(&mut header(EntryType::Symlink, 0), "x", "y").unwrap();
        let found = list(&builder.into_inner().unwrap()).unwrap();
        let names = |index: usize| (found[index].0.path.clone(), found[index].0.link.clone());
        assert_eq!(names(0), (long.clone().into_bytes(), None));
        assert_eq!(names(1), (b"l".to_vec(), Some(long.clone().into_bytes())));
        assert_eq!(names(2), (long.into_bytes(), Some(b"to".to_vec())));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for records in
            ["x", "5 a=b\n", "99 a=b\n", "6 ab c\n", "6 a=bcd", "8 uid=x\n", "0 a=b\n", "12 size=10\n"]
        {
            let mut builder = Builder::new(Vec::new());
            let mut extended = header(EntryType::XHeader, records.len() as u64);
            builder.append_data(&mut extended, "p", records.as_bytes()).unwrap();
            builder.append_data(&mut header(EntryType::Regular, 0), "a", &b""[..]).unwrap();
            let problem = list(&builder.into_inner().unwrap()).unwrap_err();
            assert_eq!(problem.kind(), io::ErrorKind::InvalidData, "{records}");
        }
        assert!(list(&[7; 1024]).is_err());
    }
}
