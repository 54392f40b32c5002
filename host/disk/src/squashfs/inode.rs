//! Inodes of squashfs as bytes: the basic form where it says all, else the extended one.

use super::content::PackedFile;
use super::format::{BLOCK_DEVICE, CHAR_DEVICE, EXTENDED, FIFO, FILE, FOLDER, FOLDER_EXTRA, NONE, SYMLINK};
use super::table_writer::TablePlace;
use crate::tree::{Kind, Node, device_number};

/// What all inodes have.
pub(super) struct InodeFacts<'a> {
    pub(super) node: &'a Node,
    /// Its owners, by their places in the table of owners.
    pub(super) user: u16,
    pub(super) group: u16,
    pub(super) number: u32,
    pub(super) links: u32,
    /// Its attributes, by their place in the table of attributes.
    pub(super) attributes: Option<u32>,
}

/// Where a folder's entries are.
pub(super) struct FolderEntries {
    pub(super) place: TablePlace,
    pub(super) size: u32,
    /// The number of the folder's own folder.
    pub(super) parent: u32,
}

/// Returns the type of an entry, as folders have it.
pub(super) fn kind(node: &Node) -> u16 {
    match node.kind {
        Kind::Folder => FOLDER,
        Kind::File(_) => FILE,
        Kind::Symlink(_) => SYMLINK,
        Kind::BlockDevice { .. } => BLOCK_DEVICE,
        Kind::CharDevice { .. } => CHAR_DEVICE,
        Kind::Fifo => FIFO,
    }
}

/// Returns the inode of a folder.
pub(super) fn folder(facts: &InodeFacts<'_>, entries: &FolderEntries) -> Vec<u8> {
    let size = entries.size.saturating_add(FOLDER_EXTRA);
    let block = u32::try_from(entries.place.block).unwrap_or(u32::MAX);
    match (facts.attributes, u16::try_from(size)) {
        (None, Ok(small)) => {
            let mut bytes = header(facts, 0);
            words(&mut bytes, &[block, facts.links]);
            bytes.extend(small.to_le_bytes());
            bytes.extend(entries.place.offset.to_le_bytes());
            words(&mut bytes, &[entries.parent]);
            bytes
        }
        _ => {
            let mut bytes = header(facts, EXTENDED);
            words(&mut bytes, &[facts.links, size, block, entries.parent]);
            // There is no index of its own.
            bytes.extend(0_u16.to_le_bytes());
            bytes.extend(entries.place.offset.to_le_bytes());
            words(&mut bytes, &[facts.attributes.unwrap_or(NONE)]);
            bytes
        }
    }
}

/// Returns the inode of a file.
pub(super) fn file(facts: &InodeFacts<'_>, file: &PackedFile) -> Vec<u8> {
    let (fragment, offset) = file.fragment.unwrap_or((NONE, 0));
    let is_plain = facts.attributes.is_none() && facts.links == 1 && file.sparse == 0;
    let mut bytes = match (u32::try_from(file.start), u32::try_from(file.size)) {
        (Ok(start), Ok(size)) if is_plain => {
            let mut bytes = header(facts, 0);
            words(&mut bytes, &[start, fragment, offset, size]);
            bytes
        }
        _ => {
            let mut bytes = header(facts, EXTENDED);
            for number in [file.start, file.size, file.sparse] {
                bytes.extend(number.to_le_bytes());
            }
            words(&mut bytes, &[facts.links, fragment, offset, facts.attributes.unwrap_or(NONE)]);
            bytes
        }
    };
    words(&mut bytes, &file.blocks);
    bytes
}

/// Returns the inode of what is neither a folder nor a file.
pub(super) fn other(facts: &InodeFacts<'_>) -> Vec<u8> {
    let extended = if facts.attributes.is_some() { EXTENDED } else { 0 };
    let mut bytes = header(facts, extended);
    words(&mut bytes, &[facts.links]);
    match &facts.node.kind {
        Kind::Symlink(target) => {
            words(&mut bytes, &[u32::try_from(target.len()).unwrap_or(u32::MAX)]);
            bytes.extend(target.as_bytes());
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            words(&mut bytes, &[device_number(*major, *minor)]);
        }
        Kind::Folder | Kind::File(_) | Kind::Fifo => {}
    }
    bytes.extend(facts.attributes.into_iter().flat_map(u32::to_le_bytes));
    bytes
}

fn header(facts: &InodeFacts<'_>, extended: u16) -> Vec<u8> {
    let node = facts.node;
    let mut bytes = Vec::with_capacity(64);
    for number in [kind(node) + extended, node.mode, facts.user, facts.group] {
        bytes.extend(number.to_le_bytes());
    }
    words(&mut bytes, &[u32::try_from(node.mtime).unwrap_or(u32::MAX), facts.number]);
    bytes
}

fn words(bytes: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        bytes.extend(number.to_le_bytes());
    }
}
