//! What is below a folder's handle, and what only seems to be.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

/// A folder in which everything may be, and one beside it in which nothing may change.
struct Fixture {
    temp: tempfile::TempDir,
    folder: Folder,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("outside/below")).unwrap();
        std::fs::write(temp.path().join("outside/file"), "precious").unwrap();
        let folder = Folder::make(temp.path().join("project")).unwrap();
        Self { temp, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("project").join(name)
    }

    fn link(&self, name: &str, leads_to: &str) {
        symlink(leads_to, self.path(name)).unwrap();
    }
}

/// Everything that is done to a path, by its name.
type Deed = (&'static str, fn(&Folder, &str) -> io::Result<()>);

const DEEDS: [Deed; 14] = [
    ("folder", |folder, path| folder.folder(path).map(drop)),
    ("make_folder", |folder, path| folder.make_folder(path).map(drop)),
    ("make_folder below", |folder, path| folder.make_folder(format!("{path}/new")).map(drop)),
    ("open_file", |folder, path| folder.open_file(path).map(drop)),
    ("open_file below", |folder, path| folder.open_file(format!("{path}/file")).map(drop)),
    ("open_inside", |folder, path| folder.open_inside(path).map(drop)),
    ("open_or_create", |folder, path| folder.open_or_create(path).map(drop)),
    ("create_new", |folder, path| folder.create_new(path).map(drop)),
    ("create_new below", |folder, path| folder.create_new(format!("{path}/new")).map(drop)),
    ("create", |folder, path| folder.output(path)?.create()?.keep(Permissions::from_mode(0o600))),
    ("create below", |folder, path| {
        folder.output(format!("{path}/file"))?.create()?.keep(Permissions::from_mode(0o600))
    }),
    ("remove_file below", |folder, path| folder.remove_file(format!("{path}/file"))),
    ("remove_all below", |folder, path| folder.remove_all(format!("{path}/below"))),
    ("rename below", |folder, path| folder.rename(format!("{path}/file"), "here")),
];

#[test]
fn no_link_is_followed() {
    for leads_to in ["../outside", "../outside/file", "../outside/none", "/"] {
        for (name, deed) in DEEDS {
            let fixture = Fixture::new();
            fixture.link("link", leads_to);
            let error = deed(&fixture.folder, "link").expect_err(name);
            let is_new = name == "create_new";
            assert_eq!(LinkError::of(&error).is_some(), !is_new, "{name} {leads_to}: {error}");
            if let Some(link) = LinkError::of(&error) {
                assert_eq!((&link.path, &*link.leads_to), (&fixture.path("link"), Path::new(leads_to)));
            }
            let outside = fixture.temp.path().join("outside");
            let left: Vec<PathBuf> = walk(&outside);
            assert_eq!(left, [outside.join("below"), outside.join("file")], "{name} {leads_to}");
            assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "precious");
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn no_path_leads_out() {
    let fixture = Fixture::new();
    for path in ["..", "../outside", "a/../../outside", "/etc", "/"] {
        for (name, deed) in DEEDS {
            assert!(deed(&fixture.folder, path).is_err(), "{name} {path}");
        }
    }
    assert!(fixture.folder.remove_all("").is_err() && fixture.folder.remove_all(".").is_err());
    assert_eq!(walk(&fixture.temp.path().join("outside")).len(), 2);
}

#[test]
fn other_kinds_are_told_and_not_waited_for() {
    let fixture = Fixture::new();
    rustix::fs::mkfifoat(CWD, fixture.path("pipe"), Mode::RWXU).unwrap();
    std::fs::write(fixture.path("file"), "").unwrap();
    let folder = &fixture.folder;
    for error in [
        folder.open_file("pipe").unwrap_err(),
        folder.open_or_create("pipe").unwrap_err(),
        folder.output("pipe").unwrap().create().unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "it is a named pipe, not a regular file");
    }
    assert_eq!(folder.folder("pipe").unwrap_err().to_string(), "it is a named pipe, not a folder");
    assert_eq!(folder.make_folder("file/x").unwrap_err().to_string(), "it is a regular file, not a folder");
    assert_eq!(folder.kind("none/x").unwrap(), None);
}

#[test]
fn links_that_stay_inside_may_be_read() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("real")).unwrap();
    std::fs::write(fixture.path("real/file"), "text").unwrap();
    fixture.link("inside", "real/file");
    fixture.link("folder", "real");
    fixture.link("out-and-in", "../project/real/file");
    for name in ["inside", "folder/file", "out-and-in", "real/file"] {
        let file = fixture.folder.open_inside(name).unwrap();
        assert_eq!(read_open(file, 9).unwrap(), b"text", "{name}");
    }
    // The folder may itself be reached through a link.
    symlink("project", fixture.temp.path().join("other")).unwrap();
    let other = Folder::open(fixture.temp.path().join("other")).unwrap();
    assert!(other.open_inside("inside").is_ok());
}

