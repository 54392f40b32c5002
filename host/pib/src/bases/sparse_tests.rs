use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

/// The distance between the pieces of a file, in bytes.
const FAR: u64 = 1 << 18;

/// Makes a folder with a file of many pieces that are `distance` bytes apart, one that begins with a hole, one that is
/// nothing but a hole, and more.
fn tree(distance: u64) -> tempfile::TempDir {
    use std::os::unix::fs::FileExt as _;
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
    let pieces = make("pieces");
    for number in 0..40_u64 {
        pieces.write_all_at(format!("piece {number}").as_bytes(), number * distance).unwrap();
    }
    pieces.set_len(40 * distance + 5).unwrap();
    let late = make("a-name-that-is-longer-than-a-header-has-room-for-".repeat(3).as_str());
    late.write_all_at(b"late", 12 * distance).unwrap();
    make("hole").set_len(4 * distance).unwrap();
    make("empty");
    fs::write(folder.path().join("plain"), "x".repeat(1000)).unwrap();
    std::os::unix::fs::symlink("plain", folder.path().join("link")).unwrap();
    fs::hard_link(folder.path().join("plain"), folder.path().join("same")).unwrap();
    folder
}

fn tar(folder: &Path, options: &[&str]) -> Vec<u8> {
    let output =
        Command::new("tar").args(options).arg("-C").arg(folder).args(["-cf", "-", "."]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Has the real tar unpack the bytes beside the folder, and compares.
fn assert_unpacks_to(bytes: &[u8], folder: &Path) {
    let (file, into) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempdir().unwrap());
    fs::write(file.path(), bytes).unwrap();
    let run = |program: &str, args: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("tar", &["-xf".as_ref(), file.path().as_ref(), "-C".as_ref(), into.path().as_ref()]);
    run("diff", &["-r".as_ref(), folder.as_ref(), into.path().as_ref()]);
}

fn copied(bytes: &[u8]) -> io::Result<(Vec<u8>, Contents)> {
    let mut output = Vec::new();
    let contents = copy(&mut &bytes[..], &mut output)?;
    Ok((output, contents))
}

#[test]
fn every_form_of_sparse_files_is_written_out() {
    let folder = tree(FAR);
    let forms: [&[&str]; 4] = [
        &["--sparse", "--format=gnu"],
        &["--sparse", "--format=pax", "--sparse-version=0.0"],
        &["--sparse", "--format=pax", "--sparse-version=0.1"],
        &["--sparse", "--format=pax", "--sparse-version=1.0"],
    ];
    for form in forms {
        let sparse = tar(folder.path(), form);
        assert!(sparse.len() < 1 << 20, "{form:?}: tar made no sparse files: {}", sparse.len());
        let (plain, contents) = copied(&sparse).unwrap();
        assert!(plain.len() > 14 << 20, "{form:?}: {}", plain.len());
        assert_eq!(contents.entries, 8, "{form:?}");
        let text = String::from_utf8_lossy(&plain);
        assert!(!text.contains("GNU.sparse") && !text.contains("GNUSparseFile"), "{form:?}");
        assert_unpacks_to(&plain, folder.path());
        let mut archive = tar::Archive::new(&plain[..]);
        let kinds: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().header().entry_type()).collect();
        assert!(!kinds.contains(&EntryType::GNUSparse), "{form:?}: {kinds:?}");
        // Written out once, there is nothing left to be done.
        assert_eq!(copied(&plain).unwrap().0, plain, "{form:?}");
    }
}

#[test]
fn all_else_is_copied_to_the_byte() {
    let folder = tree(FAR);
    for form in ["gnu", "pax", "ustar", "v7", "oldgnu"] {
        let format = format!("--format={form}");
        let long = ["--exclude=*long*", "--exclude=pieces"];
        let bytes = tar(folder.path(), &[&format, long[0], long[1], "--blocking-factor=40"]);
        assert_eq!(copied(&bytes).unwrap().0, bytes, "{form}");
    }
    let bytes = tar(folder.path(), &["--format=pax", "--xattrs"]);
    assert_eq!(copied(&bytes).unwrap().0, bytes);
}

#[test]
fn what_is_at_the_top_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
    fs::write(folder.path().join("usr/bin/x"), "x").unwrap();
    let (_, contents) = copied(&tar(folder.path(), &[])).unwrap();
    assert_eq!((contents.entries, contents.top), (4, vec!["usr".to_owned()]));
}

#[test]
fn damaged_tars_are_refused_wherever_they_are_cut_or_changed() {
    // Small ones, since they are copied thousands of times: two pages apart is the least that leaves holes.
    let folder = tree(1 << 13);
    for form in [&["--sparse", "--format=gnu"][..], &["--sparse", "--format=pax"]] {
        let bytes = tar(folder.path(), form);
        for cut in (1..bytes.len().min(8192)).step_by(37).filter(|cut| cut % BLOCK != 0) {
            assert!(copied(&bytes[..cut]).is_err(), "{form:?}, cut at {cut}");
        }
        // Whatever stands there, nothing panics, and nothing is made of nothing.
        for at in (0..bytes.len().min(16384)).step_by(11) {
            let mut bytes = bytes.clone();
            bytes[at] = bytes[at].wrapping_add(113);
            if let Ok((plain, _)) = copied(&bytes) {
                assert!(plain.len() < 64 << 20);
            }
        }
    }
    assert!(copied(&[7; 4096]).is_err());
    assert_eq!(copied(&[0; 1024]).unwrap().1.entries, 0);
}
