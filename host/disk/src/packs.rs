//! Keeps tar archives that have most of their entries in common as packs: each entry's bytes stand in one of them, once.
//!
//! A pack is the entries that no pack before it has, then the ranges of which packs make the archive, then how many bytes the
//! ranges take. What is put together is the archive, byte for byte: nothing is lost that its writer wrote, and nothing of an
//! entry needs to be understood.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use crate::pax::Meta;
use crate::tar_records::{BLOCK, TarRecords};

/// Longer records go to the spool while they are read.
const IN_MEMORY: usize = 4 << 20;
/// How many bytes are copied at once.
const CHUNK: usize = 256 << 10;
/// The bytes of a range: the pack's number, where the range begins there, and its length.
const RANGE: usize = 2 + 8 + 8;
/// The most ranges of an archive.
const MAX_RANGES: usize = 4_000_000;
/// The end of a tar.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// How hard a pack is compressed.
const LEVEL: i32 = 3;
/// The attribute that engines lose of hard links when they load an archive.
const CAPABILITY: &str = "security.capability";

/// Where records are: the pack's number, and the place in it.
#[derive(Debug, Default)]
pub struct KnownRecords(HashMap<[u8; 32], (u16, u64)>);

/// A range of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    pack: u16,
    from: u64,
    length: u64,
}

/// What became of an archive.
#[derive(Debug)]
pub struct Packed {
    /// The size of the archive in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// How many bytes its own pack has before it is compressed.
    pub length: u64,
    /// How many it has then.
    pub compressed: u64,
    /// The digest of the compressed pack.
    pub pack: Digest,
    /// A hard link to a file with capabilities, where there is one: engines lose these when they load the archive.
    pub fragile: Option<String>,
}

/// What was put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The size of the archive in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// A pack that is not compressed any more.
#[derive(Debug)]
pub struct OpenedPack {
    file: File,
    length: u64,
}

/// Reads the archive `input`, and writes the compressed pack with the number `number` to `output`: what `known` does not have,
/// which it gets. The entry at the path `left_out` is taken out of the archive. `spool` is an empty file.
///
/// # Errors
/// When the stream is no tar or breaks, or a file cannot be written.
pub fn pack(
    input: impl Read,
    (known, number): (&mut KnownRecords, u16),
    left_out: &str,
    spool: File,
    output: &File,
) -> io::Result<Packed> {
    let mut records = TarRecords::new(io::BufReader::with_capacity(CHUNK, input));
    let mut packer =
        Packer { spool, length: 0, known, number, ranges: Vec::new(), archive: Sha256::new(), size: 0 };
    let mut links = FragileLinks::default();
    loop {
        let mut record = Record::default();
        let meta = records.next(&mut |bytes| packer.take(&mut record, bytes))?;
        let Some(meta) = meta else { break };
        if path_of(&meta.path) == left_out.as_bytes() && meta.kind == EntryType::Directory {
            continue;
        }
        links.note(&meta);
        packer.add(record)?;
    }
    packer.finish(output, links.found)
}

impl OpenedPack {
    /// Decompresses a pack of `length` bytes into `file`, which is empty.
    ///
    /// # Errors
    /// When it is no pack, has another length, or the file cannot be written.
    pub fn open(compressed: impl Read, length: u64, mut file: File) -> io::Result<Self> {
        let decoder = zstd::stream::read::Decoder::new(compressed)?;
        let found = io::copy(&mut decoder.take(length.saturating_add(1)), &mut file)?;
        if found == length {
            Ok(Self { file, length })
        } else {
            Err(invalid("a pack has another length than its entry says"))
        }
    }

    /// Returns the ranges of the archive whose own pack it is, and where they begin in the pack.
    fn ranges(&self) -> io::Result<(Vec<Range>, u64)> {
        let malformed = || invalid("a pack has no valid list of ranges");
        let mut size = [0; 8];
        let end = self.length.checked_sub(size.len() as u64).ok_or_else(malformed)?;
        self.file.read_exact_at(&mut size, end)?;
        let size = u64::from_le_bytes(size);
        let begin = end.checked_sub(size).ok_or_else(malformed)?;
        let count = usize::try_from(size).map_err(|_| malformed())?;
        if !count.is_multiple_of(RANGE) || count / RANGE > MAX_RANGES {
            return Err(malformed());
        }
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, begin)?;
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let range = |bytes: &[u8]| Range {
            pack: u16::from_le_bytes([bytes[0], bytes[1]]),
            from: number(&bytes[2..10]),
            length: number(&bytes[10..]),
        };
        Ok((bytes.chunks_exact(RANGE).map(range).collect(), begin))
    }
}

/// Puts the archive together whose own pack is the last one, and writes it to `output`, no more than `limit` bytes.
///
/// # Errors
/// When the packs do not fit together, the archive is larger, or the file cannot be written.
pub fn join(packs: &[OpenedPack], limit: u64, output: &File) -> io::Result<Joined> {
    let (ranges, _) = packs.last().ok_or_else(|| invalid("there is no pack"))?.ranges()?;
    let mut output = io::BufWriter::with_capacity(CHUNK, output);
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
    for Range { pack, mut from, mut length } in ranges {
        let pack =
            packs.get(usize::from(pack)).ok_or_else(|| invalid("a range is of a pack that is not there"))?;
        let is_inside = from.checked_add(length).is_some_and(|end| end <= pack.length);
        size = size.saturating_add(length);
        if !is_inside || size > limit {
            return Err(invalid("a range is longer than what it is of"));
        }
        while length > 0 {
            let count = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            pack.file.read_exact_at(&mut buffer[..count], from)?;
            hasher.update(&buffer[..count]);
            output.write_all(&buffer[..count])?;
            (from, length) = (from + count as u64, length - count as u64);
        }
    }
    hasher.update(END);
    output.write_all(&END)?;
    output.flush()?;
    Ok(Joined { size: size + END.len() as u64, digest: Digest::from_bytes(hasher.finalize().into()) })
}

