//! Reads squashfs 4.0; see [`format`](crate::squashfs::format).

use std::collections::BTreeMap;
use std::io::Write;

use super::error::ReadingError;
use super::files::{FileKind, FilesReader, Handle, Metadata};
use super::section::{Section, text_of, u16_at, u32_at, u64_at};
use super::squashfs_blocks::{Blocks, Cursor, damaged};
use super::squashfs_inode::{Inode, InodeContent, device};
use crate::squashfs::format::{
    ATTRIBUTE_ENTRY, FRAGMENT_ENTRY, MAGIC, METADATA, MOST_ENTRIES, NONE, NOWHERE, PREFIXES, SUPERBLOCK,
};

/// The largest folder that is read; a million files with long names have half of that.
const MAX_FOLDER: u32 = 128 << 20;
/// The most that the attributes of a file have together, as in Linux, and a value of them.
const MAX_ATTRIBUTES: u32 = 1 << 16;
/// The bit of an attribute's type by which its value is elsewhere.
const ELSEWHERE: u16 = 0x100;

/// A squashfs that is open for reading.
#[derive(Debug)]
pub(crate) struct SquashfsReader {
    blocks: Blocks,
    block: u64,
    size: u64,
    root: u64,
    owners: Vec<u32>,
    inodes_at: u64,
    folders_at: u64,
    fragments: u32,
    fragments_at: u64,
    /// The table of attributes; none where there are none.
    attributes: Option<Attributes>,
}

#[derive(Debug)]
struct Attributes {
    values_at: u64,
    count: u32,
    /// Where the list of the table's blocks is.
    list_at: u64,
}

impl SquashfsReader {
    pub(crate) fn open(section: Section) -> Result<Self, ReadingError> {
        let superblock = section.bytes(0, SUPERBLOCK)?;
        let word = |at: usize| u32_at(&superblock, at);
        let (block, log) = (word(12), u32::from(u16_at(&superblock, 22)));
        if superblock[..4] != *MAGIC || u16_at(&superblock, 28) != 4 {
            return Err(damaged("its superblock is not one of version 4"));
        }
        if !block.is_power_of_two() || !(12..=20).contains(&log) || block != 1 << log {
            return Err(damaged(format!("its blocks have {block} bytes")));
        }
        let place = |number: usize| u64_at(&superblock, 32 + 8 * number);
        let size = place(1);
        if size < SUPERBLOCK || size > section.size() {
            return Err(damaged("it is larger than its partition"));
        }
        let blocks = Blocks::new(section, u16_at(&superblock, 20), block as usize)?;
        let mut reader = Self {
            blocks,
            block: block.into(),
            size,
            root: place(0),
            owners: Vec::new(),
            inodes_at: place(4),
            folders_at: place(5),
            fragments: word(16),
            fragments_at: place(6),
            attributes: None,
        };
        reader.owners = reader.read_owners(place(2), u16_at(&superblock, 26))?;
        if place(3) != NOWHERE {
            let header_at = place(3);
            let list_at =
                header_at.checked_add(16).ok_or_else(|| damaged("its attributes are beyond the end"))?;
            let values_at = reader.blocks.number(header_at)?;
            let count = reader.blocks.number(header_at + 8)? as u32;
            reader.attributes = Some(Attributes { values_at, count, list_at });
        }
        Ok(reader)
    }

