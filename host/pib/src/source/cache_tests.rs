use std::sync::Barrier;
use std::thread;

use super::super::testing::{stage, write};
use super::*;
use archive::{Packed, pack};

struct Place {
    temp: tempfile::TempDir,
    packed: Packed,
}

fn place() -> Place {
    let temp = tempfile::tempdir().unwrap();
    let root = stage(temp.path(), "demo", "1.0.0");
    write(&root, &[("files/etc/demo.conf", &"x = 1\n".repeat(5000))]);
    Place { packed: pack(&root, "demo").unwrap(), temp }
}

impl Place {
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
    let place = place();
    assert_eq!(place.cache().find(place.content()).unwrap(), None);
    let put = place.insert().unwrap();
    assert_eq!(put.listing.files, place.packed.package.files);
    assert_eq!(place.cache().find(place.content()).unwrap(), Some(put.clone()));
    assert_eq!(place.insert().unwrap(), put);
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn damage_is_noticed_and_mended() {
    let place = place();
    let root = place.insert().unwrap().root;
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
        assert_eq!(place.cache().find(place.content()).unwrap(), None);
        assert!(!root.exists());
        place.insert().unwrap();
        damage();
        // Also when the damage is met only on the way in.
        assert_eq!(place.insert().unwrap().listing.files, place.packed.package.files);
        assert!(place.cache().find(place.content()).unwrap().is_some());
    }
    assert_eq!(place.leftovers(), 0);
}

#[test]
fn a_refused_archive_leaves_nothing() {
    let place = place();
    let checksum = place.packed.checksum;
    let promise = Promise { what: "demo 1.0.0", checksum, content: Digest::of(b"other"), has_modes: false };
    let error = place.cache().insert(&place.packed.archive, &promise).unwrap_err();
    assert!(matches!(error, SourceError::WrongDigest { .. }), "{error}");
    assert_eq!(place.leftovers(), 0);
    assert_eq!(place.temp.path().join("cache/stages").read_dir().unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_left_is_removed_after_a_day() {
    let place = place();
    place.insert().unwrap();
    let temp = place.temp.path().join("cache/stages/tmp");
    write(&temp.join("old"), &[("x", "")]);
    write(&temp.join("new"), &[("x", "")]);
    let past = std::time::SystemTime::now() - leftovers::STALE - std::time::Duration::from_secs(60);
    File::open(temp.join("old")).unwrap().set_modified(past).unwrap();
    place.insert().unwrap();
    assert!(!temp.join("old").exists() && temp.join("new").exists());
}

#[test]
fn many_at_once_all_succeed() {
    let place = place();
    let barrier = Barrier::new(24);
    thread::scope(|scope| {
        for number in 0..24 {
            let (place, barrier) = (&place, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..20 {
                    if number == 0 && round % 5 == 4 {
                        let _ = fs::write(place.cache().folder(place.content()).join("stray"), "");
                    }
                    let stage = match place.cache().find(place.content()).unwrap() {
                        Some(stage) => stage,
                        None => place.insert().unwrap(),
                    };
                    assert_eq!(stage.listing.files, place.packed.package.files);
                }
            });
        }
    });
    assert_eq!(place.leftovers(), 0);
}
