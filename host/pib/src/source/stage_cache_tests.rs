use std::sync::Barrier;
use std::thread;

use super::super::leftovers;
use super::super::testing::{stage, write};
use super::*;
use archive::{Packed, pack};

struct Fixture {
    temp: tempfile::TempDir,
    packed: Packed,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let root = stage(temp.path(), "demo", "1.0.0");
    write(&root, &[("files/etc/demo.conf", &"x = 1\n".repeat(5000))]);
    Fixture { packed: pack(&root, "demo").unwrap(), temp }
}

impl Fixture {
    fn cache(&self) -> StageCache {
        StageCache::new(&self.temp.path().join("cache"))
    }

    fn content(&self) -> Digest {
        self.packed.package.content
    }

    fn insert(&self) -> Result<CachedStage, SourceError> {
        let (checksum, content) = (self.packed.checksum, self.content());
        self.cache().insert(
            &self.packed.archive,
            &Promise { what: "demo 1.0.0", checksum, content, has_modes: false },
        )
    }

    fn leftovers(&self) -> usize {
        self.temp.path().join("cache/stages/tmp").read_dir().unwrap().count()
    }
}

#[test]
fn a_stage_is_found_where_it_was_put() {
    let fixture = fixture();
    assert_eq!(fixture.cache().find(fixture.content()).unwrap(), None);
    let put = fixture.insert().unwrap();
    assert_eq!(put.listing.files, fixture.packed.package.files);
    assert_eq!(fixture.cache().find(fixture.content()).unwrap(), Some(put.clone()));
    assert_eq!(fixture.insert().unwrap(), put);
    assert_eq!(fixture.leftovers(), 0);
}

#[test]
fn damage_is_noticed_and_mended() {
    let fixture = fixture();
    let root = fixture.insert().unwrap().root;
    let damages: [&dyn Fn(); 6] = [
        &|| fs::write(root.join("files/etc/demo.conf"), "x = 2\n").unwrap(),
        &|| fs::remove_file(root.join("stage.toml")).unwrap(),
        &|| fs::write(root.join("more"), "").unwrap(),
        &|| std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap(),
        &|| {
            write(&root, &[("stage.toml*", "")]);
        },
        &|| {
            fs::remove_dir_all(&root).unwrap();
            fs::write(&root, "a file where the folder must be").unwrap();
        },
    ];
    for damage in damages {
        damage();
        assert_eq!(fixture.cache().find(fixture.content()).unwrap(), None);
        assert!(!root.exists());
        fixture.insert().unwrap();
        damage();
        // Also when the damage is met only on the way in.
        assert_eq!(fixture.insert().unwrap().listing.files, fixture.packed.package.files);
        assert!(fixture.cache().find(fixture.content()).unwrap().is_some());
    }
    assert_eq!(fixture.leftovers(), 0);
}

#[test]
fn a_refused_archive_leaves_nothing() {
    let fixture = fixture();
    let checksum = fixture.packed.checksum;
    let promise = Promise { what: "demo 1.0.0", checksum, content: Digest::of(b"other"), has_modes: false };
    let error = fixture.cache().insert(&fixture.packed.archive, &promise).unwrap_err();
    assert!(matches!(error, SourceError::WrongDigest { .. }), "{error}");
    assert_eq!(fixture.leftovers(), 0);
    assert_eq!(fixture.temp.path().join("cache/stages").read_dir().unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_left_is_removed_after_a_day() {
    let fixture = fixture();
    fixture.insert().unwrap();
    let temp = fixture.temp.path().join("cache/stages/tmp");
    write(&temp.join("old"), &[("x", "")]);
    write(&temp.join("new"), &[("x", "")]);
    let past = std::time::SystemTime::now() - leftovers::STALE - std::time::Duration::from_secs(60);
    File::open(temp.join("old")).unwrap().set_modified(past).unwrap();
    fixture.insert().unwrap();
    assert!(!temp.join("old").exists() && temp.join("new").exists());
}

#[test]
fn what_is_in_use_stays_when_the_clock_jumps() {
    let fixture = fixture();
    let root = fixture.temp.path().join("cache/stages");
    let used = leftovers::TempFolder::new(&root).unwrap();
    let past = std::time::SystemTime::now() - leftovers::STALE * 400;
    File::open(used.path()).unwrap().set_modified(past).unwrap();
    fixture.insert().unwrap();
    assert!(used.path().exists());
    let path = used.path().to_owned();
    // As a kill does it: the lock ends, the folder stays.
    used.keep();
    fixture.insert().unwrap();
    assert!(!path.exists());
}

#[test]
fn many_at_once_all_succeed() {
    let fixture = fixture();
    let barrier = Barrier::new(24);
    thread::scope(|scope| {
        for number in 0..24 {
            let (fixture, barrier) = (&fixture, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..20 {
                    if number == 0 && round % 5 == 4 {
                        let _ = fs::write(fixture.cache().folder(fixture.content()).join("stray"), "");
                    }
                    let stage = match fixture.cache().find(fixture.content()).unwrap() {
                        Some(stage) => stage,
                        None => fixture.insert().unwrap(),
                    };
                    assert_eq!(stage.listing.files, fixture.packed.package.files);
                }
            });
        }
    });
    assert_eq!(fixture.leftovers(), 0);
}