impl KnownRecords {
    /// Returns the records of an archive that was put together of these packs, so that the next archive shares them.
    ///
    /// # Errors
    /// When the packs cannot be read.
    pub fn of(packs: &[OpenedPack], archive: &File) -> io::Result<Self> {
        let (ranges, _) = packs.last().ok_or_else(|| invalid("there is no pack"))?.ranges()?;
        let mut archive = archive.try_clone()?;
        archive.rewind()?;
        let mut records = TarRecords::new(BufReader::with_capacity(CHUNK, archive));
        let (mut known, mut ranges) = (Self::default(), ranges.into_iter());
        let mut range = ranges.next();
        loop {
            let (mut hasher, mut length) = (Sha256::new(), 0_u64);
            let meta = records.next(&mut |bytes| {
                hasher.update(bytes);
                length += bytes.len() as u64;
                Ok(())
            })?;
            if meta.is_none() {
                return Ok(known);
            }
            while range.is_some_and(|range| range.length == 0) {
                range = ranges.next();
            }
            // Where a range ends within a record, somebody else's pib has other records; what follows is not shared.
            let Some(at) = range.as_mut().filter(|range| range.length >= length) else { return Ok(known) };
            known.0.insert(hasher.finalize().into(), (at.pack, at.from));
            at.from += length;
            at.length -= length;
        }
    }
}

/// A record that is being read.
#[derive(Default)]
struct Record {
    hasher: Sha256,
    length: u64,
    /// Its bytes, until they are too many and stand in the spool.
    bytes: Vec<u8>,
    is_spooled: bool,
}

struct Packer<'a> {
    spool: File,
    length: u64,
    known: &'a mut KnownRecords,
    number: u16,
    ranges: Vec<Range>,
    archive: Sha256,
    size: u64,
}

impl Packer<'_> {
    /// Takes some bytes of a record.
    fn take(&mut self, record: &mut Record, bytes: &[u8]) -> io::Result<()> {
        record.hasher.update(bytes);
        record.length += bytes.len() as u64;
        if !record.is_spooled && record.bytes.len() + bytes.len() <= IN_MEMORY {
            record.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let held = std::mem::take(&mut record.bytes);
        self.archive.update(&held);
        self.archive.update(bytes);
        record.is_spooled = true;
        self.spool.write_all(&held)?;
        self.spool.write_all(bytes)
    }

    /// Adds a whole record to the archive.
    fn add(&mut self, record: Record) -> io::Result<()> {
        let Record { hasher, length, bytes, is_spooled } = record;
        if !is_spooled {
            self.archive.update(&bytes);
        }
        self.size += length;
        let digest = hasher.finalize().into();
        let (pack, from) = match self.known.0.get(&digest) {
            Some(place) => {
                if is_spooled {
                    self.spool.seek(SeekFrom::Start(self.length))?;
                }
                *place
            }
            None => {
                self.spool.write_all(&bytes)?;
                let place = (self.number, self.length);
                self.known.0.insert(digest, place);
                self.length += length;
                place
            }
        };
        match self.ranges.last_mut() {
            Some(last) if last.pack == pack && last.from + last.length == from => last.length += length,
            _ => self.ranges.push(Range { pack, from, length }),
        }
        if self.ranges.len() > MAX_RANGES { Err(invalid("it has too many entries")) } else { Ok(()) }
    }

    fn finish(mut self, output: &File, fragile: Option<String>) -> io::Result<Packed> {
        self.archive.update(END);
        self.size += END.len() as u64;
        let list: Vec<u8> = self.ranges.iter().flat_map(|range| range.bytes()).collect();
        self.spool.rewind()?;
        let size = (list.len() as u64).to_le_bytes();
        let length = self.length + list.len() as u64 + size.len() as u64;
        let mut input = (&self.spool).take(self.length).chain(&list[..]).chain(&size[..]);
        let hashing =
            Hashing { inner: io::BufWriter::with_capacity(CHUNK, output), hasher: Sha256::new(), size: 0 };
        let mut encoder = zstd::stream::write::Encoder::new(hashing, LEVEL)?;
        io::copy(&mut input, &mut encoder)?;
        let mut hashing = encoder.finish()?;
        hashing.inner.flush()?;
        Ok(Packed {
            size: self.size,
            digest: Digest::from_bytes(self.archive.finalize().into()),
            length,
            compressed: hashing.size,
            pack: Digest::from_bytes(hashing.hasher.finalize().into()),
            fragile,
        })
    }
}

impl Range {
    fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        let numbers = self.from.to_le_bytes().into_iter().chain(self.length.to_le_bytes());
        self.pack.to_le_bytes().into_iter().chain(numbers)
    }
}

/// Finds hard links to files with capabilities.
#[derive(Default)]
struct FragileLinks {
    capable: BTreeSet<Vec<u8>>,
    found: Option<String>,
}

impl FragileLinks {
    fn note(&mut self, meta: &Meta) {
        if meta.xattrs.contains_key(CAPABILITY) {
            self.capable.insert(path_of(&meta.path).to_vec());
        }
        let target = meta.link.as_deref().filter(|_| meta.kind == EntryType::Link);
        if self.found.is_none() && target.is_some_and(|target| self.capable.contains(path_of(target))) {
            self.found = Some(format!("/{}", String::from_utf8_lossy(path_of(&meta.path))));
        }
    }
}

/// Returns a path of a tar without what may stand around it.
fn path_of(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Digests what is written.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
#[path = "packs_tests.rs"]
mod tests;
