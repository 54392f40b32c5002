use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::SystemTime;

use super::super::testing::{stage, write};
use super::*;

struct Fixture {
    temp: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn project(&self) -> Folder {
        Folder::make(self.temp.path().join("project")).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.temp.path().join("project/vendor")
    }

    fn package(&self, name: &str, version: &str) -> Package {
        let root = stage(&self.temp.path().join(version), name, version);
        Package::open(&root, name).unwrap()
    }

    fn fill(&self, packages: &[&Package]) -> Result<Filled, SourceError> {
        let bundled = SourceId::bundled();
        let wanted = packages.iter().map(|package| Wanted { package, source: &bundled });
        let wanted: Vec<_> = wanted.collect();
        fill(&self.project(), "vendor", "vendor/vendored.toml", &wanted)
    }

    fn check(&self, name: &str) -> Result<Package, SourceError> {
        let vendor = Vendor::open(&self.project(), "vendor", "vendor/vendored.toml").unwrap().unwrap();
        let stage = vendor.list.in_folder(name).unwrap().clone();
        vendor.checked(&stage, None)
    }

    /// Every file and its time.
    fn state(&self) -> Vec<(PathBuf, SystemTime, u64)> {
        let items = walkdir::WalkDir::new(self.folder()).sort_by_file_name().into_iter().flatten();
        let files = items.filter(|item| item.file_type().is_file());
        let state = |item: walkdir::DirEntry| {
            let metadata = item.metadata().unwrap();
            (item.into_path(), metadata.modified().unwrap(), metadata.ino())
        };
        files.map(state).collect()
    }
}

#[test]
fn a_second_run_changes_nothing_and_an_unwanted_stage_goes() {
    let fixture = Fixture::new();
    let (os, ro) = (fixture.package("os", "1.0.0"), fixture.package("ro", "1.0.0"));
    assert_eq!(fixture.fill(&[&os, &ro]).unwrap().written, ["os", "ro"]);
    assert_eq!(fixture.check("ro").unwrap().files, ro.files);
    let script = fs::metadata(fixture.folder().join("ro/files/usr/bin/ro")).unwrap();
    assert_eq!(script.permissions().mode() & 0o777, 0o755);
    let before = fixture.state();
    assert_eq!(fixture.fill(&[&os, &ro]).unwrap(), Filled::default());
    assert_eq!(fixture.state(), before);
    let newer = fixture.package("os", "2.0.0");
    let filled = fixture.fill(&[&newer]).unwrap();
    assert_eq!(
        (filled.written.as_slice(), filled.removed.as_slice()),
        (&["os".into()][..], &["ro".into()][..])
    );
    assert_eq!(fixture.check("os").unwrap().version.major, 2);
    assert!(!fixture.folder().join("ro").exists());
    // A file that did not change was not written again.
    let part = |state: &[(PathBuf, SystemTime, u64)]| {
        state.iter().find(|(path, ..)| path.ends_with("os/Dockerfile.part")).cloned()
    };
    assert_eq!(part(&fixture.state()), part(&before));
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 3);
}

/// Git has no empty folders and one mode bit, so a checkout has lost both: the list has them.
#[test]
fn a_checkout_is_right_without_modes_and_empty_folders() {
    let fixture = Fixture::new();
    let root = stage(&fixture.temp.path().join("s"), "os", "1.0.0");
    write(&root, &[("files/etc/key", "secret")]);
    fs::create_dir_all(root.join("files/var/lib/app")).unwrap();
    fs::set_permissions(root.join("files/etc/key"), fs::Permissions::from_mode(0o600)).unwrap();
    let os = Package::open(&root, "os").unwrap();
    fixture.fill(&[&os]).unwrap();
    let (key, empty) =
        (fixture.folder().join("os/files/etc/key"), fixture.folder().join("os/files/var/lib/app"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(empty.is_dir());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o664)).unwrap();
    fs::remove_dir_all(fixture.folder().join("os/files/var")).unwrap();
    let checked = fixture.check("os").unwrap();
    assert_eq!((&checked.files, &checked.folders, checked.content), (&os.files, &os.folders, os.content));
    assert_eq!(checked.advice(), None, "what is listed needs no record");
    // The next run puts both right again, and one without the folder takes it away.
    assert_eq!(fixture.fill(&[&os]).unwrap().written, ["os"]);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(empty.is_dir());
}

