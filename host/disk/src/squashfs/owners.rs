//! What inodes share: the numbers of users and groups, and sets of attributes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use super::format::PREFIXES;
use super::table_writer::TableWriter;
use crate::tree::{Node, Tree};

/// The most owners, and the longest name of an attribute behind its first part.
const MOST_OWNERS: usize = u16::MAX as usize;
const LONGEST_NAME: usize = 255;
/// What names the rights of others than user, group and the rest; the format has no place for it.
const ACL: &str = "system.posix_acl_access";
/// What says which rights new files get, of which a squashfs has none.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// The users and groups of a tree.
pub(super) struct Owners(pub(super) Vec<u32>);

impl Owners {
    pub(super) fn of(tree: &Tree) -> Self {
        let found: BTreeSet<u32> = tree.unique().flat_map(|node| [node.uid, node.gid]).collect();
        Self(found.into_iter().collect())
    }

    pub(super) fn number(&self, id: u32) -> u16 {
        self.0.binary_search(&id).ok().and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}

/// Checks that the format can say all that the tree has; an error has the path and why not.
pub(super) fn check(tree: &Tree) -> Result<(), (String, String)> {
    let owners = Owners::of(tree).0.len();
    if owners > MOST_OWNERS {
        let reason = format!("the files have {owners} users and groups, and it takes {MOST_OWNERS}");
        return Err((String::new(), reason));
    }
    for (path, _, node) in tree.entries() {
        let fail = |reason: String| Err((path.to_owned(), reason));
        if path.rsplit('/').next().is_some_and(|name| name.len() > LONGEST_NAME) {
            return fail(format!("its name has more than {LONGEST_NAME} bytes"));
        }
        for name in node.xattrs.keys().filter(|name| *name != DEFAULT_ACL) {
            if name == ACL {
                return fail(
                    "it has an ACL, which a squashfs cannot keep; remove it in the part that sets it \
                     (`setfacl -b`), or use an ext4"
                        .to_owned(),
                );
            }
            match split(name) {
                None => {
                    return fail(format!("its attribute {name} is of a kind that a squashfs does not keep"));
                }
                Some((_, rest)) if rest.len() > LONGEST_NAME => {
                    return fail(format!("the name of its attribute {name} is too long"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Returns the number of a name's first part, and the rest of it.
fn split(name: &str) -> Option<(u16, &str)> {
    PREFIXES.iter().find_map(|(number, prefix)| Some((*number, name.strip_prefix(prefix)?)))
}

/// The sets of attributes of a tree; what is the same is there once.
pub(super) struct AttributeSets {
    pub(super) table: TableWriter,
    /// Where each set is, how many attributes it has, and of how many bytes.
    pub(super) sets: Vec<(u64, u32, u32)>,
    known: HashMap<Vec<u8>, u32>,
}

impl AttributeSets {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { table: TableWriter::new()?, sets: Vec::new(), known: HashMap::new() })
    }

    /// Returns the number of a node's set, which is written where it is new.
    pub(super) fn number(&mut self, node: &Node) -> io::Result<Option<u32>> {
        let kept: BTreeMap<&str, &Vec<u8>> = node
            .xattrs
            .iter()
            .map(|(name, value)| (&**name, value))
            .filter(|(name, _)| *name != DEFAULT_ACL)
            .collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for (name, value) in &kept {
            let (prefix, rest) = split(name).ok_or_else(|| io::Error::other("an unchecked attribute"))?;
            bytes.extend(prefix.to_le_bytes());
            bytes.extend(u16::try_from(rest.len()).map_err(io::Error::other)?.to_le_bytes());
            bytes.extend(rest.as_bytes());
            bytes.extend(u32::try_from(value.len()).map_err(io::Error::other)?.to_le_bytes());
            bytes.extend(*value);
        }
        if let Some(number) = self.known.get(&bytes) {
            return Ok(Some(*number));
        }
        let number = u32::try_from(self.sets.len()).map_err(io::Error::other)?;
        let place = self.table.put(&bytes)?;
        let count = u32::try_from(kept.len()).map_err(io::Error::other)?;
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.sets.push((place.reference(), count, size));
        self.known.insert(bytes, number);
        Ok(Some(number))
    }
}