    /// Returns its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn read_owners(&mut self, list_at: u64, count: u16) -> Result<Vec<u32>, ReadingError> {
        let mut owners = Vec::new();
        for number in 0..u64::from(count) {
            // One entry after the other; their blocks are kept.
            let entry = self.entry(list_at, number, 4)?;
            owners.push(u32_at(&entry, 0));
        }
        Ok(owners)
    }

    /// Returns an entry of `size` bytes of a table whose blocks are in a list.
    fn entry(&mut self, list_at: u64, number: u64, size: u64) -> Result<Vec<u8>, ReadingError> {
        let per_block = METADATA as u64 / size;
        let at = list_at.checked_add(number / per_block * 8);
        let block = self.blocks.number(at.ok_or_else(|| damaged("a table is beyond the end"))?)?;
        let offset = usize::try_from(number % per_block * size).unwrap_or(0);
        self.blocks.read(&mut Cursor::new(block, offset), usize::try_from(size).unwrap_or(0))
    }

    fn inode(&mut self, reference: u64) -> Result<Inode, ReadingError> {
        Inode::read(&mut self.blocks, Cursor::of(self.inodes_at, reference)?)
    }

    fn owner(&self, number: u16) -> Result<u32, ReadingError> {
        let missing =
            || damaged(format!("an inode has the owner {number}, and there are {}", self.owners.len()));
        self.owners.get(usize::from(number)).copied().ok_or_else(missing)
    }

    /// Returns a set of attributes.
    fn attributes(&mut self, number: u32) -> Result<BTreeMap<String, Vec<u8>>, ReadingError> {
        let mut found = BTreeMap::new();
        if number == NONE {
            return Ok(found);
        }
        let known = self.attributes.as_ref().filter(|attributes| number < attributes.count);
        let Some(Attributes { values_at, list_at, .. }) = known else {
            return Err(damaged(format!("an inode has the attributes {number}, which are not there")));
        };
        let (values_at, list_at) = (*values_at, *list_at);
        let entry = self.entry(list_at, number.into(), ATTRIBUTE_ENTRY)?;
        let mut cursor = Cursor::of(values_at, u64_at(&entry, 0))?;
        let mut left = MAX_ATTRIBUTES;
        for _ in 0..u32_at(&entry, 8) {
            let header = self.blocks.read(&mut cursor, 4)?;
            let (kind, length) = (u16_at(&header, 0), u16_at(&header, 2));
            let name = self.blocks.read(&mut cursor, length.into())?;
            let value = self.value(&mut cursor)?;
            let value = if kind & ELSEWHERE == 0 {
                value
            } else {
                self.value(&mut Cursor::of(values_at, u64_at(&value, 0))?)?
            };
            let taken = u32::from(length) + u32::try_from(value.len()).unwrap_or(u32::MAX) + 8;
            left =
                left.checked_sub(taken).ok_or_else(|| damaged("the attributes of an inode are too large"))?;
            let prefix = PREFIXES.iter().find(|(known, _)| *known == kind & !ELSEWHERE);
            found.insert(format!("{}{}", prefix.map_or("", |(_, prefix)| prefix), text_of(&name)), value);
        }
        Ok(found)
    }

    fn value(&mut self, cursor: &mut Cursor) -> Result<Vec<u8>, ReadingError> {
        let size = u32_at(&self.blocks.read(cursor, 4)?, 0);
        if size > MAX_ATTRIBUTES {
            return Err(damaged(format!("an attribute has {size} bytes")));
        }
        self.blocks.read(cursor, size as usize)
    }

    /// Writes the content of a file.
    fn content(&mut self, content: &InodeContent, to: &mut dyn Write) -> Result<(), ReadingError> {
        let InodeContent::File { start, size, fragment, offset, blocks } = content else { return Ok(()) };
        let (mut at, mut left, mut cursor) = (*start, *size, *blocks);
        let zeros = vec![0; usize::try_from(self.block).unwrap_or(0)];
        let short = || damaged("a block of a file ends early");
        while left > 0 {
            let length = usize::try_from(left.min(self.block)).unwrap_or(0);
            if left < self.block && *fragment != NONE {
                if *fragment >= self.fragments {
                    return Err(damaged(format!("a file is in the fragment {fragment}, which is not there")));
                }
                let entry = self.entry(self.fragments_at, (*fragment).into(), FRAGMENT_ENTRY)?;
                let block = self.blocks.data(u64_at(&entry, 0), u32_at(&entry, 8))?;
                let offset = *offset as usize;
                let bytes = block.get(offset..offset.saturating_add(length)).ok_or_else(short)?;
                return to.write_all(bytes).map_err(ReadingError::Write);
            }
            let packed = u32_at(&self.blocks.read(&mut cursor, 4)?, 0);
            if packed == 0 {
                to.write_all(&zeros[..length]).map_err(ReadingError::Write)?;
            } else {
                let block = self.blocks.data(at, packed)?;
                to.write_all(block.get(..length).ok_or_else(short)?).map_err(ReadingError::Write)?;
                at = at.saturating_add((packed & 0xff_ffff).into());
            }
            left -= length as u64;
        }
        Ok(())
    }
}

