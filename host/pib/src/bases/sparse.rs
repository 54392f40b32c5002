//! Copies a tar, and writes the files in it that have holes out whole.
//!
//! GNU tar's `--sparse` leaves the holes of a file out, in four forms: an entry type of its own (the `gnu` format), and
//! three generations of records in an extended header (`--format=pax`). Not every engine reads every form, so that
//! none of them reaches one. All else is copied as it is, to the byte.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use pib_disk::pax;

/// The size of a tar's blocks.
const BLOCK: usize = 512;
/// The largest extended header that is read.
const MAX_EXTENSION: u64 = 16 << 20;
/// The largest file that is written out.
const MAX_FILE: u64 = 64 << 30;
/// The most extents that a file may have.
const MAX_EXTENTS: usize = 1 << 20;
/// The fields of a GNU header that tell of holes, and the times of access and change that stand before them.
const GNU_FIELDS: std::ops::Range<usize> = 345..BLOCK;

/// What a copied tar has.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// How many entries it has.
    pub(super) entries: u64,
    /// The names at the top, without `./` and what comes below: the first few.
    pub(super) top: Vec<String>,
}

/// Copies the tar `input` to `output`, with files that have holes written out.
///
/// # Errors
/// When the input is no tar or ends early, or cannot be read, or the output cannot be written.
pub(super) fn copy(input: &mut impl Read, output: &mut impl Write) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut pending = Pending::default();
    while let Some(header) = next(input)? {
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            output.write_all(header.as_bytes())?;
            break;
        }
        check_sum(&header)?;
        let size = pending.size.map_or_else(|| header.entry_size(), Ok)?;
        match header.entry_type() {
            EntryType::XHeader => pending.read(header, input)?,
            EntryType::GNUSparse => {
                contents.count(&header);
                std::mem::take(&mut pending).gnu(header, input, output)?;
            }
            kind if pending.is_sparse() && kind.is_file() => {
                contents.count(&header);
                std::mem::take(&mut pending).pax(header, size, input, output)?;
            }
            kind => {
                let is_extension = matches!(
                    kind,
                    EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader
                );
                if !is_extension {
                    contents.count(&header);
                    std::mem::take(&mut pending).write(output)?;
                }
                output.write_all(header.as_bytes())?;
                let stored = if has_data(kind) { size } else { header.entry_size()? };
                copy_exactly(input, output, padded(stored)?)?;
            }
        }
    }
    // What follows the end is nobody's business, but part of the file.
    io::copy(input, output)?;
    Ok(contents)
}

impl Contents {
    fn count(&mut self, header: &Header) {
        const KEPT: usize = 64;
        self.entries += 1;
        let path = header.path_bytes();
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        let Some(first) = parts.next() else { return };
        let first = String::from_utf8_lossy(first).into_owned();
        if self.top.len() < KEPT && !self.top.contains(&first) {
            self.top.push(first);
        }
    }
}

/// An extent of a file: where it begins, and how long it is.
type Extent = (u64, u64);

/// The extended header that an entry follows.
#[derive(Default)]
struct Pending {
    /// The header and its records, as they stand in the input.
    raw: Option<(Header, Vec<u8>)>,
    size: Option<u64>,
    /// The records that are about holes, without the `GNU.sparse.` before them.
    sparse: Vec<(String, String)>,
}

