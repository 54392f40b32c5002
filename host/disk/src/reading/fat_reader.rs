//! Reads FAT12, FAT16 and FAT32 with long names.
//!
//! Format: Microsoft's "FAT: General Overview of On-Disk Format", 1.03, of 2000. The number of clusters alone decides
//! which of the three it is.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use super::error::ReadingError;
use super::files::{FileKind, FilesReader, Handle, Metadata};
use super::section::{Section, u16_at, u32_at};

/// The size of a folder's entry in bytes.
const ENTRY: usize = 32;
/// A folder has at most 65,536 entries.
const MAX_FOLDER: u64 = 65_536 * ENTRY as u64;
/// The most entries that are remembered.
const MAX_KNOWN: usize = 5_000_000;
/// How much of the table is kept in memory.
const WINDOW: u64 = 64 << 10;

/// The attributes of an entry.
const READ_ONLY: u8 = 0x01;
const VOLUME: u8 = 0x08;
const FOLDER: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// A FAT file system that is open for reading.
#[derive(Debug)]
pub(crate) struct FatReader {
    section: Section,
    width: Width,
    /// In bytes.
    cluster: u64,
    /// Where the first table begins, and where the first cluster, in bytes.
    table: u64,
    data: u64,
    /// How many clusters there are; they count from 2.
    clusters: u64,
    label: Option<String>,
    volume_id: u32,
    known: Vec<Known>,
    /// The entries of the folders that were read: each is read once.
    listed: HashMap<Handle, Vec<(String, Handle)>>,
    window: Option<(u64, Vec<u8>)>,
}

/// What a folder says of an entry.
#[derive(Debug, Clone)]
struct Known {
    is_folder: bool,
    is_read_only: bool,
    /// The first cluster; 0 for none.
    first: u64,
    /// For the root folder of FAT12 and FAT16: where it is, and its size.
    fixed: Option<(u64, u64)>,
    size: u64,
    mtime: i64,
}

fn damaged(found: impl Into<String>) -> ReadingError {
    ReadingError::Damaged { what: "the FAT file system", found: found.into() }
}

impl FatReader {
    pub(crate) fn open(section: Section) -> Result<Self, ReadingError> {
        let boot = section.bytes(0, 512)?;
        let bytes = u64::from(u16_at(&boot, 11));
        let cluster = bytes * u64::from(boot[13]);
        let reserved = u64::from(u16_at(&boot, 14)) * bytes;
        let tables = u64::from(boot[16]);
        let either = |short: u16, long: u32| if short == 0 { u64::from(long) } else { u64::from(short) };
        let table_sectors = either(u16_at(&boot, 22), u32_at(&boot, 36));
        let total = either(u16_at(&boot, 19), u32_at(&boot, 32)) * bytes;
        let root_size = u64::from(u16_at(&boot, 17)) * ENTRY as u64;
        let root_at = reserved + tables * table_sectors * bytes;
        let data = root_at + root_size.next_multiple_of(bytes.max(1));
        if cluster == 0 || total > section.size() || data > total {
            return Err(damaged(format!(
                "it is to have {total} bytes, and the partition has {}",
                section.size()
            )));
        }
        let clusters = (total - data) / cluster;
        let width = match clusters {
            ..4085 => Width::Fat12,
            4085..65_525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let is_wide = width == Width::Fat32;
        let root = Known {
            is_folder: true,
            is_read_only: false,
            first: if is_wide { u32_at(&boot, 44).into() } else { 0 },
            fixed: (!is_wide).then_some((root_at, root_size)),
            size: 0,
            mtime: 0,
        };
        let volume_id = u32_at(&boot, if is_wide { 67 } else { 39 });
        let mut reader = Self {
            section,
            width,
            cluster,
            table: reserved,
            data,
            clusters,
            label: None,
            volume_id,
            known: vec![root],
            listed: HashMap::new(),
            window: None,
        };
        reader.label = reader.volume_label()?;
        Ok(reader)
    }

    /// Returns the volume's label, which stands in the root folder.
    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Returns the volume's number as Linux writes it, e.g. `1A2B-3C4D`.
    pub(crate) fn uuid(&self) -> String {
        format!("{:04X}-{:04X}", self.volume_id >> 16, self.volume_id & 0xffff)
    }

    fn volume_label(&mut self) -> Result<Option<String>, ReadingError> {
        let root = self.known[0].clone();
        let bytes = self.folder_bytes(&root)?;
        let mut entries = bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0);
        let found = entries
            .find(|entry| entry[0] != 0xe5 && entry[11] & LONG_NAME != LONG_NAME && entry[11] & VOLUME != 0);
        Ok(found.map(|entry| oem(&entry[..11]).trim_end().to_owned()).filter(|label| !label.is_empty()))
    }

    fn known(&self, entry: Handle) -> Result<Known, ReadingError> {
        let index = usize::try_from(entry.0).unwrap_or(usize::MAX);
        self.known.get(index).cloned().ok_or_else(|| damaged("an entry is not known"))
    }

