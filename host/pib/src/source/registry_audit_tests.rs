use std::fs;
use std::path::PathBuf;

use super::super::registry_folder::publish;
use super::super::testing::{stage, write};
use super::*;

struct Fixture {
    temp: tempfile::TempDir,
}

impl Fixture {
    /// Makes a registry with two versions of one stage and one of another.
    fn new() -> Self {
        let fixture = Self { temp: tempfile::tempdir().unwrap() };
        for (name, version) in [("camera", "1.0.0"), ("camera", "1.1.0"), ("ro", "2.0.0")] {
            let folder = stage(&fixture.temp.path().join("stages"), name, version);
            publish(&[folder], &fixture.root(), false).unwrap();
        }
        fixture
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("registry")
    }

    fn yank(&self, version: &str, yanked: bool, reason: Option<&str>) -> Result<bool, SourceError> {
        let (name, version) = version.split_once('@').unwrap();
        yank(&self.root(), &name.parse().unwrap(), &version.parse().unwrap(), yanked, reason)
    }

    fn lines(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(shard_path(&name.parse().unwrap()))).unwrap()
    }

    fn faults(&self) -> Vec<String> {
        audit(&self.root()).unwrap().faults
    }

    /// Changes the lines of a stage.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.lines(name);
        assert!(text.contains(from), "{text}");
        fs::write(self.root().join(shard_path(&name.parse().unwrap())), text.replace(from, to)).unwrap();
    }
}

#[test]
fn a_yanked_version_is_marked_and_can_come_back() {
    let fixture = Fixture::new();
    let before = fixture.lines("camera");
    assert!(fixture.yank("camera@1.1.0", true, Some("it breaks the focus")).unwrap());
    assert!(!fixture.yank("camera@1.1.0", true, Some("it breaks the focus")).unwrap());
    let (lines, old) = (fixture.lines("camera"), before.lines().collect::<Vec<_>>());
    assert!(
        lines.starts_with(old[0]) && lines.contains(r#""yanked":true,"yank_reason":"it breaks the focus""#),
        "{lines}"
    );
    assert_eq!(fixture.faults(), [""; 0]);
    assert!(fixture.yank("camera@1.1.0", true, None).unwrap());
    assert!(fixture.yank("camera@1.1.0", false, None).unwrap());
    assert_eq!(fixture.lines("camera"), before);
    for (version, reason, words) in [
        ("camera@3.0.0", None, "only `1.0.0` and `1.1.0`"),
        ("kiosk@1.0.0", None, "no stage `kiosk`"),
        ("ro@2.0.0", Some("two\nlines"), "one line"),
    ] {
        let error = fixture.yank(version, true, reason).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_line_of_a_newer_pib_keeps_what_this_one_does_not_know() {
    let fixture = Fixture::new();
    fixture.edit("ro", r#""name":"ro""#, r#""name":"ro","colour":"blue""#);
    assert!(fixture.yank("ro@2.0.0", true, None).unwrap());
    let line = fixture.lines("ro");
    assert!(line.contains(r#""colour":"blue""#) && line.contains(r#""yanked":true"#), "{line}");
}

/// One change to a registry, and what tells of it.
#[test]
fn each_damage_is_found() {
    let archive = "archives/camera/camera-1.0.0.stage";
    type Damage = fn(&Fixture);
    let damages: [(Damage, &str); 8] = [
        (
            |fixture| fs::remove_file(fixture.root().join("archives/ro/ro-2.0.0.stage")).unwrap(),
            "is not there",
        ),
        (
            |fixture| {
                let path = fixture.root().join("archives/camera/camera-1.0.0.stage");
                let mut bytes = fs::read(&path).unwrap();
                bytes[9] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "another file than was published",
        ),
        (|fixture| fixture.edit("camera", r#""deps":{"base":"^1"}"#, r#""deps":{}"#), "says of `deps`"),
        (
            |fixture| fixture.edit("ro", r#""vers":"2.0.0""#, r#""vers":"2.0.1""#),
            "ro-2.0.1.stage` is not there",
        ),
        (|fixture| fixture.edit("ro", r#""name":"ro""#, r#""name":"camera""#), "it tells of stage `camera`"),
        (|fixture| fixture.edit("ro", "{", "{{"), "cannot be read"),
        (
            |fixture| {
                let twice = fixture.lines("ro").repeat(2);
                fs::write(fixture.root().join(shard_path(&"ro".parse().unwrap())), twice).unwrap();
            },
            "has a line already",
        ),
        (
            |fixture| {
                let other = stage(&fixture.temp.path().join("other"), "ro", "2.0.0");
                write(&other, &[("files/more", "more")]);
                let packed = archive::pack(&other, "ro").unwrap();
                fs::write(fixture.root().join("archives/ro/ro-2.0.0.stage"), &packed.archive).unwrap();
            },
            "another file than was published",
        ),
    ];
    for (damage, words) in damages {
        let fixture = Fixture::new();
        assert_eq!(fixture.faults(), [""; 0]);
        damage(&fixture);
        let faults = fixture.faults();
        assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
    }
    // Archives that no line tells of do no harm: a killed `pib publish` may have left them.
    let fixture = Fixture::new();
    fixture.edit("camera", &fixture.lines("camera"), "");
    let audit = audit(&fixture.root()).unwrap();
    assert!(audit.faults.is_empty() && audit.notes.iter().any(|note| note.contains(archive)), "{audit:?}");
}

#[test]
fn the_index_comes_back_from_the_archives() {
    let fixture = Fixture::new();
    fixture.yank("camera@1.0.0", true, Some("old")).unwrap();
    let before = [fixture.lines("camera"), fixture.lines("ro")];
    assert_eq!(rebuild(&fixture.root()).unwrap(), RebuiltIndex { versions: 3, ..RebuiltIndex::default() });
    fs::remove_file(fixture.root().join("2/ro")).unwrap();
    fixture.edit("camera", r#""deps":{"base":"^1"}"#, r#""deps":{"base":"^2"}"#);
    let rebuilt = rebuild(&fixture.root()).unwrap();
    assert_eq!((rebuilt.versions, rebuilt.written.len(), rebuilt.dropped.len()), (3, 2, 0));
    assert_eq!(fixture.lines("camera"), before[0]);
    // When it was published, no archive says.
    let known = before[1].split(",\"pubtime\"").next().unwrap();
    assert_eq!(fixture.lines("ro").trim_end(), format!("{known}}}"));
    fs::remove_file(fixture.root().join("archives/camera/camera-1.0.0.stage")).unwrap();
    assert_eq!(rebuild(&fixture.root()).unwrap().dropped, ["camera 1.0.0"]);
    // An archive of another stage is never taken for this one.
    fs::copy(
        fixture.root().join("archives/ro/ro-2.0.0.stage"),
        fixture.root().join("archives/ro/ro-3.0.0.stage"),
    )
    .unwrap();
    let error = rebuild(&fixture.root()).unwrap_err().to_string();
    assert!(error.contains("it holds stage `ro` 2.0.0"), "{error}");
}
