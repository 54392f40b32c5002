//! Reads ext2, ext3 and ext4.
//!
//! Format: Linux' Documentation/filesystems/ext4. The superblock is at 1024; inodes are found by the descriptors of
//! their groups; folders are read one entry after the other, which their hash trees allow for.

use std::io::Write;

use super::error::ReadingError;
use super::ext4_attributes as attributes;
use super::ext4_inode::{Inode, InodeKind, damaged};
use super::ext4_runs::{self as runs, Run};
use super::files::{FileKind, FilesReader, Handle, Metadata};
use super::section::{Section, array_at, text_of, u16_at, u32_at};
use super::table::guid;

/// The number of the root folder.
const ROOT: u64 = 2;
/// The largest folder that is read; a million files with long names have half of that.
const MAX_FOLDER: u64 = 512 << 20;
/// The longest target of a link.
const MAX_TARGET: u64 = 4096;

/// What a reader need not know of, and what it has to know: the superblock's incompatible features.
const FILETYPE: u32 = 0x2;
const RECOVER: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const IS_64BIT: u32 = 0x80;
const MMP: u32 = 0x100;
const FLEX_BG: u32 = 0x200;
const EA_INODE: u32 = 0x400;
const CSUM_SEED: u32 = 0x2000;
const LARGEDIR: u32 = 0x4000;
const READ: u32 = FILETYPE | RECOVER | EXTENTS | IS_64BIT | MMP | FLEX_BG | EA_INODE | CSUM_SEED | LARGEDIR;

/// An ext4 that is open for reading.
#[derive(Debug)]
pub(crate) struct Ext4Reader {
    section: Section,
    block: u64,
    inodes: u64,
    inodes_per_group: u64,
    inode_size: u64,
    descriptor_size: u64,
    /// Where the descriptors of groups begin, in bytes.
    descriptors: u64,
    label: Option<String>,
    uuid: String,
    /// Its size and what is free of it, in bytes.
    size: u64,
    free: u64,
    must_recover: bool,
    /// The last inode that was read. A walk asks for each inode two or three times in a row.
    last: Option<(u64, Vec<u8>)>,
}

impl Ext4Reader {
    pub(crate) fn open(section: Section) -> Result<Self, ReadingError> {
        let superblock = section.bytes(1024, 1024)?;
        let shift = u32_at(&superblock, 24);
        let features = u32_at(&superblock, 96);
        if shift > 6 {
            return Err(damaged(format!("its blocks have 2^{} bytes", shift.saturating_add(10))));
        }
        if features & !READ != 0 {
            let feature = format!("features (incompat {:#x})", features & !READ);
            return Err(ReadingError::Unsupported { what: "the ext4 file system", feature });
        }
        let block = 1024 << shift;
        let is_64bit = features & IS_64BIT != 0;
        let wide = |low: usize, high: usize| {
            let high = if is_64bit { u64::from(u32_at(&superblock, high)) << 32 } else { 0 };
            high | u64::from(u32_at(&superblock, low))
        };
        let size = wide(4, 336).checked_mul(block).filter(|size| *size <= section.size());
        let Some(size) = size else {
            return Err(damaged("it is larger than its partition"));
        };
        // The first revision had fixed sizes.
        let is_dynamic = u32_at(&superblock, 76) > 0;
        let inode_size = if is_dynamic { u64::from(u16_at(&superblock, 88)) } else { 128 };
        let descriptor_size = if is_64bit { u64::from(u16_at(&superblock, 254)) } else { 32 };
        let inodes_per_group = u64::from(u32_at(&superblock, 40));
        if !(128..=block).contains(&inode_size)
            || !(32..=1024).contains(&descriptor_size)
            || inodes_per_group == 0
        {
            return Err(damaged("its superblock has impossible sizes"));
        }
        let label = superblock[120..136].split(|byte| *byte == 0).next().unwrap_or_default();
        let first = u64::from(u32_at(&superblock, 20));
        Ok(Self {
            block,
            inodes: u32_at(&superblock, 0).into(),
            inodes_per_group,
            inode_size,
            descriptor_size,
            descriptors: (first + 1) * block,
            label: (!label.is_empty()).then(|| text_of(label)),
            uuid: uuid(array_at(&superblock, 104)),
            size,
            free: wide(12, 344).saturating_mul(block),
            must_recover: features & RECOVER != 0,
            section,
            last: None,
        })
    }

    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Returns its size and what is free of it, in bytes.
    pub(crate) fn space(&self) -> (u64, u64) {
        (self.size, self.free)
    }

    /// Returns whether it was not unmounted: its journal may hold changes that are not read here.
    pub(crate) fn must_recover(&self) -> bool {
        self.must_recover
    }

    fn inode(&mut self, number: u64) -> Result<Inode, ReadingError> {
        if number == 0 || number > self.inodes {
            return Err(damaged(format!("an entry is of inode {number}, and there are {}", self.inodes)));
        }
        if let Some((known, bytes)) = &self.last
            && *known == number
        {
            return Inode::parse(number, bytes.clone());
        }
        let (group, index) = ((number - 1) / self.inodes_per_group, (number - 1) % self.inodes_per_group);
        let descriptor =
            self.section.bytes(self.descriptors + group * self.descriptor_size, self.descriptor_size)?;
        let high = if self.descriptor_size >= 64 { u64::from(u32_at(&descriptor, 40)) << 32 } else { 0 };
        let table = (high | u64::from(u32_at(&descriptor, 8))).checked_mul(self.block);
        let at = table.and_then(|table| table.checked_add(index * self.inode_size));
        let at = at.ok_or_else(|| damaged("a table of inodes is beyond the end"))?;
        let bytes = self.section.bytes(at, self.inode_size)?;
        self.last = Some((number, bytes.clone()));
        Inode::parse(number, bytes)
    }