#[test]
fn what_git_rewrote_is_told_with_the_way_out() {
    let fixture = Fixture::new();
    let os = fixture.package("os", "1.0.0");
    fixture.fill(&[&os]).unwrap();
    let attributes = fixture.folder().join(".gitattributes");
    assert!(fs::read_to_string(&attributes).unwrap().contains("\n* -text "));
    let part = fixture.folder().join("os/Dockerfile.part");
    let text = fs::read_to_string(&part).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_owned();
    for (changed, words) in
        [(text.replace('\n', "\r\n"), "CRLF now and were LF"), (pointer, "Git LFS pointer")]
    {
        fs::write(&part, changed).unwrap();
        let error = fixture.check("os").unwrap_err();
        assert!(matches!(error, SourceError::VendorRewritten { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(with_carriage_returns(b"a\nb\r\nc\n"), b"a\r\nb\r\nc\r\n");
    assert_eq!(without_carriage_returns(b"a\r\nb\rc\n\r"), b"a\nb\rc\n\r");
    // Somebody's own attributes stay.
    fs::write(&attributes, "mine").unwrap();
    fixture.fill(&[&os]).unwrap();
    assert_eq!(fs::read_to_string(&attributes).unwrap(), "mine");
}

#[test]
fn several_versions_of_a_stage_lie_beside_each_other() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.package("os", "1.0.0"), fixture.package("os", "2.0.0"));
    assert_eq!(fixture.fill(&[&old, &new]).unwrap().written, ["os", "os-2.0.0"]);
    assert_eq!(fixture.fill(&[&old, &new]).unwrap(), Filled::default());
    assert_eq!(
        (fixture.check("os").unwrap().files, fixture.check("os-2.0.0").unwrap().files),
        (old.files, new.files.clone())
    );
    // The one that is left has the plain folder.
    let filled = fixture.fill(&[&fixture.package("os", "2.0.0")]).unwrap();
    assert_eq!(
        (filled.written.as_slice(), filled.removed.as_slice()),
        (&["os".into()][..], &["os-2.0.0".into()][..])
    );
    assert!(!fixture.folder().join("os-2.0.0").exists());
    assert_eq!(fixture.check("os").unwrap().files, new.files);
}

/// A stage that has no manifest is named by its folder, wherever that is copied to.
#[test]
fn a_bare_stage_keeps_its_name_in_another_folder() {
    let fixture = Fixture::new();
    let bare = |at: &str, part: &str| {
        let root = write(&fixture.temp.path().join(at).join("cam"), &[("Dockerfile.part", part)]);
        Package::open(&root, "cam").unwrap()
    };
    let (one, other) = (bare("one", "RUN true\n"), bare("other", "RUN false\n"));
    assert_eq!(fixture.fill(&[&one, &other]).unwrap().written, ["cam", "cam-0.0.0"]);
    assert_eq!(fixture.check("cam-0.0.0").unwrap().name.as_str(), "cam");
}

#[test]
fn what_was_changed_is_named_and_put_right() {
    let fixture = Fixture::new();
    let os = fixture.package("os", "1.0.0");
    fixture.fill(&[&os]).unwrap();
    let root = fixture.folder().join("os");
    let script = root.join("files/usr/bin/os");
    let changes: [(&dyn Fn(), &str); 4] = [
        (&|| fs::write(root.join("Dockerfile.part"), "RUN evil\n").unwrap(), "`Dockerfile.part` was changed"),
        (&|| fs::remove_file(root.join("stage.toml")).unwrap(), "`stage.toml` is missing"),
        (&|| fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap(), "may be executed"),
        (&|| fs::remove_dir_all(&root).unwrap(), "is not there"),
    ];
    for (change, words) in changes {
        change();
        let error = fixture.check("os").unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fixture.fill(&[&os]).unwrap().written, ["os"]);
        fixture.check("os").unwrap();
    }
    write(&root, &[("files/more", "")]);
    assert!(fixture.check("os").unwrap_err().to_string().contains("`files/more` was added"));
}

#[test]
fn what_others_made_is_neither_changed_nor_removed() {
    let fixture = Fixture::new();
    let os = fixture.package("os", "1.0.0");
    write(&fixture.folder(), &[("notes", "mine"), ("go/x.go", "mine")]);
    fixture.fill(&[&os]).unwrap();
    write(&fixture.folder().join("os"), &[(".editor", "mine")]);
    fixture.fill(&[&os]).unwrap();
    // What would be a part of the stage is in the way.
    let more = fixture.folder().join("os/files/more");
    fs::write(&more, "mine").unwrap();
    let before = fixture.state();
    let newer = fixture.package("os", "2.0.0");
    assert!(matches!(fixture.fill(&[&newer]), Err(SourceError::VendorInTheWay { path, .. }) if path == more));
    assert_eq!(fixture.state(), before, "something was changed although it failed");
    // Where the stage goes, others' files and edited ones stay.
    let edited = fixture.folder().join("os/stage.toml");
    fs::write(&edited, "edited").unwrap();
    let filled = fixture.fill(&[]).unwrap();
    assert_eq!(filled.kept.len(), 3, "{filled:?}");
    for (path, text) in
        [("notes", "mine"), ("go/x.go", "mine"), ("os/.editor", "mine"), ("os/stage.toml", "edited")]
    {
        assert_eq!(fs::read_to_string(fixture.folder().join(path)).unwrap(), text, "{path}");
    }
    assert!(!fixture.folder().join("os/Dockerfile.part").exists());
}

#[test]
fn links_lead_nowhere() {
    let fixture = Fixture::new();
    let os = fixture.package("os", "1.0.0");
    let outside = write(&fixture.temp.path().join("outside"), &[("usr/bin/os*", "#!/bin/sh\n")]);
    fixture.fill(&[&os]).unwrap();
    let files = fixture.folder().join("os/files");
    fs::remove_dir_all(&files).unwrap();
    symlink(&outside, &files).unwrap();
    assert!(fixture.check("os").is_err());
    assert!(matches!(fixture.fill(&[]), Err(SourceError::VendorInTheWay { .. })));
    assert!(matches!(fixture.fill(&[&os]), Err(SourceError::VendorInTheWay { .. })));
    fs::remove_dir_all(fixture.folder()).unwrap();
    symlink(&outside, fixture.folder()).unwrap();
    assert!(matches!(fixture.fill(&[&os]), Err(SourceError::Link(_))));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_left_is_no_obstacle() {
    let fixture = Fixture::new();
    let (os, newer) = (fixture.package("os", "1.0.0"), fixture.package("os", "2.0.0"));
    fixture.fill(&[&os]).unwrap();
    // It was writing the newer version: one file is there already, and the list is not.
    fs::copy(newer.root.join("stage.toml"), fixture.folder().join("os/stage.toml")).unwrap();
    fs::remove_file(fixture.folder().join("os/files/usr/bin/os")).unwrap();
    write(&fixture.folder().join(".pib-vendor-x"), &[("file", "half")]);
    fixture.fill(&[&newer]).unwrap();
    assert_eq!(fixture.check("os").unwrap().files, newer.files);
    assert!(!fixture.folder().join(".pib-vendor-x").exists());
    // It was the first run of all.
    fs::remove_file(fixture.folder().join(FILE_NAME)).unwrap();
    fixture.fill(&[&newer]).unwrap();
    fixture.check("os").unwrap();
}