    /// Returns the cluster after one, or none at the chain's end.
    fn next(&mut self, cluster: u64) -> Result<Option<u64>, ReadingError> {
        let value = match self.width {
            Width::Fat32 => u64::from(u32_at(&self.table_bytes(cluster * 4)?, 0) & 0x0fff_ffff),
            Width::Fat16 => u64::from(u16_at(&self.table_bytes(cluster * 2)?, 0)),
            Width::Fat12 => {
                let pair = u64::from(u16_at(&self.table_bytes(cluster + cluster / 2)?, 0));
                if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }
            }
        };
        let end = match self.width {
            Width::Fat12 => 0xff8,
            Width::Fat16 => 0xfff8,
            Width::Fat32 => 0x0fff_fff8,
        };
        if value >= end {
            return Ok(None);
        }
        self.check(value)?;
        Ok(Some(value))
    }

    fn check(&self, cluster: u64) -> Result<(), ReadingError> {
        if (2..self.clusters + 2).contains(&cluster) {
            return Ok(());
        }
        Err(damaged(format!("a chain leads to cluster {cluster}, and there are {}", self.clusters)))
    }

    /// Returns four bytes of the table; fewer at the end of the file system.
    fn table_bytes(&mut self, at: u64) -> Result<Vec<u8>, ReadingError> {
        let start = at - at % WINDOW;
        if self.window.as_ref().is_none_or(|(known, _)| *known != start) {
            let from = self.table + start;
            let length = (WINDOW + 4).min(self.section.size().saturating_sub(from));
            self.window = Some((start, self.section.bytes(from, length)?));
        }
        let offset = usize::try_from(at - start).unwrap_or(0);
        let bytes = self.window.as_ref().map(|(_, bytes)| &bytes[..]).unwrap_or_default();
        let end = bytes.len().min(offset + 4);
        Ok(bytes.get(offset..end).map(<[u8]>::to_vec).unwrap_or_default())
    }

    /// Passes the content of a chain on, at most `size` bytes.
    fn each_cluster(
        &mut self,
        first: u64,
        size: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), ReadingError>,
    ) -> Result<u64, ReadingError> {
        let mut done = 0;
        let mut next = (first != 0).then_some(first);
        let mut passed = 0;
        while let Some(cluster) = next
            && done < size
        {
            self.check(cluster)?;
            passed += 1;
            if passed > self.clusters {
                return Err(damaged("a chain of clusters leads around"));
            }
            let length = self.cluster.min(size - done);
            let bytes = self.section.bytes(self.data + (cluster - 2) * self.cluster, length)?;
            take(&bytes)?;
            done += length;
            next = self.next(cluster)?;
        }
        Ok(done)
    }

    /// Returns where a file's content lies, in bytes of the section: runs of clusters that follow each other are one range.
    ///
    /// # Errors
    /// When it is a folder, has more than `most` bytes, or its clusters lead around or end before it does.
    pub(crate) fn ranges(&mut self, file: Handle, most: u64) -> Result<Vec<(u64, u64)>, ReadingError> {
        let Known { is_folder, first, size, .. } = self.known(file)?;
        if is_folder {
            return Err(damaged("a folder is read as a file"));
        }
        if size > most {
            return Err(ReadingError::TooLarge { size, most });
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let (mut next, mut done) = ((first != 0).then_some(first), 0);
        while done < size {
            let cluster = next.ok_or_else(|| damaged(format!("a file of {size} bytes ends after {done}")))?;
            self.check(cluster)?;
            let start = self.data + (cluster - 2) * self.cluster;
            let end = start + self.cluster.min(size - done);
            match ranges.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => ranges.push((start, end)),
            }
            done += end - start;
            next = self.next(cluster)?;
        }
        Ok(ranges)
    }

    fn folder_bytes(&mut self, folder: &Known) -> Result<Vec<u8>, ReadingError> {
        if let Some((at, size)) = folder.fixed {
            return self.section.bytes(at, size.min(MAX_FOLDER));
        }
        let mut bytes = Vec::new();
        self.each_cluster(folder.first, MAX_FOLDER + 1, &mut |cluster| {
            bytes.extend_from_slice(cluster);
            Ok(())
        })?;
        if bytes.len() as u64 > MAX_FOLDER {
            return Err(damaged("a folder leads around, or has more entries than a folder can have"));
        }
        Ok(bytes)
    }
}

impl FilesReader for FatReader {
    fn root(&self) -> Handle {
        Handle(0)
    }

    fn ignores_case(&self) -> bool {
        true
    }

