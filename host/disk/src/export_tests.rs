use pib_plan::id::Digest;

use super::*;
use pib_event::Silent;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(900);
    header.set_size(size);
    header
}

/// A root file system with one of each, and names that no header takes.
fn rootfs() -> Vec<u8> {
    let long = format!("usr/{}/{}", "d".repeat(90), "f".repeat(90));
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Directory, 0), "usr/", io::empty()).unwrap();
    builder.append_pax_extensions([("SCHILY.xattr.user.a", &b"x\0\ny"[..])]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 2), "usr/file", &b"hi"[..]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 4), &long, &b"long"[..]).unwrap();
    builder.append_link(&mut header(EntryType::Link, 0), "usr/hard", "usr/file").unwrap();
    builder.append_link(&mut header(EntryType::Symlink, 0), "usr/soft", &long).unwrap();
    builder.append_data(&mut header(EntryType::Fifo, 0), "usr/fifo", io::empty()).unwrap();
    let mut device = header(EntryType::Char, 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    builder.append_data(&mut device, "usr/null", io::empty()).unwrap();
    builder.append_data(&mut header(EntryType::Directory, 0), "tmp/", io::empty()).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 1), "tmp/trace", &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn out_at(path: &Path) -> Output {
    Output::at(path).unwrap()
}

fn identity() -> Identity {
    Identity {
        hostname: "pi".to_owned(),
        epoch: 50,
        seed: Digest::of(b""),
        mount_points: std::collections::BTreeSet::new(),
    }
}

#[test]
fn a_tar_has_everything_and_is_the_same_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
    let exported = write_tar(rootfs().as_slice(), &identity(), &out_at(&one), &Silent).unwrap();
    assert!(exported.losses.is_empty());
    // What was written reads as the same tree again.
    write_tar(File::open(&one).unwrap(), &identity(), &out_at(&two), &Silent).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let spool = tempfile::tempfile().unwrap();
    let tree = crate::read::read(File::open(&one).unwrap(), &spool, &Silent).unwrap();
    let file = tree.get("usr/file").unwrap();
    assert_eq!((file.uid, file.gid, file.mtime), (7, 8, 50));
    assert_eq!(file.xattrs["user.a"], b"x\0\ny");
    assert_eq!(tree.get("usr/hard"), Some(file));
    assert_eq!(tree.get("usr/null").unwrap().kind, Kind::CharDevice { major: 1, minor: 3 });
    assert!(
        tree.get("tmp/trace").is_none()
            && tree.get(&format!("usr/{}/{}", "d".repeat(90), "f".repeat(90))).is_some()
    );
    assert!(write_tar(&b"no tar at all"[..], &identity(), &out_at(&one), &Silent).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_folder_has_what_this_user_may_have() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("root");
    let exported = write_folder(rootfs().as_slice(), &identity(), &out_at(&out), &Silent).unwrap();
    assert_eq!(fs::read(out.join("usr/file")).unwrap(), b"hi");
    let metadata = fs::metadata(out.join("usr/file")).unwrap();
    assert_eq!((metadata.nlink(), metadata.mtime(), metadata.mode() & 0o777), (2, 50, 0o755));
    assert_eq!(fs::metadata(out.join("usr")).unwrap().mtime(), 50);
    assert!(fs::read_link(out.join("usr/soft")).unwrap().to_string_lossy().starts_with("usr/dd"));
    assert_eq!(fs::read_to_string(out.join("etc/hostname")).ok(), None);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(out.join("usr/null").exists(), is_root);
    assert_eq!(exported.losses.iter().any(|loss| loss.contains("owner")), !is_root, "{:?}", exported.losses);
    // Somebody's files stay.
    assert!(write_folder(rootfs().as_slice(), &identity(), &out_at(&out), &Silent).is_err());
    assert!(write_folder(&[7; 2000][..], &identity(), &out_at(&folder.path().join("new")), &Silent).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
