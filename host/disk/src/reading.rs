//! Reads images, also those that pib did not make: partition tables, FAT, ext4, squashfs and EROFS, without mounting.
//!
//! Nothing that an image says is believed: whatever it holds, reading ends, within bounds of memory, with what was
//! asked for or with an error.

mod erofs_extents;
mod erofs_inode;
mod erofs_reader;
mod error;
mod ext4_attributes;
mod ext4_inode;
mod ext4_reader;
mod ext4_runs;
mod fat_reader;
mod files;
mod section;
mod signature;
mod squashfs_blocks;
mod squashfs_inode;
mod squashfs_reader;
mod table;

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use pib_plan::layout::Region;

use erofs_reader::ErofsReader;
pub use error::ReadingError;
use ext4_reader::Ext4Reader;
use fat_reader::FatReader;
pub use files::{FileKind, FilesReader, Handle, Metadata, Visit, walk};
use section::Section;
pub use signature::FoundFilesystem;
use squashfs_reader::SquashfsReader;
pub use table::TableKind;
pub(crate) use table::{crc32, guid};

/// An image that is open for reading.
#[derive(Debug)]
pub struct DiskImage {
    section: Section,
    table: TableKind,
    partitions: Vec<FoundPartition>,
}

/// A partition of an image, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundPartition {
    /// The number by which Linux calls it, from 1; 0 where the image has no table and is one file system.
    pub number: u32,
    /// Where it is.
    pub region: Region,
    /// Its type in the table: two hex digits or a GUID; empty where there is no table.
    pub kind: String,
    /// Its PARTUUID as Linux writes it; empty where there is no table.
    pub partuuid: String,
    /// Its name in a GPT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it holds.
    pub filesystem: FoundFilesystem,
    /// The file system's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The file system's UUID as Linux writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The file system's own size and what is free of it, in bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<(u64, u64)>,
    /// Why the file system cannot be read, or what of it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl DiskImage {
    /// Opens an image: reads its partition table and what each partition begins with.
    ///
    /// A file system that cannot be read is noted with its partition.
    ///
    /// # Errors
    /// When the file cannot be read, or its partition table is damaged.
    pub fn open(mut file: File) -> Result<Self, ReadingError> {
        let size =
            file.seek(SeekFrom::End(0)).map_err(|source| ReadingError::Io { at: 0, length: 0, source })?;
        let section = Section::new(Arc::new(file), Region { offset: 0, size });
        let (table, entries) = table::read(&section)?;
        let whole = Region { offset: 0, size };
        let partitions = match table {
            TableKind::None => vec![found(&section, 0, whole)?],
            _ => entries
                .into_iter()
                .map(|entry| {
                    let partition = found(&section, entry.number, entry.region)?;
                    Ok(FoundPartition {
                        kind: entry.kind,
                        partuuid: entry.partuuid,
                        name: entry.name,
                        ..partition
                    })
                })
                .collect::<Result<_, ReadingError>>()?,
        };
        let mut partitions: Vec<FoundPartition> = partitions;
        note_overlaps(&mut partitions);
        Ok(Self { section, table, partitions })
    }

    /// Returns the kind of the partition table.
    pub fn table(&self) -> TableKind {
        self.table
    }

    /// Returns the image's size in bytes.
    pub fn size(&self) -> u64 {
        self.section.size()
    }

    /// Returns the partitions, in the order of the table.
    pub fn partitions(&self) -> &[FoundPartition] {
        &self.partitions
    }

    /// Returns a file of a partition's FAT file system, with where it lies; none where there is no such file.
    ///
    /// # Errors
    /// When the file system is not FAT or damaged, or the file has more than `most` bytes.
    pub fn placed_file(
        &self,
        partition: &FoundPartition,
        path: &str,
        most: u64,
    ) -> Result<Option<PlacedFile>, ReadingError> {
        let mut reader = FatReader::open(self.section.part(partition.region))?;
        let Some(file) = reader.find(path)? else { return Ok(None) };
        let ranges = reader.ranges(file, most)?;
        let mut content = Vec::new();
        reader.copy_entry(file, &mut content, most)?;
        let offset = partition.region.offset;
        let ranges = ranges.into_iter().map(|(start, end)| (offset + start, offset + end)).collect();
        Ok(Some(PlacedFile { content, ranges }))
    }

    /// Opens the file system of a partition.
    ///
    /// # Errors
    /// When there is no such partition, or its file system is damaged or not one that is read here.
    pub fn files(&self, number: u32) -> Result<Box<dyn FilesReader>, ReadingError> {
        let partition = self.partitions.iter().find(|partition| partition.number == number);
        let partition =
            partition.ok_or_else(|| ReadingError::NotFound { path: format!("partition {number}") })?;
        let section = self.section.part(partition.region);
        match partition.filesystem {
            FoundFilesystem::Vfat => Ok(Box::new(FatReader::open(section)?)),
            FoundFilesystem::Ext4 => Ok(Box::new(Ext4Reader::open(section)?)),
            FoundFilesystem::Squashfs => Ok(Box::new(SquashfsReader::open(section)?)),
            FoundFilesystem::Erofs => Ok(Box::new(ErofsReader::open(section)?)),
            other => Err(ReadingError::Unsupported {
                what: "the partition",
                feature: format!("the file system `{}`", other.text()),
            }),
        }
    }
}

