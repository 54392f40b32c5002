//! `pib lock --as-of`: what it refuses, without an engine and without an archive.

use std::fs;

use pib_plan::lockfile::{FILE_NAME, Lockfile};

use crate::apt_archive::AptArchive;
use crate::bench::{Bench, PROJECT};
use crate::site::succeeds;
use crate::web;

/// Has the user ask a server that has nothing for archives of the past; returns its address.
fn empty_past(bench: &Bench) -> String {
    use std::io::Write as _;
    let address = web::serve(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let config = bench.folder.path().join(".config/pib");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), format!("[network]\nsnapshots = \"{address}/archive\"\n")).unwrap();
    address
}

/// Runs what must fail, say these things, and leave the lock as it is.
fn refused(bench: &Bench, date: &str, code: i32, say: &[&str]) {
    let lock = || fs::read_to_string(bench.path(FILE_NAME)).ok();
    let before = lock();
    let ran = bench.run(&["lock", "--as-of", date]);
    let flat: Vec<&str> = ran.errors.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect();
    assert_eq!(ran.code, Some(code), "{date}: {}", ran.errors);
    for part in say {
        assert!(flat.join(" ").contains(part), "{date}: no {part} in {}", ran.errors);
    }
    assert_eq!(lock(), before, "the lock was changed");
}

#[test]
fn days_that_nobody_can_ask_for_are_refused() {
    let bench = Bench::new(PROJECT);
    let address = empty_past(&bench);
    succeeds(&bench, &["lock"]);
    for text in ["", "yesterday", "2025-02-30", "2025-13-01", "25-01-01", "2025-01-01T00:00:00"] {
        refused(&bench, text, 2, &["is not a day or a moment", "--as-of 2026-03-01"]);
    }
    refused(&bench, "9999-01-01", 2, &["9999-01-01T00:00:00Z is in the future"]);
    let place = format!("{address}/archive/debian/20190101T000000Z");
    refused(
        &bench,
        "2019-01-01",
        8,
        &["nothing as of 2019-01-01T00:00:00Z", &place, "no release `trixie` then", "choose a later day"],
    );
    refused(&bench, "1999-12-31T23:59:59Z", 8, &["it begins on 2005-03-12"]);
    // Two answers to one question.
    assert_eq!(bench.run(&["lock", "--as-of", "2025-01-01", "--locked"]).code, Some(2));
}

#[test]
fn an_archive_without_a_past_is_refused() {
    let archive = AptArchive::new("trixie");
    let address = archive.serve("127.0.0.1", None);
    let manifest = PROJECT.replace("[stages]", "[stages]\n__init__ = { path = \"stages/__init__\" }");
    let bench = Bench::new(&manifest.replace("\"debian\"", "\"raspios\""));
    let base = format!(
        "phase = \"init\"\n\n[base.raspios]\nbootstrap = \"debian\"\n\n[[base.raspios.archive]]\nname = \"mine\"\n{}",
        archive.table(&address)
    );
    bench.stage("__init__", &base, Some("RUN true\n"));
    refused(&bench, "2025-11-02", 8, &["the archive `mine` has no archive of the past", "without --as-of"]);
}

#[test]
fn a_project_that_takes_nothing_from_an_archive_is_told_so() {
    let digest = pib_plan::id::Digest::of(b"base");
    let bench = Bench::new(&format!("{PROJECT}\n[base]\nimage = \"debian@{digest}\"\n"));
    refused(&bench, "2025-11-02", 2, &["--as-of changes nothing", "network = \"recorded\""]);
    // What its parts fetch is of that day, if it is recorded.
    let text = fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &(text + "\n[build]\nnetwork = \"recorded\"\n"));
    succeeds(&bench, &["lock", "--as-of", "2025-11-02"]);
    let lock = || Lockfile::parse(FILE_NAME, &fs::read_to_string(bench.path(FILE_NAME)).unwrap()).unwrap();
    let moment = Some("2025-11-02T00:00:00Z".parse().unwrap());
    assert_eq!((lock().as_of, lock().snapshot, lock().fetch), (moment, moment, None));
    // It stays until packages move.
    for args in [&["lock"][..], &["update", "--base"], &["add", "ro"]] {
        succeeds(&bench, args);
        assert_eq!((lock().as_of, lock().snapshot), (moment, moment), "{args:?}");
    }
    succeeds(&bench, &["update", "--packages"]);
    assert!(lock().as_of.is_none() && lock().snapshot > moment);
}

/// A lock that is lost takes the recording that belongs to it along, unless somebody says so.
#[test]
fn a_recording_without_its_lock_is_not_replaced() {
    let digest = pib_plan::id::Digest::of(b"base");
    let bench = Bench::new(&format!(
        "{PROJECT}\n[base]\nimage = \"debian@{digest}\"\n\n[build]\nnetwork = \"recorded\"\n"
    ));
    succeeds(&bench, &["lock"]);
    let commands = [&["lock"][..], &["build"], &["plan"], &["update", "os"], &["fetch"]];
    bench.write("pib.fetch.lock", "{\"v\":1}\n");
    for args in commands {
        bench.fails(args, 3, &["pib.fetch.lock, and pib.lock does not name it", "version control"]);
    }
    fs::remove_file(bench.path(FILE_NAME)).unwrap();
    for args in commands {
        bench.fails(args, 3, &["pib.fetch.lock, and not the pib.lock that it belongs to", "version control"]);
    }
    // A new snapshot is wanted.
    succeeds(&bench, &["update"]);
    assert!(!bench.path("pib.fetch.lock").exists());
    succeeds(&bench, &["lock", "--locked"]);
}