    fn runs(&self, inode: &Inode) -> Result<Vec<Run>, ReadingError> {
        runs::of(&self.section, self.block, inode)
    }

    /// Passes `size` bytes of an inode's content on; what it has no blocks for is zero.
    fn content(
        &self,
        inode: &Inode,
        take: &mut dyn FnMut(&[u8]) -> Result<(), ReadingError>,
    ) -> Result<(), ReadingError> {
        const STEP: u64 = 1 << 20;
        let zeros = vec![0; 1 << 16];
        let mut done = 0;
        let skip = |from: u64, to: u64, take: &mut dyn FnMut(&[u8]) -> Result<(), ReadingError>| {
            let mut left = to - from;
            while left > 0 {
                let length = left.min(zeros.len() as u64);
                take(&zeros[..usize::try_from(length).unwrap_or(0)])?;
                left -= length;
            }
            Ok::<_, ReadingError>(())
        };
        for run in self.runs(inode)? {
            let from = (run.logical * self.block).min(inode.size);
            let to = ((run.logical + run.length) * self.block).min(inode.size);
            skip(done, from, take)?;
            match run.physical {
                None => skip(from, to, take)?,
                Some(physical) => {
                    let mut at = from;
                    while at < to {
                        let length = STEP.min(to - at);
                        take(&self.section.bytes(physical * self.block + (at - from), length)?)?;
                        at += length;
                    }
                }
            }
            done = to;
        }
        skip(done, inode.size, take)
    }

    fn whole(&self, inode: &Inode, most: u64) -> Result<Vec<u8>, ReadingError> {
        if inode.size > most {
            return Err(ReadingError::TooLarge { size: inode.size, most });
        }
        let mut bytes = Vec::new();
        self.content(inode, &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn target(&self, inode: &Inode) -> Result<String, ReadingError> {
        if let Some(target) = inode.short_target() {
            return Ok(text_of(target));
        }
        Ok(text_of(&self.whole(inode, MAX_TARGET)?))
    }
}

impl FilesReader for Ext4Reader {
    fn root(&self) -> Handle {
        Handle(ROOT)
    }

    fn ignores_case(&self) -> bool {
        false
    }

    fn children(&mut self, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError> {
        let inode = self.inode(folder.0)?;
        if inode.kind != InodeKind::Folder {
            return Err(damaged(format!("inode {} is read as a folder, and is not one", inode.number)));
        }
        let bytes = self.whole(&inode, MAX_FOLDER)?;
        let block = usize::try_from(self.block).unwrap_or(1024);
        let mut found = Vec::new();
        for block in bytes.chunks(block) {
            let mut at = 0;
            while at + 8 <= block.len() {
                let (number, length) = (u32_at(block, at), usize::from(u16_at(block, at + 4)));
                // In blocks of 64 KiB the length of the whole does not fit, and is written as 0 or 65,535.
                let length = if length == 0 || length == 0xffff { block.len() - at } else { length };
                let name = block.get(at + 8..at + 8 + usize::from(block[at + 6]));
                let (Some(name), true) = (name, length >= 8 && at + length <= block.len()) else {
                    return Err(damaged(format!("the folder of inode {} has a broken entry", inode.number)));
                };
                if number != 0 && name != b"." && name != b".." {
                    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                        return Err(damaged(format!(
                            "the folder of inode {} has an impossible name",
                            inode.number
                        )));
                    }
                    found.push((text_of(name), Handle(number.into())));
                }
                at += length;
            }
        }
        Ok(found)
    }

    fn metadata(&mut self, entry: Handle) -> Result<Metadata, ReadingError> {
        let inode = self.inode(entry.0)?;
        let kind = match inode.kind {
            InodeKind::Folder => FileKind::Folder,
            InodeKind::File => FileKind::File,
            InodeKind::Symlink => FileKind::Symlink(self.target(&inode)?),
            InodeKind::CharDevice => {
                let (major, minor) = inode.device();
                FileKind::CharDevice { major, minor }
            }
            InodeKind::BlockDevice => {
                let (major, minor) = inode.device();
                FileKind::BlockDevice { major, minor }
            }
            InodeKind::Fifo => FileKind::Fifo,
            InodeKind::Socket => FileKind::Socket,
        };
        let block = match inode.attribute_block {
            0 => None,
            number => {
                let at =
                    number.checked_mul(self.block).ok_or_else(|| damaged("attributes are beyond the end"))?;
                Some(self.section.bytes(at, self.block)?)
            }
        };
        let xattrs = attributes::of(&inode, block.as_deref())?;
        Ok(Metadata {
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            size: inode.size,
            links: inode.links,
            xattrs,
        })
    }

    fn copy_entry(&mut self, entry: Handle, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError> {
        let inode = self.inode(entry.0)?;
        if inode.kind != InodeKind::File {
            return Err(damaged(format!("inode {} is read as a file, and is not one", inode.number)));
        }
        if inode.size > most {
            return Err(ReadingError::TooLarge { size: inode.size, most });
        }
        self.content(&inode, &mut |bytes| to.write_all(bytes).map_err(ReadingError::Write))?;
        Ok(inode.size)
    }
}

/// Returns a UUID as Linux writes it: all of its fields are big-endian.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    guid(bytes)
}