impl Pending {
    fn read(&mut self, header: Header, input: &mut impl Read) -> io::Result<()> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(invalid("an extended header is too large"));
        }
        let mut bytes = vec![0; usize::try_from(padded(size)?).map_err(io::Error::other)?];
        input.read_exact(&mut bytes)?;
        bytes.truncate(usize::try_from(size).map_err(io::Error::other)?);
        for (key, value) in pax::records(&bytes)? {
            let text = || String::from_utf8(value.to_vec()).map_err(|_| invalid("a record is not UTF-8"));
            if key == "size" {
                self.size = Some(number(&text()?)?);
            } else if let Some(name) = key.strip_prefix("GNU.sparse.") {
                self.sparse.push((name.to_owned(), text()?));
            }
        }
        self.raw = Some((header, bytes));
        Ok(())
    }

    fn is_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// Writes the header as it was.
    fn write(self, output: &mut impl Write) -> io::Result<()> {
        let Some((header, bytes)) = self.raw else { return Ok(()) };
        output.write_all(header.as_bytes())?;
        write_padded(output, &bytes)
    }

    /// Writes the header without the records about holes, and with the file's own name.
    fn write_plain(&self, output: &mut impl Write) -> io::Result<()> {
        let Some((header, bytes)) = &self.raw else { return Ok(()) };
        let mut plain = Vec::new();
        let name = self.get("name").map(str::as_bytes);
        let kept = pax::records(bytes)?.into_iter().filter(|(key, _)| {
            !key.starts_with("GNU.sparse.") && *key != "size" && !(name.is_some() && *key == "path")
        });
        for (key, value) in kept.chain(name.map(|name| ("path", name))) {
            record(&mut plain, key, value);
        }
        if plain.is_empty() {
            return Ok(());
        }
        let mut header = header.clone();
        header.set_size(plain.len() as u64);
        header.set_cksum();
        output.write_all(header.as_bytes())?;
        write_padded(output, &plain)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.sparse.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Writes out a file of the `gnu` format: its extents are in the header and in blocks after it.
    fn gnu(self, mut header: Header, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
        const PIECES: std::ops::Range<usize> = 386..482;
        let bytes = header.as_bytes();
        let real = octal(&bytes[483..495])?;
        let mut extents = Vec::new();
        read_extents(&bytes[PIECES], &mut extents)?;
        let mut more = bytes[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            input.read_exact(&mut block)?;
            read_extents(&block[..504], &mut extents)?;
            more = block[504] != 0;
        }
        let stored = self.size.map_or_else(|| header.entry_size(), Ok)?;
        header.as_mut_bytes()[GNU_FIELDS].fill(0);
        self.write_plain(output)?;
        write_file(header, real, &extents, stored, input, output)
    }

    /// Writes out a file of the `pax` format, of any generation.
    fn pax(
        self,
        mut header: Header,
        mut stored: u64,
        input: &mut impl Read,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let real = self.get("realsize").or_else(|| self.get("size"));
        let real = number(real.ok_or_else(|| invalid("a sparse file does not tell its size"))?)?;
        let extents = match (self.get("major"), self.get("map")) {
            (Some("1"), _) => read_map(input, &mut stored)?,
            (None | Some("0"), Some(map)) => pairs(map.split(',').map(number))?,
            (None | Some("0"), None) => {
                let fields = self.sparse.iter().filter(|(key, _)| key == "offset" || key == "numbytes");
                pairs(fields.map(|(_, value)| number(value)))?
            }
            (Some(other), _) => {
                return Err(invalid(&format!("sparse files of version {other} are not supported")));
            }
        };
        if let Some(name) = self.get("name") {
            rename(&mut header, name);
        }
        self.write_plain(output)?;
        write_file(header, real, &extents, stored, input, output)
    }
}

/// Gives an entry its file's name in the place of `GNUSparseFile.PID/NAME`, as far as there is room: a record before the
/// entry has all of it.
fn rename(header: &mut Header, name: &str) {
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.prefix.fill(0);
    }
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field.fill(0);
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
}

/// Reads extents of 24 bytes each: where, and how long. One that is empty ends them.
fn read_extents(bytes: &[u8], extents: &mut Vec<Extent>) -> io::Result<()> {
    for extent in bytes.chunks_exact(24).take_while(|extent| extent[0] != 0) {
        push(extents, (octal(&extent[..12])?, octal(&extent[12..])?))?;
    }
    Ok(())
}

/// Reads the extents that stand before the data, a number on each line, filled up to whole blocks.
fn read_map(input: &mut impl Read, stored: &mut u64) -> io::Result<Vec<Extent>> {
    let (mut line, mut numbers, mut wanted) = (String::new(), Vec::new(), None);
    loop {
        let mut block = [0; BLOCK];
        *stored =
            stored.checked_sub(BLOCK as u64).ok_or_else(|| invalid("a sparse file's map is cut off"))?;
        input.read_exact(&mut block)?;
        for byte in block {
            if byte != b'\n' {
                line.push(char::from(byte));
                if line.len() > 20 {
                    return Err(invalid("a sparse file's map is malformed"));
                }
                continue;
            }
            let value = number(&std::mem::take(&mut line))?;
            match wanted {
                None => {
                    let count = usize::try_from(value).ok().filter(|count| *count <= MAX_EXTENTS);
                    wanted = Some(count.ok_or_else(|| invalid("a sparse file has too many pieces"))? * 2);
                }
                Some(_) => numbers.push(value),
            }
            if wanted == Some(numbers.len()) {
                return pairs(numbers.into_iter().map(Ok));
            }
        }
    }
}