impl FilesReader for SquashfsReader {
    fn root(&self) -> Handle {
        Handle(self.root)
    }

    fn ignores_case(&self) -> bool {
        false
    }

    fn children(&mut self, folder: Handle) -> Result<Vec<(String, Handle)>, ReadingError> {
        let InodeContent::Folder { block, offset, size } = self.inode(folder.0)?.content else {
            return Err(damaged("what is read as a folder is none"));
        };
        if size > MAX_FOLDER {
            return Err(ReadingError::TooLarge { size: size.into(), most: MAX_FOLDER.into() });
        }
        let mut found = Vec::new();
        if size == 0 {
            return Ok(found);
        }
        let mut cursor = Cursor::of(self.folders_at, u64::from(block) << 16 | u64::from(offset))?;
        let mut left = size as usize;
        let mut take = |blocks: &mut Blocks, length: usize| {
            left = left.checked_sub(length).ok_or_else(|| damaged("a folder has a broken entry"))?;
            Ok::<_, ReadingError>((blocks.read(&mut cursor, length)?, left))
        };
        loop {
            let (header, _) = take(&mut self.blocks, 12)?;
            let (count, block) = (u32_at(&header, 0) as usize + 1, u64::from(u32_at(&header, 4)));
            if count > MOST_ENTRIES {
                return Err(damaged(format!("a folder has {count} entries in one run")));
            }
            let mut rest = 0;
            for _ in 0..count {
                let (entry, _) = take(&mut self.blocks, 8)?;
                let (name, left) = take(&mut self.blocks, usize::from(u16_at(&entry, 6)) + 1)?;
                if name.contains(&b'/') || name.contains(&0) || matches!(&name[..], b"." | b"..") {
                    return Err(damaged("a folder has an impossible name"));
                }
                let inode = block << 16 | u64::from(u16_at(&entry, 0));
                found.push((text_of(&name), Handle(inode)));
                rest = left;
            }
            if rest == 0 {
                return Ok(found);
            }
        }
    }

    fn metadata(&mut self, entry: Handle) -> Result<Metadata, ReadingError> {
        let inode = self.inode(entry.0)?;
        let mut size = 0;
        let kind = match &inode.content {
            InodeContent::Folder { size: folder, .. } => {
                size = u64::from(*folder);
                FileKind::Folder
            }
            InodeContent::File { size: file, .. } => {
                size = *file;
                FileKind::File
            }
            InodeContent::Symlink(target) => {
                size = target.len() as u64;
                FileKind::Symlink(text_of(target))
            }
            InodeContent::CharDevice(number) => {
                let (major, minor) = device(*number);
                FileKind::CharDevice { major, minor }
            }
            InodeContent::BlockDevice(number) => {
                let (major, minor) = device(*number);
                FileKind::BlockDevice { major, minor }
            }
            InodeContent::Fifo => FileKind::Fifo,
            InodeContent::Socket => FileKind::Socket,
        };
        Ok(Metadata {
            kind,
            mode: inode.mode,
            uid: self.owner(inode.user)?,
            gid: self.owner(inode.group)?,
            mtime: inode.mtime.into(),
            size,
            links: inode.links,
            xattrs: self.attributes(inode.attributes)?,
        })
    }

    fn copy_entry(&mut self, entry: Handle, to: &mut dyn Write, most: u64) -> Result<u64, ReadingError> {
        let inode = self.inode(entry.0)?;
        let InodeContent::File { size, .. } = inode.content else {
            return Err(damaged("what is read as a file is none"));
        };
        if size > most {
            return Err(ReadingError::TooLarge { size, most });
        }
        self.content(&inode.content, to)?;
        Ok(size)
    }
}