/// Notes of each partition which others have some of its bytes.
fn note_overlaps(partitions: &mut [FoundPartition]) {
    let regions: Vec<(u32, Region)> = partitions.iter().map(|found| (found.number, found.region)).collect();
    let end = |region: &Region| region.offset.saturating_add(region.size);
    for partition in partitions {
        let own = partition.region;
        let others = regions.iter().filter(|(number, other)| {
            *number != partition.number && own.offset < end(other) && other.offset < end(&own)
        });
        let numbers: Vec<String> = others.map(|(number, _)| number.to_string()).collect();
        if numbers.is_empty() {
            continue;
        }
        let overlap = format!("it overlaps partition {}", numbers.join(", "));
        partition.fault = Some(match partition.fault.take() {
            Some(fault) => format!("{overlap}; {fault}"),
            None => overlap,
        });
    }
}

/// A file of a FAT file system, with where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its content.
    pub content: Vec<u8>,
    /// Where the content lies, in bytes from the start of the image.
    pub ranges: Vec<(u64, u64)>,
}

/// Returns what a region holds.
fn found(image: &Section, number: u32, region: Region) -> Result<FoundPartition, ReadingError> {
    let section = image.part(region);
    let filesystem = signature::probe(&section)?;
    let mut partition = FoundPartition {
        number,
        region,
        kind: String::new(),
        partuuid: String::new(),
        name: None,
        filesystem,
        label: None,
        uuid: None,
        space: None,
        fault: None,
    };
    match filesystem {
        FoundFilesystem::Vfat => match FatReader::open(section) {
            Ok(reader) => {
                partition.label = reader.label().map(str::to_owned);
                partition.uuid = Some(reader.uuid());
            }
            Err(error) => partition.fault = Some(error.to_string()),
        },
        FoundFilesystem::Ext4 => match Ext4Reader::open(section) {
            Ok(reader) => {
                partition.label = reader.label().map(str::to_owned);
                partition.uuid = Some(reader.uuid().to_owned());
                partition.space = Some(reader.space());
                partition.fault = reader.must_recover().then(|| {
                    "it was not unmounted; its journal may hold changes that are not shown here".to_owned()
                });
            }
            Err(error) => partition.fault = Some(error.to_string()),
        },
        FoundFilesystem::Erofs => match ErofsReader::open(section) {
            Ok(reader) => {
                partition.label = reader.label().map(str::to_owned);
                partition.uuid = Some(reader.uuid().to_owned());
                partition.space = Some((reader.size(), 0));
            }
            Err(error) => partition.fault = Some(error.to_string()),
        },
        FoundFilesystem::Squashfs => match SquashfsReader::open(section) {
            Ok(reader) => partition.space = Some((reader.size(), 0)),
            Err(error) => partition.fault = Some(error.to_string()),
        },
        _ => {}
    }
    Ok(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_overlap_name_each_other() {
        let mut image = tempfile::tempfile().unwrap();
        let mut sector = [0; 512];
        for (number, first, count) in [(0_usize, 8_u32, 8_u32), (1, 15, 8), (2, 32, 8)] {
            let at = 446 + 16 * number;
            sector[at + 4] = 0x83;
            sector[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        std::io::Write::write_all(&mut image, &sector).unwrap();
        image.set_len(64 << 10).unwrap();
        let found = DiskImage::open(image).unwrap();
        let faults: Vec<Option<&str>> =
            found.partitions().iter().map(|found| found.fault.as_deref()).collect();
        assert_eq!(faults, [Some("it overlaps partition 2"), Some("it overlaps partition 1"), None]);
    }
}
