//! Writes inodes and folders: of each folder first what is in it, then its entries, then its own inode.

use std::collections::HashMap;
use std::io;

use super::content::PackedFiles;
use super::format::MOST_ENTRIES;
use super::inode::{self, FolderEntries, InodeFacts};
use super::owners::{AttributeSets, Owners};
use super::table_writer::{TablePlace, TableWriter};
use crate::tree::{Kind, Node, Tree};

/// The tables of inodes and folders.
pub(super) struct Folders {
    pub(super) inodes: TableWriter,
    pub(super) entries: TableWriter,
    pub(super) attributes: AttributeSets,
    /// How many inodes there are.
    pub(super) count: u32,
    /// Where the root's inode is.
    pub(super) root: TablePlace,
}

/// An inode that is written.
#[derive(Clone, Copy)]
struct Written {
    place: TablePlace,
    number: u32,
    kind: u16,
}

/// What is in a folder, by name.
type Children<'a> = Vec<(&'a str, usize, &'a Node)>;

/// Writes the inodes and folders of a tree.
pub(super) fn write(tree: &Tree, files: &PackedFiles, owners: &Owners) -> io::Result<Folders> {
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    let mut links: HashMap<usize, u32> = HashMap::new();
    let mut folders: Vec<(&str, usize, &Node)> = Vec::new();
    let mut children: HashMap<&str, Children<'_>> = HashMap::new();
    for (path, identity, node) in tree.entries() {
        let next = u32::try_from(numbers.len() + 1).map_err(io::Error::other)?;
        numbers.entry(identity).or_insert(next);
        *links.entry(identity).or_default() += 1;
        if node.kind == Kind::Folder {
            folders.push((path, identity, node));
        }
        if !path.is_empty() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            // Paths come sorted, and so do the names in each folder.
            children.entry(parent).or_default().push((name, identity, node));
        }
    }
    let depth = |path: &str| if path.is_empty() { 0 } else { 1 + path.matches('/').count() };
    folders.sort_by_key(|(path, ..)| std::cmp::Reverse(depth(path)));
    let count = u32::try_from(numbers.len()).map_err(io::Error::other)?;
    let parents: HashMap<&str, u32> =
        folders.iter().map(|(path, identity, _)| (*path, numbers[identity])).collect();
    let written = Folders {
        inodes: TableWriter::new()?,
        entries: TableWriter::new()?,
        attributes: AttributeSets::new()?,
        count,
        root: TablePlace::default(),
    };
    let mut writer = FolderWriter { written, files, owners, numbers, links, known: HashMap::new() };
    for (path, identity, node) in folders {
        let parent = match path.rsplit_once('/') {
            // The root's own is one that there is not.
            None if path.is_empty() => count + 1,
            None => parents[""],
            Some((parent, _)) => parents[parent],
        };
        let inside = children.remove(path).unwrap_or_default();
        writer.folder(identity, node, parent, &inside)?;
    }
    Ok(writer.written)
}

struct FolderWriter<'a> {
    written: Folders,
    files: &'a PackedFiles,
    owners: &'a Owners,
    numbers: HashMap<usize, u32>,
    links: HashMap<usize, u32>,
    known: HashMap<usize, Written>,
}

impl FolderWriter<'_> {
    fn folder(
        &mut self,
        identity: usize,
        node: &Node,
        parent: u32,
        children: &Children<'_>,
    ) -> io::Result<()> {
        for (_, child, node) in children {
            if node.kind != Kind::Folder && !self.known.contains_key(child) {
                let links = self.links.get(child).copied().unwrap_or(1);
                let facts = self.facts(*child, node, links)?;
                let bytes = match self.files.files.get(child) {
                    Some(file) => inode::file(&facts, file),
                    None => inode::other(&facts),
                };
                self.inode(*child, node, &bytes)?;
            }
        }
        let listing = self.listing(children)?;
        let size = u32::try_from(listing.len()).map_err(io::Error::other)?;
        // Nothing is read of a folder that is empty, and its place is then any that there is.
        let place =
            if listing.is_empty() { TablePlace::default() } else { self.written.entries.put(&listing)? };
        let subfolders = children.iter().filter(|(.., node)| node.kind == Kind::Folder).count();
        let links = u32::try_from(2 + subfolders).map_err(io::Error::other)?;
        let facts = self.facts(identity, node, links)?;
        let bytes = inode::folder(&facts, &FolderEntries { place, size, parent });
        self.written.root = self.inode(identity, node, &bytes)?;
        Ok(())
    }

    fn facts<'n>(&mut self, identity: usize, node: &'n Node, links: u32) -> io::Result<InodeFacts<'n>> {
        Ok(InodeFacts {
            node,
            user: self.owners.number(node.uid),
            group: self.owners.number(node.gid),
            number: self.numbers.get(&identity).copied().unwrap_or(0),
            links,
            attributes: self.written.attributes.number(node)?,
        })
    }

    fn inode(&mut self, identity: usize, node: &Node, bytes: &[u8]) -> io::Result<TablePlace> {
        let place = self.written.inodes.put(bytes)?;
        let number = self.numbers.get(&identity).copied().unwrap_or(0);
        self.known.insert(identity, Written { place, number, kind: inode::kind(node) });
        Ok(place)
    }

    /// Returns the entries of a folder: runs of them behind headers, each of inodes in one block whose numbers are near.
    fn listing(&self, children: &Children<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut run: Vec<(&str, Written)> = Vec::new();
        for (name, identity, _) in children {
            let missing = || io::Error::other("an entry without an inode");
            let entry = *self.known.get(identity).ok_or_else(missing)?;
            if let Some((_, first)) = run.first()
                && (run.len() == MOST_ENTRIES
                    || first.place.block != entry.place.block
                    || delta(first.number, entry.number).is_none())
            {
                close(&mut bytes, &run)?;
                run.clear();
            }
            run.push((name, entry));
        }
        close(&mut bytes, &run)?;
        Ok(bytes)
    }
}

fn delta(base: u32, number: u32) -> Option<i16> {
    i16::try_from(i64::from(number) - i64::from(base)).ok()
}

/// Adds a run of entries with its header.
fn close(bytes: &mut Vec<u8>, run: &[(&str, Written)]) -> io::Result<()> {
    let Some((_, first)) = run.first() else { return Ok(()) };
    let count = u32::try_from(run.len() - 1).map_err(io::Error::other)?;
    let block = u32::try_from(first.place.block).map_err(io::Error::other)?;
    for number in [count, block, first.number] {
        bytes.extend(number.to_le_bytes());
    }
    for (name, entry) in run {
        bytes.extend(entry.place.offset.to_le_bytes());
        bytes.extend(delta(first.number, entry.number).unwrap_or(0).to_le_bytes());
        bytes.extend(entry.kind.to_le_bytes());
        let length = name.len().checked_sub(1).and_then(|length| u16::try_from(length).ok());
        bytes.extend(length.ok_or_else(|| io::Error::other("an impossible name"))?.to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    Ok(())
}
