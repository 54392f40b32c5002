//! Extended attributes of ext4, in the inode and in a block of their own (Linux'
//! Documentation/filesystems/ext4/attributes.rst).

use std::collections::BTreeMap;

use super::error::ReadingError;
use super::ext4_inode::{Inode, damaged};
use super::section::{text_of, u16_at, u32_at};
use crate::ext4::acl;

const MAGIC: u32 = 0xea02_0000;

/// What the names' first parts are written as.
const PREFIXES: [(u8, &str); 7] = [
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
    (8, "system.richacl"),
];

/// Returns all attributes of an inode.
pub(crate) fn of(inode: &Inode, block: Option<&[u8]>) -> Result<BTreeMap<String, Vec<u8>>, ReadingError> {
    let mut found = BTreeMap::new();
    let start = 128 + usize::from(u16_at(&inode.bytes, 128));
    if inode.bytes.len() > 128 && start + 4 <= inode.bytes.len() && u32_at(&inode.bytes, start) == MAGIC {
        // The offsets of values count from the first entry.
        let area = &inode.bytes[start + 4..];
        read(inode, area, 0, &mut found)?;
    }
    if let Some(block) = block {
        if u32_at(block, 0) != MAGIC {
            return Err(damaged(format!(
                "the attributes of inode {} are not in the form of attributes",
                inode.number
            )));
        }
        // Here they count from the block's start, and entries follow a header of 32 bytes.
        read(inode, block, 32, &mut found)?;
    }
    Ok(found)
}

fn read(
    inode: &Inode,
    area: &[u8],
    mut at: usize,
    found: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), ReadingError> {
    let broken = || damaged(format!("an attribute of inode {} is broken", inode.number));
    while at + 4 <= area.len() && u32_at(area, at) != 0 {
        let (length, index) = (usize::from(area[at]), area[at + 1]);
        let (offset, size) = (usize::from(u16_at(area, at + 2)), u32_at(area, at + 8) as usize);
        if u32_at(area, at + 4) != 0 {
            let feature = format!("attributes in inodes of their own (inode {})", inode.number);
            return Err(ReadingError::Unsupported { what: "the ext4 file system", feature });
        }
        let name = area.get(at + 16..at + 16 + length).ok_or_else(broken)?;
        let value = area.get(offset..offset.saturating_add(size)).ok_or_else(broken)?;
        let prefix = PREFIXES.iter().find(|(known, _)| *known == index).map_or("", |(_, prefix)| prefix);
        let name = format!("{prefix}{}", text_of(name));
        let value = match acl::attribute(&name, value) {
            None => value.to_vec(),
            Some(value) => value.map_err(|_| broken())?,
        };
        found.insert(name, value);
        at += (16 + length).next_multiple_of(4);
    }
    Ok(())
}
