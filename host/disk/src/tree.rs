//! The file tree in memory: everything but the contents of files.

use std::collections::BTreeMap;

/// A file tree. Paths have no slash at either end; the root is the empty path.
///
/// Sorted by path, a folder comes before what is in it, and the order does not depend on that of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    paths: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

/// An entry of the tree; several paths may share one, as hard links do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In seconds since 1970.
    pub(crate) mtime: u64,
    /// Extended attributes by full name, e.g. `security.capability`.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File(Content),
    Symlink(String),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

impl Kind {
    /// Returns the bits of a mode that say what an entry is (`S_IFMT` of stat(2)).
    pub(crate) fn mode_bits(&self) -> u16 {
        match self {
            Self::Folder => 0o040_000,
            Self::File(_) => 0o100_000,
            Self::Symlink(_) => 0o120_000,
            Self::CharDevice { .. } => 0o020_000,
            Self::BlockDevice { .. } => 0o060_000,
            Self::Fifo => 0o010_000,
        }
    }
}

/// Returns a device's numbers as one, as the kernel's new_encode_dev has it (linux/kdev_t.h).
pub(crate) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// In the spool.
    Spool { offset: u64, size: u64 },
    /// Here; for the few small files that pib writes itself.
    Bytes(Vec<u8>),
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Spool { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl Node {
    /// Returns a node of root's, without attributes.
    pub(crate) fn new(kind: Kind, mode: u16) -> Self {
        Self { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// Returns a tree with an empty root folder.
    pub(crate) fn new() -> Self {
        let root = Node::new(Kind::Folder, 0o755);
        Self { paths: BTreeMap::from([(String::new(), 0)]), nodes: vec![root] }
    }

    /// Returns the entry at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.paths.get(path).and_then(|index| self.nodes.get(*index))
    }

    /// Returns the entry at `path` with the identity that hard links share.
    pub(crate) fn find(&self, path: &str) -> Option<(usize, &Node)> {
        let index = *self.paths.get(path)?;
        Some((index, &self.nodes[index]))
    }

    /// Puts an entry at `path`, in the place of what is there; folders that lead to it are made where missing.
    ///
    /// A folder put over a folder keeps what is in it.
    pub(crate) fn put(&mut self, path: &str, node: Node) {
        self.make_parents(path, node.mtime);
        if let Some(index) = self.paths.get(path).copied() {
            let old = &mut self.nodes[index];
            if old.kind == Kind::Folder && node.kind == Kind::Folder {
                *old = node;
                return;
            }
            self.remove(path);
        }
        self.nodes.push(node);
        self.paths.insert(path.to_owned(), self.nodes.len() - 1);
    }

    /// Gives the entry at `target` a second path; returns whether there is one that may have it.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> bool {
        let Some(index) = self.paths.get(target).copied() else { return false };
        if self.nodes[index].kind == Kind::Folder || path == target {
            return path == target;
        }
        self.make_parents(path, self.nodes[index].mtime);
        self.remove(path);
        self.paths.insert(path.to_owned(), index);
        true
    }

    fn make_parents(&mut self, path: &str, mtime: u64) {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if self.get(parent).is_none_or(|node| node.kind != Kind::Folder) {
                self.remove(parent);
                self.nodes.push(Node { mtime, ..Node::new(Kind::Folder, 0o755) });
                self.paths.insert(parent.to_owned(), self.nodes.len() - 1);
            }
        }
    }

    /// Removes the entry at `path` and everything below it.
    pub(crate) fn remove(&mut self, path: &str) {
        self.remove_below(path);
        self.paths.remove(path);
    }

    /// Removes everything below `path`, and keeps the folder itself.
    pub(crate) fn remove_below(&mut self, path: &str) {
        for below in self.below(path) {
            self.paths.remove(&below);
        }
    }

    /// Returns the paths below `path`, sorted.
    pub(crate) fn below(&self, path: &str) -> Vec<String> {
        let start = if path.is_empty() { String::new() } else { format!("{path}/") };
        let range = self.paths.range(start.clone()..);
        let below = range.take_while(|(name, _)| name.starts_with(&start)).map(|(name, _)| name.clone());
        below.filter(|name| !name.is_empty()).collect()
    }

    /// Takes everything below `path` out as a tree of its own; the folder stays, empty.
    pub(crate) fn cut(&mut self, path: &str) -> Self {
        let mut cut = Self::new();
        if let Some(folder) = self.get(path).filter(|node| node.kind == Kind::Folder) {
            cut.nodes[0] = folder.clone();
        }
        let mut moved = BTreeMap::new();
        for below in self.below(path) {
            if let Some(index) = self.paths.remove(&below) {
                let index = *moved.entry(index).or_insert_with(|| {
                    cut.nodes.push(self.nodes[index].clone());
                    cut.nodes.len() - 1
                });
                cut.paths.insert(below[path.len() + 1..].to_owned(), index);
            }
        }
        cut
    }

    /// Changes every entry.
    pub(crate) fn each(&mut self, change: impl Fn(&mut Node)) {
        self.nodes.iter_mut().for_each(change);
    }

    /// Returns the entries in the order of their paths, each with the identity that hard links share.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, usize, &Node)> {
        self.paths.iter().map(|(path, index)| (path.as_str(), *index, &self.nodes[*index]))
    }

    /// Returns how many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns how many bytes the files have; what is hard-linked counts once.
    pub(crate) fn bytes(&self) -> u64 {
        self.unique()
            .map(|node| match &node.kind {
                Kind::File(content) => content.size(),
                _ => 0,
            })
            .sum()
    }

    /// Returns each entry once, however many paths it has.
    pub(crate) fn unique(&self) -> impl Iterator<Item = &Node> {
        let mut used: Vec<usize> = self.paths.values().copied().collect();
        used.sort_unstable();
        used.dedup();
        used.into_iter().map(|index| &self.nodes[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Node {
        Node::new(Kind::File(Content::Bytes(text.as_bytes().to_vec())), 0o644)
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.entries().map(|(path, ..)| path).collect()
    }

    #[test]
    fn later_entries_replace_earlier_ones() {
        let mut tree = Tree::new();
        tree.put("a/b", file("1"));
        tree.put("a/b", file("22"));
        assert_eq!((paths(&tree), tree.bytes()), (vec!["", "a", "a/b"], 2));
        tree.put("a", Node::new(Kind::Folder, 0o700));
        assert_eq!(tree.get("a").unwrap().mode, 0o700);
        assert!(tree.get("a/b").is_some());
        tree.put("a", file("x"));
        assert_eq!(paths(&tree), ["", "a"]);
        tree.put("a/c", file("y"));
        assert_eq!(paths(&tree), ["", "a", "a/c"]);
    }

    #[test]
    fn hard_links_share_one_entry_and_survive_its_first_path() {
        let mut tree = Tree::new();
        tree.put("a", file("12"));
        assert!(tree.link("d/b", "a"));
        assert!(!tree.link("c", "missing"));
        assert!(tree.link("a", "a"));
        assert_eq!(tree.bytes(), 2);
        tree.remove("a");
        assert_eq!(tree.get("d/b"), Some(&file("12")));
    }

    #[test]
    fn cutting_moves_what_is_below() {
        let mut tree = Tree::new();
        for path in ["boot/firmware/a", "boot/firmware/b/c", "boot/other", "boot/firmware-x"] {
            tree.put(path, file("1"));
        }
        tree.link("boot/firmware/d", "boot/firmware/a");
        let cut = tree.cut("boot/firmware");
        assert_eq!(paths(&cut), ["", "a", "b", "b/c", "d"]);
        assert_eq!(cut.bytes(), 2);
        assert_eq!(paths(&tree), ["", "boot", "boot/firmware", "boot/firmware-x", "boot/other"]);
    }
}