    fn children(&mut self, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError> {
        if let Some(listed) = self.listed.get(&folder) {
            return Ok(listed.clone());
        }
        let handle = folder;
        let folder = self.known(folder)?;
        if !folder.is_folder {
            return Err(damaged("what is no folder is read as one"));
        }
        let bytes = self.folder_bytes(&folder)?;
        let mut found = Vec::new();
        let mut long = LongName::default();
        for entry in bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
            if entry[0] == 0xe5 {
                long = LongName::default();
            } else if entry[11] & 0x3f == LONG_NAME {
                long.add(entry);
            } else {
                let name = std::mem::take(&mut long).for_short(&entry[..11]);
                let name = name.unwrap_or_else(|| short_name(entry));
                if entry[11] & VOLUME != 0 || name == "." || name == ".." {
                    continue;
                }
                if self.known.len() >= MAX_KNOWN {
                    return Err(damaged("it has more files than a system"));
                }
                found.push((name, Handle(self.known.len() as u64)));
                self.known.push(Known::of(entry));
            }
        }
        self.listed.insert(handle, found.clone());
        Ok(found)
    }

    fn metadata(&mut self, entry: Handle) -> Result<Metadata, ReadingError> {
        let Known { is_folder, is_read_only, size, mtime, .. } = self.known(entry)?;
        let mode = if is_folder || !is_read_only { 0o755 } else { 0o555 };
        let kind = if is_folder { FileKind::Folder } else { FileKind::File };
        Ok(Metadata { kind, mode, uid: 0, gid: 0, mtime, size, links: 1, xattrs: BTreeMap::new() })
    }

    fn copy_entry(&mut self, entry: Handle, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError> {
        let Known { is_folder, first, size, .. } = self.known(entry)?;
        if is_folder {
            return Err(damaged("a folder is read as a file"));
        }
        if size > self.clusters * self.cluster {
            return Err(damaged(format!("a file of {size} bytes is larger than the file system")));
        }
        if size > most {
            return Err(ReadingError::TooLarge { size, most });
        }
        let done =
            self.each_cluster(first, size, &mut |bytes| to.write_all(bytes).map_err(ReadingError::Write))?;
        if done < size {
            return Err(damaged(format!("a file of {size} bytes ends after {done}")));
        }
        Ok(done)
    }
}

impl Known {
    fn of(entry: &[u8]) -> Self {
        let first = u64::from(u16_at(entry, 20)) << 16 | u64::from(u16_at(entry, 26));
        Self {
            is_folder: entry[11] & FOLDER != 0,
            is_read_only: entry[11] & READ_ONLY != 0,
            first,
            fixed: None,
            size: u32_at(entry, 28).into(),
            mtime: seconds(u16_at(entry, 24), u16_at(entry, 22)),
        }
    }
}

/// A long name as it comes together, its end first.
#[derive(Debug, Default)]
struct LongName {
    units: Vec<u16>,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        if entry[0] & 0x40 != 0 {
            self.units.clear();
        }
        self.checksum = entry[13];
        let at = (0..5).map(|unit| 1 + 2 * unit).chain((0..6).map(|unit| 14 + 2 * unit)).chain([28, 30]);
        let mut units: Vec<u16> = at.map(|at| u16_at(entry, at)).collect();
        if let Some(end) = units.iter().position(|unit| *unit == 0) {
            units.truncate(end);
        }
        units.append(&mut self.units);
        self.units = units;
    }

    /// Returns the name, if it was written for this short one and not left over from another.
    fn for_short(self, short: &[u8]) -> Option<String> {
        let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let fits = !self.units.is_empty() && self.units.len() <= 255 && checksum == self.checksum;
        fits.then(|| String::from_utf16_lossy(&self.units).replace('/', "\u{fffd}"))
    }
}

/// Returns a short name; Windows notes in a reserved byte which halves of it are in small letters.
fn short_name(entry: &[u8]) -> String {
    let half = |bytes: &[u8], is_small: bool| {
        let text = oem(bytes).trim_end().to_owned();
        if is_small { text.to_lowercase() } else { text }
    };
    let base = half(&entry[..8], entry[12] & 0x08 != 0);
    let extension = half(&entry[8..11], entry[12] & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// Returns text of a code page that nobody knows: only its ASCII is the same in all of them.
fn oem(bytes: &[u8]) -> String {
    let known =
        |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '\u{fffd}' };
    bytes.iter().map(known).map(|c| if c == '/' { '\u{fffd}' } else { c }).collect()
}

/// Returns a date and a time of FAT's in seconds since 1970, as if it were UTC.
fn seconds(date: u16, time: u16) -> i64 {
    let (year, month, day) = (1980 + i64::from(date >> 9), i64::from(date >> 5 & 15), i64::from(date & 31));
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let shifted = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (year, month) = shifted;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let (hour, minute, second) = (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    days * 86_400 + hour * 3600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        // 2026-11-28 12:34:56
        let date = (2026 - 1980) << 9 | 11 << 5 | 28;
        let time = 12 << 11 | 34 << 5 | 28;
        assert_eq!(seconds(date, time), 1_795_869_296);
        assert_eq!(seconds(1 << 5 | 1, 0), 315_532_800);
    }
}
