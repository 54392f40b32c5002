//! Extended attributes, as they stand behind an inode; and what the format cannot say.

use std::io;

use super::on_disk::{ATTRIBUTES_HEADER, PREFIXES};
use crate::tree::{Node, Tree};

/// The longest name of an entry, and of an attribute behind its first part.
const LONGEST_NAME: usize = 255;
/// The most bytes that a value has, as in Linux, and all attributes of a file together.
const LONGEST_VALUE: usize = u16::MAX as usize;
const MOST: usize = 4 * (u16::MAX as usize - 1);

/// Checks that the format can say all that the tree has; an error has the path and why not.
pub(super) fn check(tree: &Tree) -> Result<(), (String, String)> {
    for (path, _, node) in tree.entries() {
        let fail = |reason: String| Err((path.to_owned(), reason));
        if path.rsplit('/').next().is_some_and(|name| name.len() > LONGEST_NAME) {
            return fail(format!("its name has more than {LONGEST_NAME} bytes"));
        }
        for (name, value) in &node.xattrs {
            match split(name) {
                None => {
                    return fail(format!("its attribute {name} is of a kind that an EROFS does not keep"));
                }
                Some((_, rest)) if rest.len() > LONGEST_NAME => {
                    return fail(format!("the name of its attribute {name} is too long"));
                }
                Some(_) if value.len() > LONGEST_VALUE => {
                    return fail(format!("its attribute {name} has more than {LONGEST_VALUE} bytes"));
                }
                Some(_) => {}
            }
        }
        if size(node) > MOST {
            return fail(format!("its attributes have more than {MOST} bytes"));
        }
    }
    Ok(())
}

/// Returns the number of a name's first part, and the rest of it.
fn split(name: &str) -> Option<(u8, &str)> {
    PREFIXES.iter().find_map(|(number, prefix)| {
        let rest = name.strip_prefix(prefix)?;
        // The name of an ACL is whole.
        (prefix.ends_with('.') != rest.is_empty()).then_some((*number, rest))
    })
}

fn size(node: &Node) -> usize {
    let entry = |(name, value): (&String, &Vec<u8>)| {
        let rest = split(name).map_or(0, |(_, rest)| rest.len());
        (4 + rest + value.len()).next_multiple_of(4)
    };
    match node.xattrs.iter().map(entry).sum() {
        0 => 0,
        entries => ATTRIBUTES_HEADER + entries,
    }
}

/// Returns a node's attributes as they stand behind its inode.
///
/// # Errors
/// When the tree was not checked.
pub(super) fn bytes(node: &Node) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size(node));
    if node.xattrs.is_empty() {
        return Ok(bytes);
    }
    // None is shared with other files.
    bytes.resize(ATTRIBUTES_HEADER, 0);
    for (name, value) in &node.xattrs {
        let (prefix, rest) = split(name).ok_or_else(|| io::Error::other("an unchecked attribute"))?;
        bytes.extend([u8::try_from(rest.len()).map_err(io::Error::other)?, prefix]);
        bytes.extend(u16::try_from(value.len()).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend(rest.as_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(bytes)
}

/// Returns how many words attributes of so many bytes have, as an inode counts them.
pub(super) fn count(bytes: &[u8]) -> u16 {
    match bytes.len().checked_sub(ATTRIBUTES_HEADER) {
        Some(entries) => u16::try_from(entries / 4 + 1).unwrap_or(u16::MAX),
        None => 0,
    }
}