#[test]
fn what_is_removed_is_below() {
    let fixture = Fixture::new();
    let folder = fixture.folder.make_folder("a/b/c").unwrap();
    for (name, leads_to) in [("up", "../../../.."), ("out", "../../../../outside"), ("none", "none")] {
        symlink(leads_to, folder.path().join(name)).unwrap();
    }
    std::fs::hard_link(fixture.temp.path().join("outside/file"), folder.path().join("hard")).unwrap();
    // A folder that forbids its owner everything goes as well.
    let shut = folder.make_folder("shut/below").unwrap();
    std::fs::set_permissions(shut.path().parent().unwrap(), Permissions::from_mode(0o000)).unwrap();
    fixture.folder.make_folder("a/empty/too").unwrap();
    fixture.folder.folder("a").unwrap().remove_empty_folders();
    assert!(!fixture.path("a/empty").exists() && fixture.path("a/b/c/hard").exists());
    fixture.folder.remove_all("a").unwrap();
    assert_eq!(walk(&fixture.path("")), Vec::<PathBuf>::new());
    assert_eq!(walk(&fixture.temp.path().join("outside")).len(), 2);
    fixture.link("out", "../outside");
    fixture.folder.remove_all("out").unwrap();
    assert_eq!(fixture.folder.remove_all("out").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(walk(&fixture.temp.path().join("outside")).len(), 2);
}

#[test]
fn what_is_replaced_has_other_names_that_keep_theirs() {
    let fixture = Fixture::new();
    let outside = fixture.temp.path().join("outside/file");
    std::fs::hard_link(&outside, fixture.path("hard")).unwrap();
    let mut new = fixture.folder.output("hard").unwrap().create().unwrap();
    new.file().write_all(b"new").unwrap();
    new.keep(Permissions::from_mode(0o640)).unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
    assert_eq!(std::fs::read_to_string(fixture.path("hard")).unwrap(), "new");
    assert_eq!(outside.metadata().unwrap().nlink(), 1);
    assert_eq!(fixture.folder.permissions("hard").unwrap(), Some(Permissions::from_mode(0o640)));
}

#[test]
fn a_link_of_ones_own_is_moved_in_one_step() {
    let fixture = Fixture::new();
    fixture.link("latest", "../outside/file");
    for leads_to in ["one", "two"] {
        fixture.folder.point("latest", OsStr::new(leads_to)).unwrap();
        assert_eq!(std::fs::read_link(fixture.path("latest")).unwrap(), Path::new(leads_to));
    }
    fixture.folder.make_folder("folder").unwrap();
    assert!(fixture.folder.point("folder", OsStr::new("one")).is_err());
    assert_eq!(fixture.folder.entries().unwrap().len(), 2);
}

#[test]
fn temporary_things_have_names_that_nobody_foresees() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.folder.make_temporary(".t-"), fixture.folder.make_temporary(".t-"));
    assert_ne!(one.unwrap().path(), other.unwrap().path());
    let kinds: Vec<FileType> =
        fixture.folder.entries().unwrap().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [FileType::Directory; 2]);
    fixture.folder.unnamed().unwrap().write_all(b"x").unwrap();
    assert_eq!(fixture.folder.entries().unwrap().len(), 2);
    let file = fixture.folder.create_new("file").unwrap();
    assert_eq!(fixture.folder.create_new("file").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    drop(file);
}
