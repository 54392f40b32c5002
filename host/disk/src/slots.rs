//! Fills the second slot of an image with what the first has, and the partition that says which slot is started.

use std::fs::File;

use pib_plan::layout::{Layout, PartitionSpec, Slot};

use crate::error::DiskError;
use crate::mounts;
use crate::tree::{Content, Kind, Node, Tree};

/// The texts that name partitions: in the boot partition, and in the root.
const TEXTS: [&str; 3] = ["cmdline.txt", "etc/fstab", "etc/default/raspi-firmware"];

/// Fills the trees of the partitions that [`split`](crate::image) leaves empty.
pub(crate) fn fill(trees: &mut [Tree], layout: &Layout, spool: &File, epoch: u64) -> Result<(), DiskError> {
    for (index, spec) in layout.partitions.iter().enumerate() {
        match spec.slot {
            Some(Slot::Start) => {
                let text = layout.autoboot().unwrap_or_default();
                let node = Node::new(Kind::File(Content::Bytes(text.into_bytes())), 0o644);
                trees[index].put("autoboot.txt", Node { mtime: epoch, ..node });
            }
            Some(Slot::B) => {
                let is_first =
                    |other: &PartitionSpec| other.slot == Some(Slot::A) && other.mount == spec.mount;
                if let Some(first) = layout.partitions.iter().position(is_first) {
                    trees[index] = trees[first].clone();
                    relabel(&mut trees[index], layout, spool)?;
                }
            }
            Some(Slot::A) | None => {}
        }
    }
    Ok(())
}

/// Has the texts of a tree name the partitions of the second slot in the place of those of the first.
fn relabel(tree: &mut Tree, layout: &Layout, spool: &File) -> Result<(), DiskError> {
    let of = |slot: Slot| layout.partitions.iter().filter(move |part| part.slot == Some(slot));
    for path in TEXTS {
        let Some(found) = mounts::text(tree, path, spool)? else { continue };
        let mut text = found.clone();
        for (first, second) in of(Slot::A).zip(of(Slot::B)) {
            text = renamed(&text, &layout.device(first), &layout.device(second));
        }
        let Some(node) = tree.get(path).cloned() else { continue };
        // What is longer than a text is read, or not one, stays as it is; that it names the wrong slot is told later.
        let is_whole = matches!(&node.kind, Kind::File(content) if content.size() == found.len() as u64);
        if is_whole && text != found {
            tree.put(path, Node { kind: Kind::File(Content::Bytes(text.into_bytes())), ..node });
        }
    }
    Ok(())
}

/// Replaces a name where it stands as a whole word.
fn renamed(text: &str, old: &str, new: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, found) = rest.split_at(at);
        let after = &found[old.len()..];
        result.push_str(before);
        result.push_str(if after.starts_with(is_part) { old } else { new });
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_as_whole_words() {
        let text = "root=LABEL=R-A ro LABEL=R-AB x\nLABEL=R-A\t/ LABEL=R-A";
        let expected = "root=LABEL=R-B ro LABEL=R-AB x\nLABEL=R-B\t/ LABEL=R-B";
        assert_eq!(renamed(text, "LABEL=R-A", "LABEL=R-B"), expected);
    }
}
