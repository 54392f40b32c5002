use std::collections::BTreeMap;

use super::super::testing::{stage, write};
use super::*;

fn set(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
}

/// Gives all files and folders the modes that a checkout under this umask has.
fn check_out(root: &Path, umask: u32) {
    let all: Vec<_> = walkdir::WalkDir::new(root).into_iter().flatten().collect();
    for entry in all.into_iter().rev() {
        let bits = entry.metadata().unwrap().permissions().mode();
        let made = if entry.file_type().is_dir() || bits & 0o100 != 0 { 0o777 } else { 0o666 };
        set(entry.path(), made & !umask);
    }
}

fn listing(root: &Path) -> Listing {
    read(root, Modes::Recorded("stages/demo")).unwrap()
}

fn modes(listing: &Listing) -> BTreeMap<String, String> {
    let files = listing.files.iter().map(|file| (file.path.clone(), file.mode.to_string()));
    let folders = listing.folders.iter().map(|folder| (format!("{}/", folder.path), folder.mode.to_string()));
    files.chain(folders).collect()
}

fn record(root: &Path, records: &str) {
    let path = root.join(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n[modes]\n{records}")).unwrap();
}

#[test]
fn every_umask_gives_the_same_content() {
    let temp = tempfile::tempdir().unwrap();
    let root = stage(temp.path(), "demo", "1.0.0");
    write(&root, &[("files/etc/key", "x"), ("files/etc/conf", "x"), ("README.md", "x")]);
    record(
        &root,
        "\"files/etc/key\" = \"0600\"\n\"files/srv/\" = \"0700\"\n\"files/var/lib/app/\" = \"0755\"\n",
    );
    let expected = listing(&root);
    assert_eq!(expected.unrecorded, Vec::<String>::new());
    for umask in [0o022, 0o002, 0o027, 0o077, 0o007, 0] {
        check_out(&root, umask);
        assert_eq!(listing(&root), expected, "umask {umask:03o}");
    }
    // A folder that one may not write to, as a store of packages has them.
    for entry in walkdir::WalkDir::new(&root).contents_first(true).into_iter().flatten() {
        let is_folder = entry.file_type().is_dir() || entry.path().ends_with("usr/bin/demo");
        set(entry.path(), if is_folder { 0o555 } else { 0o444 });
    }
    assert_eq!(listing(&root), expected);
    check_out(&root, 0o022);
    let modes = modes(&expected);
    assert_eq!(modes["files/etc/key"], "0600");
    assert_eq!(modes["files/etc/conf"], "0644");
    assert_eq!(modes["files/usr/bin/demo"], "0755");
    assert_eq!((modes["files/srv/"].as_str(), modes["files/var/lib/app/"].as_str()), ("0700", "0755"));
}

#[test]
fn what_was_done_by_hand_is_kept_and_named() {
    type Case = (&'static dyn Fn(&Path), &'static str, &'static str);
    let cases: [Case; 7] = [
        (&|root| set(&root.join("files/etc/conf"), 0o600), "files/etc/conf", "0600"),
        (&|root| set(&root.join("files/etc/conf"), 0o440), "files/etc/conf", "0440"),
        (&|root| set(&root.join("files/etc/conf"), 0o666), "files/etc/conf", "0666"),
        (&|root| set(&root.join("files/usr/bin/demo"), 0o700), "files/usr/bin/demo", "0700"),
        (&|root| set(&root.join("files/etc"), 0o700), "files/etc/", "0700"),
        (&|root| set(&root.join("files/etc"), 0o777), "files/etc/", "0777"),
        (&|root| fs::create_dir_all(root.join("files/var/empty")).unwrap(), "files/var/empty/", "0755"),
    ];
    for (change, path, mode) in cases {
        let temp = tempfile::tempdir().unwrap();
        let root = stage(temp.path(), "demo", "1.0.0");
        write(&root, &[("files/etc/conf", "x")]);
        let before = listing(&root);
        change(&root);
        let after = listing(&root);
        assert_eq!(modes(&after).get(path).map(String::as_str), Some(mode), "{path}");
        assert_ne!(after.content, before.content, "{path}");
        let entry = format!("\"{path}\" = \"{mode}\"");
        assert_eq!(after.unrecorded, std::slice::from_ref(&entry), "{path}");
        // What is advised is what it takes.
        record(&root, &entry);
        assert_eq!(listing(&root).unrecorded, Vec::<String>::new(), "{path}");
        assert_eq!(modes(&listing(&root))[path], mode);
        // A copy as git makes it has the same by the record.
        if path.ends_with("empty/") {
            fs::remove_dir(root.join(path)).unwrap();
        }
        let before = listing(&root);
        check_out(&root, 0o027);
        assert_eq!(listing(&root), before, "{path}");
    }
}

#[test]
fn bits_that_no_copy_would_be_safe_with_are_refused() {
    let refused = |bits: u32, path: &str| {
        let temp = tempfile::tempdir().unwrap();
        let root = stage(temp.path(), "demo", "1.0.0");
        set(&root.join(path), bits);
        let refused = read(&root, Modes::Recorded(""));
        set(&root.join(path), 0o755);
        refused.err().map(|error| error.to_string())
    };
    for (bits, path) in
        [(0o4755, "files/usr/bin/demo"), (0o2755, "files/usr/bin/demo"), (0o1777, "files/usr")]
    {
        assert!(refused(bits, path).is_some_and(|error| error.contains("RUN chmod")), "{bits:o}");
    }
    // Folders inherit this one where groups share them.
    assert_eq!(refused(0o2775, "files/usr"), None);
    assert!(refused(0o555, "files/usr").is_some_and(|error| error.contains("everything")));
}

#[test]
fn records_of_what_is_not_there_are_shown_where_they_stand() {
    for (records, words) in [
        ("\"files/etc/kye\" = \"0600\"", "no such file"),
        ("\"files/usr/bin\" = \"0700\"", "no such file"),
        ("\"files/usr/bin/demo/\" = \"0700\"", "both a file and a folder"),
        ("\"FILES/x/\" = \"0700\"", "case only"),
        ("\".git\" = \"0700\"", "no such file"),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let root = stage(temp.path(), "demo", "1.0.0");
        record(&root, records);
        match read(&root, Modes::Recorded("stages/demo")).unwrap_err() {
            SourceError::Manifest(error) => {
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.span().is_some_and(|span| span.start > 40), "{records}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pointer_of_git_lfs_is_not_taken_for_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let root = stage(temp.path(), "demo", "1.0.0");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    write(&root, &[("files/firmware.bin", pointer)]);
    let error = read(&root, Modes::Recorded("")).unwrap_err();
    assert!(
        matches!(&error, SourceError::LfsPointer { path } if path.ends_with("firmware.bin")),
        "{error:?}"
    );
    // What was published before stays as it is, and a text about pointers is none.
    read(&root, Modes::First).unwrap();
    write(&root, &[("files/firmware.bin", &format!("{pointer}{}", "x".repeat(2000)))]);
    read(&root, Modes::Recorded("")).unwrap();
}
