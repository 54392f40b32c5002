//! What a root file system holds, entry by entry, and what differs between two of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};

use pib_event::Reporter;
use pib_file::Folder;
use pib_plan::id::Digest;
use serde::Serialize;

use crate::error::DiskError;
use crate::export::reader;
use crate::identity::Identity;
use crate::load::load;
use crate::tree::{Kind, Node};

/// What a root file system holds as an image would have it, entry by entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, Entry>);

/// An entry, with what can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: EntryKind,
    mode: u16,
    owner: (u32, u32),
    mtime: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path of the file, where this is another name of it.
    first: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum EntryKind {
    Folder,
    File(Digest),
    Symlink(String),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// An entry that two root file systems do not have alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, from `/` on.
    pub path: String,
    /// What of it differs.
    pub aspects: Vec<Aspect>,
}

/// In what two entries can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Only the first has it.
    OnlyInFirst,
    /// Only the second has it.
    OnlyInSecond,
    /// One is, say, a file, and the other a link.
    Kind,
    /// The bytes of a file, what a link leads to, or the numbers of a device.
    Content,
    /// The permissions.
    Mode,
    /// The user or the group.
    Owner,
    /// The time of the last change.
    Time,
    /// The extended attributes.
    Attributes,
    /// Which other paths are the same file.
    HardLinks,
}

impl Aspect {
    /// Returns what to call it in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::OnlyInFirst => "only in the first",
            Self::OnlyInSecond => "only in the second",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Attributes => "attributes",
            Self::HardLinks => "hard links",
        }
    }
}

/// Returns what a root file system holds once it is normalised. `folder` is where the contents of its files are for the
/// moment.
///
/// # Errors
/// When the stream breaks or is no tar, or `folder` cannot be written to.
pub fn listing(
    rootfs: impl Read,
    identity: &Identity,
    folder: &Folder,
    reporter: &dyn Reporter,
) -> Result<Listing, DiskError> {
    let (tree, spool) = load(rootfs, identity, folder, reporter)?;
    let fail = |error| DiskError::io("read", folder.path())(error);
    let mut paths: HashMap<usize, String> = HashMap::new();
    let mut entries = BTreeMap::new();
    for (path, file, node) in tree.entries() {
        let first = paths.get(&file).cloned();
        entries.insert(path.to_owned(), Entry::of(node, &spool, first).map_err(fail)?);
        paths.entry(file).or_insert_with(|| path.to_owned());
    }
    Ok(Listing(entries))
}

impl Listing {
    /// Returns how many entries there are.
    pub fn entries(&self) -> usize {
        self.0.len()
    }

    /// Returns what differs, sorted by path.
    pub fn differences(&self, second: &Self) -> Vec<Difference> {
        let paths: BTreeSet<&String> = self.0.keys().chain(second.0.keys()).collect();
        let difference = |path: &String| {
            let aspects = match (self.0.get(path), second.0.get(path)) {
                (Some(first), Some(second)) => first.differs_in(second),
                (Some(_), None) => vec![Aspect::OnlyInFirst],
                _ => vec![Aspect::OnlyInSecond],
            };
            (!aspects.is_empty()).then(|| Difference { path: format!("/{path}"), aspects })
        };
        paths.into_iter().filter_map(difference).collect()
    }
}

impl Entry {
    fn of(node: &Node, spool: &File, first: Option<String>) -> io::Result<Self> {
        let kind = match &node.kind {
            Kind::Folder => EntryKind::Folder,
            Kind::File(content) => {
                EntryKind::File(Digest::from_bytes(pib_file::sha256(reader(content, spool))?))
            }
            Kind::Symlink(target) => EntryKind::Symlink(target.clone()),
            Kind::CharDevice { major, minor } => EntryKind::CharDevice(*major, *minor),
            Kind::BlockDevice { major, minor } => EntryKind::BlockDevice(*major, *minor),
            Kind::Fifo => EntryKind::Fifo,
        };
        let Node { kind: _, mode, uid, gid, mtime, xattrs } = node;
        let (mode, mtime, xattrs) = (*mode, *mtime, xattrs.clone());
        Ok(Self { kind, mode, owner: (*uid, *gid), mtime, xattrs, first })
    }

