use super::*;
use pib_disk::pax;

/// Builds a tar: path, type, content or link target, time.
fn tar(items: &[(&str, EntryType, &str, u64)], xattr: bool) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text, mtime) in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_uid(5);
        header.set_gid(6);
        header.set_mtime(*mtime);
        header.set_username("somebody").unwrap();
        header.set_size(0);
        if xattr && *kind == EntryType::Regular {
            builder
                .append_pax_extensions([
                    ("mtime", &b"1.5"[..]),
                    ("SCHILY.xattr.security.capability", &b"\x01\0\n"[..]),
                ])
                .unwrap();
        }
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            builder.append_link(&mut header, path, text).unwrap();
        } else {
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn run(input: &[u8]) -> io::Result<(Digest, Vec<u8>)> {
    let (mut output, mut spool) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let (digest, size) = normalise(input, &mut output, &mut spool, 100)?;
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
    Ok((digest, bytes))
}

fn paths(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    let list = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display()));
        format!("{}{}", entry.path().unwrap().display(), link.unwrap_or_default())
    });
    list.collect()
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;

#[test]
fn order_and_times_of_the_input_do_not_matter() {
    let one =
        tar(&[("b/", DIR, "", 400), ("b/x", FILE, "data", 300), ("a", EntryType::Symlink, "b", 7)], false);
    let two = tar(
        &[("./a", EntryType::Symlink, "b", 7), ("./b/", DIR, "", 200), ("./b/x", FILE, "data", 500)],
        false,
    );
    let (first, second) = (run(&one).unwrap(), run(&two).unwrap());
    assert_eq!(first.0, second.0);
    assert_eq!(paths(&first.1), ["a -> b", "b/", "b/x"]);
    let times: Vec<u64> = tar::Archive::new(&first.1[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().header().mtime().unwrap())
        .collect();
    assert_eq!(times, [7, 100, 100]);
}

#[test]
fn what_the_engine_and_the_run_left_is_dropped() {
    let input = tar(
        &[
            (".dockerenv", FILE, "", 1),
            ("dev/", DIR, "", 1),
            ("dev/console", FILE, "", 1),
            ("etc/hosts", FILE, "x", 1),
            ("etc/machine-id", FILE, "x", 1),
            ("etc/passwd", FILE, "x", 1),
            (".pib-bootstrap/run", FILE, "x", 1),
            ("var/log/dpkg.log", FILE, "x", 1),
            ("var/log/wtmp", FILE, "", 1),
            ("var/cache/ldconfig/aux-cache", FILE, "x", 1),
            ("var/cache/apt/archives/", DIR, "", 1),
            ("var/cache/apt/archives/lock", FILE, "", 1),
            ("var/lib/dpkg/status", FILE, "x", 1),
            ("var/lib/dpkg/status-old", EntryType::Link, "var/lib/dpkg/status", 1),
            ("tmp/", DIR, "", 1),
            ("tmp/x", FILE, "", 1),
        ],
        false,
    );
    assert_eq!(
        paths(&run(&input).unwrap().1),
        ["dev/", "etc/passwd", "tmp/", "var/cache/apt/archives/", "var/lib/dpkg/status", "var/log/wtmp"]
    );
}

#[test]
fn hard_links_keep_together_whichever_name_came_first() {
    let one = tar(&[("z", FILE, "data", 1), ("a", EntryType::Link, "z", 1)], false);
    let two = tar(&[("a", FILE, "data", 1), ("z", EntryType::Link, "a", 1)], false);
    let (first, second) = (run(&one).unwrap(), run(&two).unwrap());
    assert_eq!(paths(&first.1), ["a", "z -> a"]);
    assert_eq!(first.0, second.0);
}

#[test]
fn owners_modes_and_attributes_stay_and_names_go() {
    let (_, bytes) = run(&tar(&[("x", FILE, "data", 1)], true)).unwrap();
    let mut found = Vec::new();
    pax::for_each(&bytes[..], |meta, _| {
        found.push(meta);
        Ok(())
    })
    .unwrap();
    let meta = &found[0];
    assert_eq!((meta.mode, meta.uid, meta.gid, meta.mtime), (0o4755, 5, 6, 1));
    assert_eq!(
        meta.xattrs.iter().collect::<Vec<_>>(),
        [(&"security.capability".to_owned(), &b"\x01\0\n".to_vec())]
    );
    let mut archive = tar::Archive::new(&bytes[..]);
    let entry = archive.entries().unwrap().raw(true).last().unwrap().unwrap();
    assert_eq!(entry.header().username_bytes(), Some(&b""[..]));
}

#[test]
fn hostile_or_broken_input_is_refused() {
    let mut bad_path = tar(&[("a/bb/c", FILE, "x", 1)], false);
    // The library refuses to write such a path, so it is patched in, with the checksum it then needs.
    bad_path[..6].copy_from_slice(b"a/../c");
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bad_path[..512]);
    header.set_cksum();
    bad_path[..512].copy_from_slice(header.as_bytes());
    let bad_link = tar(&[("a", EntryType::Link, "nosuch", 1)], false);
    let cut = {
        let mut bytes = tar(&[("a", FILE, &"x".repeat(2000), 1)], false);
        bytes.truncate(1024);
        bytes
    };
    for bad in [bad_path, bad_link, cut, vec![7; 1024]] {
        assert!(run(&bad).is_err());
    }
}

#[test]
fn the_newest_file_is_none_that_the_engine_made() {
    let mut builder = Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, mtime: u64| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(mtime);
        builder.append_data(&mut header, path, io::empty()).unwrap();
    };
    for (path, mtime) in
        [("etc/old", 3), ("./usr/bin/new", 7), (".dockerenv", 90), ("etc/hosts", 90), ("run/x", 90)]
    {
        add(path, EntryType::Regular, mtime);
    }
    add("etc", EntryType::Directory, 90);
    let bytes = builder.into_inner().unwrap();
    assert_eq!(newest_file(&bytes[..]).unwrap(), 7);
    assert!(newest_file(&bytes[..700]).is_err());
    assert_eq!(newest_file(&[0; 1024][..]).unwrap(), 0);
}
