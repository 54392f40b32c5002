use super::*;

/// One entry of a tar that no honest tool would write: path, type, link target or content.
type Item<'a> = (&'a str, EntryType, &'a str);

fn tar(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in items {
        let mut header = Header::new_gnu();
        // Written by hand, because the library refuses hostile paths.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1000);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let data = if is_link { "" } else { *text };
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Adds one tar after the other to a new tree and lists what the tree has.
fn tree(packages: &[&[Item]]) -> io::Result<Vec<String>> {
    let mut tree = Tree::new(Vec::new(), 5);
    tree.merge_usr()?;
    for items in packages {
        tree.add_package(&tar(items)[..])?;
    }
    let bytes = tree.finish()?;
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut lines = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut line = entry.path()?.display().to_string();
        if let Some(target) = entry.link_name()? {
            line += &format!(" -> {}", target.display());
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        if !text.is_empty() {
            line += &format!(" = {text}");
        }
        lines.push(line);
    }
    Ok(lines)
}

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;
const SYM: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn packages_are_laid_over_each_other_with_a_merged_usr() {
    let lines = tree(&[
        &[("./", DIR, ""), ("./bin/", DIR, ""), ("./bin/sh", SYM, "dash"), ("./bin/dash", FILE, "x")],
        &[
            ("./lib64", SYM, "usr/lib64"),
            ("./usr/", DIR, ""),
            ("./usr/bin/", DIR, ""),
            ("./usr/bin/perl", FILE, "p"),
            ("./usr/bin/perl5", HARD, "./usr/bin/perl"),
            ("./sbin/x", HARD, "./bin/dash"),
            ("./usr/bin/dash", FILE, "the first one stays"),
        ],
    ]);
    assert_eq!(
        lines.unwrap(),
        [
            "usr/",
            "usr/bin/",
            "bin -> usr/bin",
            "usr/sbin/",
            "sbin -> usr/sbin",
            "usr/lib/",
            "lib -> usr/lib",
            "usr/bin/sh -> dash",
            "usr/bin/dash = x",
            "usr/lib64/",
            "lib64 -> usr/lib64",
            "usr/bin/perl = p",
            "usr/bin/perl5 -> usr/bin/perl",
            "usr/sbin/x -> usr/bin/dash",
        ]
    );
}

#[test]
fn owners_modes_and_times_are_kept_and_long_paths_work() {
    let long = format!("usr/{}/{}", "d".repeat(120), "f".repeat(120));
    let mut tree = Tree::new(Vec::new(), 5);
    let mut source = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1000);
    header.set_size(1);
    source.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let source = source.into_inner().unwrap();
    tree.add_package(&source[..]).unwrap();
    let bytes = tree.finish().unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("f".repeat(120)));
    let entry = entry.unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some(long.as_str()));
    let header = entry.header();
    let found =
        (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap());
    assert_eq!(found, (0o4755, 7, 8, 1000));
}

#[test]
fn hostile_entries_are_refused() {
    let cases: [&[Item]; 8] = [
        &[("../x", FILE, "x")],
        &[("./usr/../../x", FILE, "x")],
        &[("/etc/x", FILE, "x")],
        &[("x", HARD, "../../etc/passwd")],
        &[("x", HARD, "nosuch")],
        &[("a", SYM, "/etc"), ("a/passwd", FILE, "x")],
        &[("dev/sda", EntryType::Block, "")],
        &[("a", FILE, "x"), ("a/b", FILE, "x")],
    ];
    for items in cases {
        let problem = tree(&[items]).unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::InvalidData, "{items:?}: {problem}");
    }
}
