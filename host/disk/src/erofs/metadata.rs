//! Places and writes inodes, and then what folders and long links have beside them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use super::attributes;
use super::file_data::{Contents, Packed};
use super::folder::{Entry, Listing, kind};
use super::inode_record::{Body, Inode, index};
use super::on_disk::{BLOCK, SLOT, round_up};
use crate::export::reader;
use crate::tree::{Kind, Tree, device_number};

/// How much is written in one step.
const STEP: usize = 1 << 20;
/// Where the root's inode is. No inode has the number 0, which programs take for none.
const ROOT: u64 = 2;

/// The metadata of a file system, once it is written.
pub(super) struct WrittenMetadata {
    /// Its first block.
    pub(super) start: u32,
    /// The place of the root's inode.
    pub(super) root: u16,
    /// How many inodes there are.
    pub(super) inodes: u64,
    /// The block behind it, and all that there is.
    pub(super) end: u32,
}

/// An inode with its place.
struct Placed<'a> {
    inode: Inode<'a>,
    at: u64,
    /// Its first block behind the metadata.
    outside: u32,
}

/// Writes the inodes and folders of a tree behind its contents.
pub(super) fn write(
    tree: &Tree,
    spool: &File,
    contents: &Contents,
    to: &File,
) -> io::Result<WrittenMetadata> {
    let inodes = inodes(tree, contents)?;
    let mut places = HashMap::new();
    let (mut placed, mut end) = (Vec::with_capacity(inodes.len()), ROOT * SLOT);
    for (identity, inode) in inodes {
        let (at, behind) = inode.place(end);
        end = behind;
        places.insert(identity, at / SLOT);
        placed.push(Placed { inode, at, outside: 0 });
    }
    let too_large = || io::Error::other("an EROFS has at most 16 TiB");
    let blocks = u32::try_from(end.div_ceil(BLOCK as u64)).map_err(io::Error::other)?;
    let mut outside = contents.end.checked_add(blocks).ok_or_else(too_large)?;
    for placed in &mut placed {
        placed.outside = outside;
        outside = outside.checked_add(placed.inode.body.blocks()).ok_or_else(too_large)?;
    }
    let mut out = Sequential { to, start: u64::from(contents.end) * BLOCK as u64, at: 0, buffer: Vec::new() };
    for (number, Placed { inode, at, outside }) in placed.iter().enumerate() {
        out.pad_to(*at)?;
        out.put(&inode.head(u32::try_from(number + 1).map_err(io::Error::other)?, *outside))?;
        behind(inode, spool, &places, &mut out)?;
    }
    for Placed { inode, outside, .. } in placed.iter().filter(|placed| placed.inode.body.blocks() > 0) {
        out.pad_to(u64::from(outside - contents.end) * BLOCK as u64)?;
        let bytes = listed(&inode.body, &places)?;
        out.put(&bytes[..bytes.len() - inode.body.tail()])?;
    }
    out.pad_to(u64::from(outside - contents.end) * BLOCK as u64)?;
    out.flush()?;
    Ok(WrittenMetadata { start: contents.end, root: ROOT as u16, inodes: placed.len() as u64, end: outside })
}

/// Writes what stands behind an inode and its attributes.
fn behind(
    inode: &Inode<'_>,
    spool: &File,
    places: &HashMap<usize, u64>,
    out: &mut Sequential<'_>,
) -> io::Result<()> {
    match &inode.body {
        Body::File { content, packed } => match packed {
            Packed::Inline => {
                let mut bytes = Vec::new();
                reader(content, spool).read_to_end(&mut bytes)?;
                out.put(&bytes)
            }
            Packed::Plain(_) => Ok(()),
            Packed::Extents(extents) => {
                out.pad_to(round_up(out.at, 8))?;
                out.put(&index(extents, content.size())?)
            }
            Packed::Chunks(_, places) => {
                out.pad_to(round_up(out.at, 4))?;
                places.iter().try_for_each(|place| out.put(&place.to_le_bytes()))
            }
        },
        Body::Folder(_) | Body::Symlink(_) => {
            let bytes = listed(&inode.body, places)?;
            out.put(&bytes[bytes.len() - inode.body.tail()..])
        }
        Body::Device(_) | Body::Fifo => Ok(()),
    }
}

/// Returns the content of a folder or a link.
fn listed(body: &Body<'_>, places: &HashMap<usize, u64>) -> io::Result<Vec<u8>> {
    match body {
        Body::Folder(listing) => listing.bytes(places),
        Body::Symlink(target) => Ok(target.as_bytes().to_vec()),
        Body::File { .. } | Body::Device(_) | Body::Fifo => Ok(Vec::new()),
    }
}

/// Returns the inodes of a tree by the identity of their entries, the root's first.
fn inodes<'a>(tree: &'a Tree, contents: &'a Contents) -> io::Result<Vec<(usize, Inode<'a>)>> {
    let mut links: HashMap<usize, u32> = HashMap::new();
    let mut entries: HashMap<&str, Vec<Entry<'_>>> = HashMap::new();
    for (path, identity, node) in tree.entries() {
        *links.entry(identity).or_default() += 1;
        let folder = || path.rsplit_once('/').unwrap_or(("", path));
        if node.kind == Kind::Folder {
            entries.entry(path).or_default().push(Entry { name: ".", identity, kind: kind(node) });
            // A folder has a link of its own, and one from each of those in it. The root is in itself.
            *links.entry(identity).or_default() += u32::from(!path.is_empty());
            let parent = if path.is_empty() { Some((identity, node)) } else { tree.find(folder().0) };
            let (parent, above) = parent.ok_or_else(|| io::Error::other("a folder that is in none"))?;
            *links.entry(parent).or_default() += 1;
            entries.entry(path).or_default().push(Entry { name: "..", identity: parent, kind: kind(above) });
        }
        if !path.is_empty() {
            let (parent, name) = folder();
            entries.entry(parent).or_default().push(Entry { name, identity, kind: kind(node) });
        }
    }
    let mut done = Vec::new();
    let mut known = HashSet::new();
    for (path, identity, node) in tree.entries() {
        if !known.insert(identity) {
            continue;
        }
        let body = match &node.kind {
            Kind::Folder => Body::Folder(Listing::of(entries.remove(path).unwrap_or_default())),
            Kind::File(content) => {
                let packed = contents.files.get(&identity);
                let packed = packed.ok_or_else(|| io::Error::other("a file without its content"))?;
                Body::File { content, packed }
            }
            Kind::Symlink(target) => Body::Symlink(target),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                Body::Device(device_number(*major, *minor))
            }
            Kind::Fifo => Body::Fifo,
        };
        let attributes = attributes::bytes(node)?;
        done.push((identity, Inode { node, links: links[&identity], attributes, body }));
    }
    Ok(done)
}

/// Writes one piece behind the other, with zeros between them.
struct Sequential<'a> {
    to: &'a File,
    start: u64,
    /// How much there is, from the start on.
    at: u64,
    /// The end of it, which is not written yet.
    buffer: Vec<u8>,
}

impl Sequential<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.buffer.len() < STEP { Ok(()) } else { self.flush() }
    }

    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        // No more than a block and an inode.
        let gap = at.checked_sub(self.at).ok_or_else(|| io::Error::other("pieces that overlap"))?;
        self.put(&vec![0; usize::try_from(gap).map_err(io::Error::other)?])
    }

    fn flush(&mut self) -> io::Result<()> {
        let begun = self.at - self.buffer.len() as u64;
        self.to.write_all_at(&self.buffer, self.start + begun)?;
        self.buffer.clear();
        Ok(())
    }
}