fn pairs(numbers: impl Iterator<Item = io::Result<u64>>) -> io::Result<Vec<Extent>> {
    let numbers = numbers.collect::<io::Result<Vec<_>>>()?;
    if numbers.len() % 2 == 1 {
        return Err(invalid("a sparse file's map is malformed"));
    }
    let mut extents = Vec::new();
    numbers.chunks_exact(2).try_for_each(|pair| push(&mut extents, (pair[0], pair[1])))?;
    Ok(extents)
}

fn push(extents: &mut Vec<Extent>, extent: Extent) -> io::Result<()> {
    if extents.len() >= MAX_EXTENTS {
        return Err(invalid("a sparse file has too many pieces"));
    }
    extents.push(extent);
    Ok(())
}

/// Writes a plain file: its extents, and zeros between them.
fn write_file(
    mut header: Header,
    real: u64,
    extents: &[Extent],
    stored: u64,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    if real > MAX_FILE {
        return Err(invalid("a sparse file is larger than 64 GiB"));
    }
    header.set_entry_type(EntryType::Regular);
    header.set_size(real);
    header.set_cksum();
    output.write_all(header.as_bytes())?;
    let (mut at, mut left) = (0, stored);
    for (start, length) in extents {
        let gap = start.checked_sub(at);
        let end = start.checked_add(*length).filter(|end| *end <= real);
        let (Some(gap), Some(end), Some(rest)) = (gap, end, left.checked_sub(*length)) else {
            return Err(invalid("the pieces of a sparse file do not fit"));
        };
        io::copy(&mut io::repeat(0).take(gap), output)?;
        copy_exactly(input, output, *length)?;
        (at, left) = (end, rest);
    }
    io::copy(&mut io::repeat(0).take(padded(real)? - at), output)?;
    // Between the last extent and the next header there is nothing but what fills the block.
    copy_exactly(input, &mut io::sink(), left + padded(stored)? - stored)
}

/// Returns the next block; nothing at the end of the input.
fn next(input: &mut impl Read) -> io::Result<Option<Header>> {
    let mut header = Header::new_old();
    let mut filled = 0;
    while filled < BLOCK {
        match input.read(&mut header.as_mut_bytes()[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it ends in the middle of an entry",
                ));
            }
            count => filled += count,
        }
    }
    Ok(Some(header))
}

fn check_sum(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum = bytes.iter().enumerate().map(|(at, byte)| {
        // The field itself counts as spaces.
        if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) }
    });
    match header.cksum() {
        Ok(expected) if expected == sum.sum::<u32>() => Ok(()),
        _ => Err(invalid("it is not a tar, or is damaged: the checksum of a header is wrong")),
    }
}

fn has_data(kind: EntryType) -> bool {
    !(kind.is_hard_link()
        || kind.is_symlink()
        || kind.is_dir()
        || kind.is_character_special()
        || kind.is_block_special()
        || kind.is_fifo())
}

/// Reads a number as tars have it: octal digits, or binary with the highest bit set.
fn octal(field: &[u8]) -> io::Result<u64> {
    let wrong = || invalid("a sparse file's map is malformed");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let low = low.try_into().map_err(|_| wrong())?;
        let is_small = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return if is_small { Ok(u64::from_be_bytes(low)) } else { Err(wrong()) };
    }
    let text = std::str::from_utf8(field).map_err(|_| wrong())?;
    let text = text.trim_matches(|c: char| c == '\0' || c == ' ');
    u64::from_str_radix(text, 8).map_err(|_| wrong())
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| invalid("a number in an extended header is malformed"))
}

/// Appends a record: its own length, a space, key and value, a line break.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").as_bytes());
    records.extend(value);
    records.push(b'\n');
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| invalid("an entry is too large"))
}

fn write_padded(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])
}

fn copy_exactly(input: &mut impl Read, output: &mut impl Write, count: u64) -> io::Result<()> {
    match io::copy(&mut input.take(count), output)? == count {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of an entry")),
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
#[path = "sparse_tests.rs"]
mod tests;