    fn differs_in(&self, second: &Self) -> Vec<Aspect> {
        let same_kind = std::mem::discriminant(&self.kind) == std::mem::discriminant(&second.kind);
        let found = [
            (Aspect::Kind, !same_kind),
            (Aspect::Content, same_kind && self.kind != second.kind),
            (Aspect::Mode, self.mode != second.mode),
            (Aspect::Owner, self.owner != second.owner),
            (Aspect::Time, self.mtime != second.mtime),
            (Aspect::Attributes, self.xattrs != second.xattrs),
            (Aspect::HardLinks, self.first != second.first),
        ];
        found.into_iter().filter_map(|(aspect, differs)| differs.then_some(aspect)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes one difference to a tree.
    type Change = fn(&mut tar::Builder<Vec<u8>>);

    fn entry(
        builder: &mut tar::Builder<Vec<u8>>,
        path: &str,
        change: impl FnOnce(&mut tar::Header),
        content: &[u8],
    ) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(5);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        builder.append_data(&mut header, path, content).unwrap();
    }

    fn listed(change: Change) -> Listing {
        let mut builder = tar::Builder::new(Vec::new());
        entry(&mut builder, "usr/a", |_| (), b"one");
        entry(&mut builder, "usr/b", |_| (), b"one");
        change(&mut builder);
        let tar = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let identity = Identity {
            hostname: "pi".to_owned(),
            epoch: 100,
            seed: Digest::of(b""),
            mount_points: Default::default(),
        };
        listing(&tar[..], &identity, &folder, &pib_event::Silent).unwrap()
    }

    #[test]
    fn each_aspect_of_an_entry_is_compared() {
        use Aspect::{Attributes, Content, HardLinks, Kind, Mode, OnlyInSecond, Owner, Time};
        let plain = listed(|_| ());
        assert_eq!(plain.differences(&listed(|_| ())), []);
        let changes: [(Change, &str, &[Aspect]); 8] = [
            (|tar| entry(tar, "usr/a", |_| (), b"two"), "/usr/a", &[Content]),
            (|tar| entry(tar, "usr/a", |header| header.set_mode(0o600), b"one"), "/usr/a", &[Mode]),
            (|tar| entry(tar, "usr/a", |header| header.set_gid(7), b"one"), "/usr/a", &[Owner]),
            (|tar| entry(tar, "usr/a", |header| header.set_mtime(6), b"one"), "/usr/a", &[Time]),
            (
                |tar| entry(tar, "usr/a", |header| header.set_entry_type(tar::EntryType::Fifo), b""),
                "/usr/a",
                &[Kind],
            ),
            (|tar| entry(tar, "usr/c", |_| (), b""), "/usr/c", &[OnlyInSecond]),
            (
                |tar| {
                    tar.append_pax_extensions([("SCHILY.xattr.user.x", &b"y"[..])]).unwrap();
                    entry(tar, "usr/a", |_| (), b"one");
                },
                "/usr/a",
                &[Attributes],
            ),
            (
                |tar| {
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_size(0);
                    header.set_mode(0o644);
                    header.set_uid(0);
                    header.set_gid(0);
                    header.set_mtime(5);
                    tar.append_link(&mut header, "usr/b", "usr/a").unwrap();
                },
                "/usr/b",
                &[HardLinks],
            ),
        ];
        for (change, path, aspects) in changes {
            let found = plain.differences(&listed(change));
            assert_eq!(found, [Difference { path: path.to_owned(), aspects: aspects.to_vec() }]);
        }
        let back = listed(|tar| entry(tar, "usr/c", |_| (), b"")).differences(&plain);
        assert_eq!(back[0].aspects, [Aspect::OnlyInFirst]);
    }
}
