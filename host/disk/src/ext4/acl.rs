//! POSIX ACLs, which ext4 keeps in a form of its own.
//!
//! As an attribute (linux/posix_acl_xattr.h) an ACL is the version 2 and, for each entry, tag and permissions of
//! 16 bits and an id of 32; on disk (fs/ext4/acl.h) it is the version 1, and only entries that name a user or a
//! group have an id. All little-endian.

/// The tags of entries that name a user or a group.
const NAMED: [u16; 2] = [0x02, 0x08];

/// Returns the form of an ACL on disk; `None` where the attribute is no ACL.
pub(crate) fn on_disk(name: &str, value: &[u8]) -> Option<Result<Vec<u8>, String>> {
    if !["system.posix_acl_access", "system.posix_acl_default"].contains(&name) {
        return None;
    }
    let malformed = || format!("its attribute {name} is no ACL");
    let Some((version, entries)) = value.split_at_checked(4) else { return Some(Err(malformed())) };
    if version != 2_u32.to_le_bytes() || entries.len() % 8 != 0 {
        return Some(Err(malformed()));
    }
    let mut out = 1_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let named = NAMED.contains(&u16::from_le_bytes([entry[0], entry[1]]));
        out.extend(&entry[..if named { 8 } else { 4 }]);
    }
    Some(Ok(out))
}

/// Returns an ACL as an attribute, of its form on disk; `None` where the attribute is no ACL.
pub(crate) fn attribute(name: &str, disk: &[u8]) -> Option<Result<Vec<u8>, String>> {
    if !["system.posix_acl_access", "system.posix_acl_default"].contains(&name) {
        return None;
    }
    let malformed = || Some(Err(format!("its attribute {name} is no ACL")));
    let Some((version, mut left)) = disk.split_at_checked(4) else { return malformed() };
    if version != 1_u32.to_le_bytes() {
        return malformed();
    }
    let mut out = 2_u32.to_le_bytes().to_vec();
    while let [tag, high, ..] = *left {
        let size = if NAMED.contains(&u16::from_le_bytes([tag, high])) { 8 } else { 4 };
        let Some((entry, rest)) = left.split_at_checked(size) else { return malformed() };
        out.extend(entry);
        if size == 4 {
            out.extend(u32::MAX.to_le_bytes());
        }
        left = rest;
    }
    Some(Ok(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_entries_keep_their_id() {
        let entry =
            |tag: u16, id: u32| [&tag.to_le_bytes()[..], &6_u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let value =
            [&2_u32.to_le_bytes()[..], &entry(1, u32::MAX), &entry(2, 1234), &entry(16, u32::MAX)].concat();
        let disk = on_disk("system.posix_acl_access", &value).unwrap().unwrap();
        assert_eq!(disk, [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 6, 0, 0xd2, 4, 0, 0, 16, 0, 6, 0]);
        assert_eq!(attribute("system.posix_acl_access", &disk), Some(Ok(value.clone())), "and back");
        assert_eq!(attribute("user.x", &disk), None);
        assert!(attribute("system.posix_acl_access", &disk[..10]).unwrap().is_err());
        assert_eq!(on_disk("user.x", &value), None);
        assert!(on_disk("system.posix_acl_default", &value[..10]).unwrap().is_err());
        assert!(on_disk("system.posix_acl_default", &[1; 12]).unwrap().is_err());
    }
}
