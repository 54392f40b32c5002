//! The entries of a folder as bytes.

use std::collections::HashMap;
use std::io;

use super::on_disk::{BLOCK, ENTRY};
use crate::tree::{Kind, Node};

/// The entries of a folder, in blocks. Each block has its entries and then their names, so that a reader finds one by halving.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    blocks: Vec<Vec<Entry<'a>>>,
}

/// An entry of a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) identity: usize,
    pub(super) kind: u8,
}

impl<'a> Listing<'a> {
    /// Returns the listing of a folder's entries, which are sorted.
    pub(super) fn of(mut entries: Vec<Entry<'a>>) -> Self {
        entries.sort_unstable_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
        let (mut blocks, mut block, mut size) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            let more = ENTRY + entry.name.len();
            if size + more > BLOCK {
                blocks.push(std::mem::take(&mut block));
                size = 0;
            }
            size += more;
            block.push(entry);
        }
        blocks.push(block);
        Self { blocks }
    }

    /// Returns its size in bytes: whole blocks, and what the last one has.
    pub(super) fn size(&self) -> usize {
        let last = self.blocks.last().map_or(0, |block| size(block));
        self.blocks.len().saturating_sub(1) * BLOCK + last
    }

    /// Returns its bytes; `places` has the places of inodes by the identity of their entries.
    pub(super) fn bytes(&self, places: &HashMap<usize, u64>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size());
        for (number, block) in self.blocks.iter().enumerate() {
            bytes.resize(number * BLOCK, 0);
            let mut name_at = ENTRY * block.len();
            for entry in block {
                let missing = || io::Error::other("an entry without an inode");
                bytes.extend(places.get(&entry.identity).ok_or_else(missing)?.to_le_bytes());
                bytes.extend(u16::try_from(name_at).map_err(io::Error::other)?.to_le_bytes());
                bytes.extend([entry.kind, 0]);
                name_at += entry.name.len();
            }
            block.iter().for_each(|entry| bytes.extend(entry.name.as_bytes()));
        }
        Ok(bytes)
    }
}

fn size(block: &[Entry<'_>]) -> usize {
    block.iter().map(|entry| ENTRY + entry.name.len()).sum()
}

/// Returns the type of an entry, as folders have it.
pub(super) fn kind(node: &Node) -> u8 {
    match node.kind {
        Kind::File(_) => 1,
        Kind::Folder => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}
