//! What may and may not be believed in a shared folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn sealed(folder: &tempfile::TempDir) -> Sealed {
    Sealed::new(folder.path().join("hooks"))
}

#[test]
fn what_was_kept_comes_back_also_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let cache = sealed(&folder);
    assert_eq!(cache.get("a"), None);
    cache.put("a", b"content");
    cache.put("empty", b"");
    assert_eq!(sealed(&folder).get("a").as_deref(), Some(&b"content"[..]));
    assert_eq!(sealed(&folder).get("empty").as_deref(), Some(&b""[..]));
    let key = cache.folder.join(KEY);
    assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(cache.folder.metadata().unwrap().mode() & 0o777, 0o700);
    // Nothing but the key and the two files: temporary files are gone.
    assert_eq!(cache.folder.read_dir().unwrap().count(), 3);
}

#[test]
fn a_changed_cut_renamed_or_foreign_file_counts_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = sealed(&folder);
    let path = cache.folder.join("a");
    cache.put("a", b"content");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(cache.get("a"), None, "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(cache.get("a"), None, "cut at {at}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(cache.get("a").is_some());
    fs::copy(&path, cache.folder.join("b")).unwrap();
    assert_eq!(cache.get("b"), None, "a file of another name");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(cache.folder.join("b"), &path).unwrap();
    assert_eq!(cache.get("a"), None, "a link");
    let (kept, removed) = cache.verify().unwrap();
    assert_eq!((kept, removed.len()), (0, 2));
}

#[test]
fn a_file_that_another_key_sealed_counts_as_missing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sealed(&one).put("a", b"theirs");
    let cache = sealed(&other);
    cache.put("b", b"ours");
    fs::copy(one.path().join("hooks/a"), cache.folder.join("a")).unwrap();
    assert_eq!(cache.get("a"), None);
}

#[test]
fn a_key_that_others_could_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    sealed(&folder).put("a", b"content");
    let key = folder.path().join("hooks").join(KEY);
    let before = fs::read(&key).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(sealed(&folder).get("a"), None);
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    sealed(&folder).put("a", b"content");
    fs::set_permissions(folder.path().join("hooks"), Permissions::from_mode(0o777)).unwrap();
    let cache = sealed(&folder);
    assert_eq!(cache.get("a"), None);
    cache.put("b", b"content");
    assert!(!cache.folder.join("b").exists());
    assert!(cache.trouble().unwrap().contains("others can write it"));
}

#[test]
fn the_first_of_many_keys_stays() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let folder = &folder;
            scope.spawn(move || sealed(folder).put(&format!("n{number}"), b"content"));
        }
    });
    let cache = sealed(&folder);
    for number in 0..8 {
        assert!(cache.get(&format!("n{number}")).is_some(), "n{number}");
    }
}
