//! Writes the contents of files: whole blocks, and the small files of a tree together in fragments.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use super::format::{DATA_PLAIN, SUPERBLOCK};
use super::packer::{PackedBlock, Packer};
use crate::export::reader;
use crate::tree::{Content, Kind, Tree};

/// The size of a block of data: what a reader unpacks to get at one byte of it.
pub(super) const BLOCK: usize = 128 << 10;

/// Where a file's content is.
#[derive(Debug, Default)]
pub(super) struct PackedFile {
    pub(super) size: u64,
    /// Where the first block is that is not all zeros.
    pub(super) start: u64,
    /// The sizes of the blocks, as they stand in the inode; 0 for one of zeros, which is not written.
    pub(super) blocks: Vec<u32>,
    /// How many bytes are in blocks of zeros.
    pub(super) sparse: u64,
    /// The number of the fragment that holds all of it, and where in that.
    pub(super) fragment: Option<(u32, u32)>,
}

/// The contents of all files.
pub(super) struct PackedFiles {
    /// The files by the identity of their entries.
    pub(super) files: HashMap<usize, PackedFile>,
    /// Where each fragment is, and its size as it stands in the table.
    pub(super) fragments: Vec<(u64, u32)>,
    /// Where the next byte goes.
    pub(super) end: u64,
}

/// What a block is of.
enum Purpose {
    File { identity: usize, number: usize },
    Fragment,
}

/// Writes the contents of a tree's files to `to`, compressed by so many threads.
pub(super) fn write(tree: &Tree, spool: &File, to: &File, threads: usize) -> io::Result<PackedFiles> {
    std::thread::scope(|scope| {
        let packed = PackedFiles { files: HashMap::new(), fragments: Vec::new(), end: SUPERBLOCK };
        let packer = Packer::new(scope, threads)?;
        let mut writer = ContentWriter { to, packed, packer, fragment: Vec::with_capacity(BLOCK), closed: 0 };
        for (_, identity, node) in tree.entries() {
            if let Kind::File(content) = &node.kind
                && !writer.packed.files.contains_key(&identity)
            {
                writer.file(identity, content, spool)?;
            }
        }
        writer.close_fragment()?;
        while let Some((purpose, block)) = writer.packer.take()? {
            writer.place(purpose, &block)?;
        }
        Ok(writer.packed)
    })
}

struct ContentWriter<'a> {
    to: &'a File,
    packed: PackedFiles,
    packer: Packer<Purpose>,
    /// The small files that go into the next fragment.
    fragment: Vec<u8>,
    /// How many fragments are complete.
    closed: u32,
}

impl ContentWriter<'_> {
    fn file(&mut self, identity: usize, content: &Content, spool: &File) -> io::Result<()> {
        let mut from = reader(content, spool);
        let mut file = PackedFile { size: content.size(), ..PackedFile::default() };
        if file.size < BLOCK as u64 {
            let mut bytes = vec![0; usize::try_from(file.size).unwrap_or(0)];
            from.read_exact(&mut bytes)?;
            if !bytes.is_empty() {
                file.fragment = Some(self.add(&bytes)?);
            }
            self.packed.files.insert(identity, file);
            return Ok(());
        }
        let count = usize::try_from(file.size.div_ceil(BLOCK as u64)).map_err(io::Error::other)?;
        let mut left = file.size;
        file.blocks = vec![0; count];
        self.packed.files.insert(identity, file);
        for number in 0..count {
            let mut block = vec![0; usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)];
            from.read_exact(&mut block)?;
            left -= block.len() as u64;
            if block.iter().all(|byte| *byte == 0) {
                if let Some(file) = self.packed.files.get_mut(&identity) {
                    file.sparse += block.len() as u64;
                }
                continue;
            }
            self.push(Purpose::File { identity, number }, block)?;
        }
        Ok(())
    }

    /// Adds a small file to a fragment.
    fn add(&mut self, bytes: &[u8]) -> io::Result<(u32, u32)> {
        if self.fragment.len() + bytes.len() > BLOCK {
            self.close_fragment()?;
        }
        let place = (self.closed, u32::try_from(self.fragment.len()).unwrap_or(u32::MAX));
        self.fragment.extend_from_slice(bytes);
        Ok(place)
    }

    fn close_fragment(&mut self) -> io::Result<()> {
        if self.fragment.is_empty() {
            return Ok(());
        }
        self.closed += 1;
        let block = std::mem::replace(&mut self.fragment, Vec::with_capacity(BLOCK));
        self.push(Purpose::Fragment, block)
    }

    fn push(&mut self, purpose: Purpose, block: Vec<u8>) -> io::Result<()> {
        match self.packer.push(purpose, block)? {
            Some((purpose, block)) => self.place(purpose, &block),
            None => Ok(()),
        }
    }

    /// Writes a block behind those before it. The blocks of a file come one after the other, as the format has it.
    fn place(&mut self, purpose: Purpose, block: &PackedBlock) -> io::Result<()> {
        let at = self.packed.end;
        self.to.write_all_at(&block.bytes, at)?;
        self.packed.end += block.bytes.len() as u64;
        let plain = if block.is_plain { DATA_PLAIN } else { 0 };
        let size = u32::try_from(block.bytes.len()).map_err(io::Error::other)? | plain;
        match purpose {
            Purpose::Fragment => self.packed.fragments.push((at, size)),
            Purpose::File { identity, number } => {
                if let Some(file) = self.packed.files.get_mut(&identity) {
                    // Before any content is the superblock.
                    if file.start == 0 {
                        file.start = at;
                    }
                    file.blocks[number] = size;
                }
            }
        }
        Ok(())
    }
}
