//! An inode of EROFS with its attributes; see [`on_disk`](crate::erofs::on_disk).

use std::collections::BTreeMap;

use super::error::ReadingError;
use super::files::FileKind;
use super::section::{Section, text_of, u16_at, u32_at, u64_at};
use super::squashfs_inode::device;
use crate::erofs::on_disk::{ATTRIBUTES_HEADER, LONG_INODE, PREFIXES, SHORT_INODE};

/// The longest target of a link.
const MAX_TARGET: u64 = 4096;

/// An inode.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Its time, where it has one of its own.
    pub(crate) mtime: Option<u64>,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// How its content is laid out.
    pub(crate) layout: u16,
    /// The word that says where the content is, or which device it is.
    pub(crate) place: u32,
    /// Where its attributes are, and where they end.
    attributes_at: u64,
    pub(crate) end: u64,
}

pub(crate) fn damaged(found: impl Into<String>) -> ReadingError {
    ReadingError::Damaged { what: "the EROFS", found: found.into() }
}

impl Inode {
    /// Reads the inode at a place.
    pub(crate) fn read(section: &Section, at: u64) -> Result<Self, ReadingError> {
        let mut bytes = section.bytes(at, SHORT_INODE as u64)?;
        let format = u16_at(&bytes, 0);
        let is_long = format & 1 != 0;
        if is_long {
            bytes = section.bytes(at, LONG_INODE as u64)?;
        }
        let attributes_at = at + bytes.len() as u64;
        let attributes = match u16_at(&bytes, 2) {
            0 => 0,
            count => ATTRIBUTES_HEADER as u64 + 4 * (u64::from(count) - 1),
        };
        let common = Self {
            mode: u16_at(&bytes, 4),
            uid: 0,
            gid: 0,
            mtime: None,
            links: 0,
            size: 0,
            layout: format >> 1 & 7,
            place: u32_at(&bytes, 16),
            attributes_at,
            end: attributes_at + attributes,
        };
        Ok(match is_long {
            true => Self {
                size: u64_at(&bytes, 8),
                uid: u32_at(&bytes, 24),
                gid: u32_at(&bytes, 28),
                mtime: Some(u64_at(&bytes, 32)),
                links: u32_at(&bytes, 44),
                ..common
            },
            false => Self {
                links: u16_at(&bytes, 6).into(),
                size: u32_at(&bytes, 8).into(),
                uid: u16_at(&bytes, 24).into(),
                gid: u16_at(&bytes, 26).into(),
                ..common
            },
        })
    }

    /// Returns what it is of; `content` reads the target of a link.
    pub(crate) fn kind(
        &self,
        content: impl FnOnce(u64) -> Result<Vec<u8>, ReadingError>,
    ) -> Result<FileKind, ReadingError> {
        let (major, minor) = device(self.place);
        Ok(match self.mode & 0o170_000 {
            0o040_000 => FileKind::Folder,
            0o100_000 => FileKind::File,
            0o120_000 => FileKind::Symlink(text_of(&content(MAX_TARGET)?)),
            0o020_000 => FileKind::CharDevice { major, minor },
            0o060_000 => FileKind::BlockDevice { major, minor },
            0o010_000 => FileKind::Fifo,
            0o140_000 => FileKind::Socket,
            other => return Err(damaged(format!("an inode has the type {other:o}"))),
        })
    }

    /// Returns its attributes; `shared` is where those are that inodes share.
    pub(crate) fn attributes(
        &self,
        section: &Section,
        shared: u64,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReadingError> {
        let mut found = BTreeMap::new();
        let size = self.end - self.attributes_at;
        if size == 0 {
            return Ok(found);
        }
        let bytes = section.bytes(self.attributes_at, size)?;
        let broken = || damaged("an attribute is broken");
        let mut at = ATTRIBUTES_HEADER + 4 * usize::from(bytes[4]);
        for place in (ATTRIBUTES_HEADER..at).step_by(4) {
            let place = bytes.get(place..place + 4).map(|bytes| u32_at(bytes, 0)).ok_or_else(broken)?;
            let entry_at = shared.checked_add(4 * u64::from(place)).ok_or_else(broken)?;
            let header = section.bytes(entry_at, 4)?;
            let entry = section.bytes(entry_at, 4 + u64::from(header[0]) + u64::from(u16_at(&header, 2)))?;
            found.extend(attribute(&entry));
        }
        while let Some(header) = bytes.get(at..at + 4) {
            let length = 4 + usize::from(header[0]) + usize::from(u16_at(header, 2));
            found.extend(attribute(bytes.get(at..at + length).ok_or_else(broken)?));
            at += length.next_multiple_of(4);
        }
        Ok(found)
    }
}

/// Returns an attribute with its name; none where its kind is unknown.
fn attribute(entry: &[u8]) -> Option<(String, Vec<u8>)> {
    let (_, prefix) = PREFIXES.iter().find(|(number, _)| *number == entry[1])?;
    let (name, value) = entry[4..].split_at(entry[0].into());
    Some((format!("{prefix}{}", text_of(name)), value.to_vec()))
}
