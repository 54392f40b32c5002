use pib_plan::id::Arch;
use pib_plan::snapshot::{ArchiveSnapshot, SnapshotPackage};

use super::*;
use pib_debian::CompanionRecipe;
use pib_event::Silent;

fn recipe() -> Bootstrap {
    Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch: Arch::Arm64,
        mirror: None,
        security_mirror: None,
        include: vec!["b".to_owned(), "a".to_owned()],
        archives: Vec::new(),
    }
}

fn snapshot() -> BaseSnapshot {
    let package = SnapshotPackage {
        name: "a".to_owned(),
        version: "1".to_owned(),
        arch: "all".to_owned(),
        archive: "debian".to_owned(),
        path: "pool/a.deb".to_owned(),
        size: 1,
        digest: Digest::of(b"a"),
        essential: true,
        automatic: false,
    };
    let archive =
        ArchiveSnapshot { name: "debian".to_owned(), moment: 9, key: "0A".to_owned(), keyring: None };
    BaseSnapshot { archives: vec![archive], packages: vec![package] }
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
    let base = cache.store(&lock, &tree()[..], &snapshot(), &recipe(), true).unwrap();
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
fn what_a_lock_names_is_no_other_projects_base() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    let base = cache.store(&lock, &tree()[..], &snapshot(), &recipe(), false).unwrap();
    assert_eq!(cache.find_recipe(&recipe()), None);
    assert_eq!(
        (cache.find(base.digest), cache.snapshot(base.digest)),
        (Some(base.clone()), Some(snapshot()))
    );
    let path = folder.path().join("bases/packages").join(base.digest.hex());
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["", "{", &text.replace("pool/", "../pool/"), &text.replace("\"a\"", "\"a b\"")] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(cache.snapshot(base.digest), None, "{damaged}");
    }
}

#[test]
fn what_pib_chose_is_what_projects_without_a_lock_get_once_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    assert_eq!((cache.choose(&recipe(), &snapshot()).unwrap(), cache.find_recipe(&recipe())), (None, None));
    let other = |change: &dyn Fn(&mut BaseSnapshot)| {
        let mut packages = snapshot();
        change(&mut packages);
        packages
    };
    let newer = other(&|own| own.packages[0].version = "2".to_owned());
    let elsewhere = other(&|own| own.packages[0].path = "pool/b.deb".to_owned());
    assert!(cache.is_chosen(&recipe(), &snapshot()) && cache.is_chosen(&recipe(), &elsewhere));
    assert!(!cache.is_chosen(&recipe(), &newer));
    assert!(!cache.is_chosen(&Bootstrap { include: vec![], ..recipe() }, &snapshot()));

    // A lock may name the same: what is made for it is found by its packages.
    let base = cache.store(&lock, &tree()[..], &snapshot(), &recipe(), false).unwrap();
    assert_eq!(cache.find_made_of(&recipe(), &elsewhere), Some(base.clone()));
    assert_eq!(cache.find_made_of(&recipe(), &newer), None);
    assert_eq!(cache.find_made_of(&Bootstrap { release: "sid".to_owned(), ..recipe() }, &snapshot()), None);
    assert_eq!(cache.find_recipe(&recipe()), None);
    assert_eq!(cache.choose(&recipe(), &snapshot()).unwrap(), Some(base.clone()));
    assert_eq!(cache.find_recipe(&recipe()), Some(base));
}

#[test]
fn a_broken_stream_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = BaseCache::new(folder.path());
    let lock = cache.lock(&Silent).unwrap();
    let cut = &tree()[..700];
    assert!(matches!(cache.store(&lock, cut, &snapshot(), &recipe(), true), Err(BaseError::Stream(_))));
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
    let base = cache.store(&lock, &tree()[..], &snapshot(), &recipe(), true).unwrap();
    let machine = pib_plan::native::Machine::Amd64;
    let companion = CompanionRecipe::of(&recipe(), machine, b"run").unwrap().key();
    let mut file = tempfile::NamedTempFile::new_in(cache.temp()).unwrap();
    file.write_all(b"tar").unwrap();
    let stored = cache.store_tools(&lock, file, companion).unwrap();
    assert_eq!(cache.find_tools(companion), Some(stored.clone()));
    for _ in 0..2 {
        cache.forget(&recipe()).unwrap();
        cache.forget_tools(companion).unwrap();
    }
    assert_eq!((cache.find_recipe(&recipe()), cache.find_tools(companion)), (None, None));
    assert_eq!((cache.find(base.digest), cache.find(stored.digest)), (Some(base), Some(stored)));
}
