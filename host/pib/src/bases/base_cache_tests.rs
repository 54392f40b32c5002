use pib_plan::id::Arch;

use super::*;
use pib_event::Silent;

fn recipe() -> Bootstrap {
    Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch: Arch::Arm64,
        mirror: None,
        security_mirror: None,
        include: vec!["b".to_owned(), "a".to_owned()],
    }
}

fn tree() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, "etc/x", &b"data"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_stored_base_is_found_by_digest_and_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path().join("cache"));
    assert_eq!(cache.find_recipe(&recipe()), None);
    let lock = cache.lock(&Silent).unwrap();
    let base = cache.store(&lock, &tree()[..], &recipe(), 9).unwrap();
    assert_eq!(digest_file(&base.path).unwrap(), base.digest);
    assert_eq!(cache.find(base.digest), Some(base.clone()));
    assert_eq!(cache.find_recipe(&recipe()), Some(base.clone()));
    let mirrored = Bootstrap {
        mirror: Some("http://x.example/debian".to_owned()),
        include: vec!["a".to_owned(), "b".to_owned(), "b".to_owned()],
        ..recipe()
    };
    assert_eq!(cache.find_recipe(&mirrored), Some(base));
    assert_eq!(cache.find_recipe(&Bootstrap { arch: Arch::Armv7, ..recipe() }), None);
    assert_eq!(cache.find_recipe(&Bootstrap { include: vec![], ..recipe() }), None);
    assert_eq!(fs::read_dir(cache.temp()).unwrap().count(), 0);
}

#[test]
fn a_broken_stream_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    let cut = &tree()[..700];
    assert!(matches!(cache.store(&lock, cut, &recipe(), 9), Err(BaseError::Stream(_))));
    assert_eq!(cache.find_recipe(&recipe()), None);
    let tars = fs::read_dir(folder.path().join("bases")).unwrap();
    assert_eq!(tars.flatten().filter(|entry| entry.path().extension().is_some()).count(), 0);
}

#[test]
fn the_lock_excludes_others_and_clears_what_a_killed_process_left() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    fs::write(cache.temp().join("left-over"), "x").unwrap();
    let other = File::options().write(true).open(folder.path().join("bases/lock")).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    drop(lock);
    let _lock = cache.lock(&Silent).unwrap();
    assert!(!cache.temp().join("left-over").exists());
}

#[test]
fn what_is_forgotten_is_made_anew_and_still_found_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    let base = cache.store(&lock, &tree()[..], &recipe(), 9).unwrap();
    let machine = pib_plan::native::Machine::Amd64;
    let companion = CompanionRecipe::of(&recipe(), machine, b"run").unwrap();
    let mut file = tempfile::NamedTempFile::new_in(cache.temp()).unwrap();
    file.write_all(b"tar").unwrap();
    let stored = cache.store_companion(&lock, file, &companion).unwrap();
    assert_eq!(cache.find_companion(&companion), Some(stored.clone()));
    for _ in 0..2 {
        cache.forget(&recipe()).unwrap();
        cache.forget_companion(&companion).unwrap();
    }
    assert_eq!((cache.find_recipe(&recipe()), cache.find_companion(&companion)), (None, None));
    assert_eq!((cache.find(base.digest), cache.find(stored.digest)), (Some(base), Some(stored)));
}
