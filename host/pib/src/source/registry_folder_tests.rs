use std::fs;

use super::super::testing::{stage, write};
use super::*;

struct Fixture {
    temp: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn registry(&self) -> PathBuf {
        self.temp.path().join("registry")
    }

    fn stage(&self, name: &str, version: &str) -> PathBuf {
        stage(&self.temp.path().join("stages"), name, version)
    }

    fn publish(&self, stages: &[PathBuf]) -> Result<Vec<Outcome>, SourceError> {
        outcomes(publish(stages, &self.registry(), false))
    }

    fn check(&self, stages: &[PathBuf]) -> Result<Vec<Outcome>, SourceError> {
        outcomes(publish(stages, &self.registry(), true))
    }

    /// Every file of the registry with its bytes.
    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = walkdir::WalkDir::new(self.registry()).into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        files.map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap())).collect()
    }
}

fn outcomes(published: Result<Vec<PublishedStage>, SourceError>) -> Result<Vec<Outcome>, SourceError> {
    published.map(|stages| stages.into_iter().map(|stage| stage.outcome).collect())
}

#[test]
fn a_registry_grows_and_never_changes() {
    let fixture = Fixture::new();
    let stages = [fixture.stage("os", "1.0.0"), fixture.stage("ro", "1.0.0")];
    assert_eq!(fixture.publish(&stages).unwrap(), [Outcome::New, Outcome::New]);
    let first = fixture.snapshot();
    let relative = |path: &PathBuf| path.strip_prefix(fixture.registry()).unwrap().display().to_string();
    let paths: Vec<_> = first.keys().map(relative).collect();
    let archives = ["archives/os/os-1.0.0.stage", "archives/ro/ro-1.0.0.stage"];
    assert_eq!(paths, ["2/os", "2/ro", archives[0], archives[1], "config.json"]);
    assert_eq!(fixture.publish(&stages).unwrap(), [Outcome::Unchanged, Outcome::Unchanged]);
    assert_eq!(fixture.check(&stages).unwrap(), [Outcome::Unchanged, Outcome::Unchanged]);
    assert_eq!(fixture.snapshot(), first);
    let newer = fixture.stage("os", "1.1.0");
    assert_eq!(fixture.publish(&[newer, stages[1].clone()]).unwrap(), [Outcome::New, Outcome::Unchanged]);
    let second = fixture.snapshot();
    for (path, bytes) in &first {
        assert!(second[path].starts_with(bytes), "{}", path.display());
    }
    let line = String::from_utf8(second[&fixture.registry().join("2/os")].clone()).unwrap();
    assert_eq!(line.lines().count(), 2);
    assert!(line.contains(r#""deps":{"base":"^1"}"#), "{line}");
}

#[test]
fn a_published_version_stays_as_it_is() {
    let fixture = Fixture::new();
    let os = fixture.stage("os", "1.0.0");
    let ro = fixture.stage("ro", "1.0.0");
    fixture.publish(std::slice::from_ref(&os)).unwrap();
    let before = fixture.snapshot();
    write(&os, &[("files/more", "")]);
    for check in [true, false] {
        // Nothing of the other stage is written either.
        let error = publish(&[ro.clone(), os.clone()], &fixture.registry(), check).unwrap_err();
        let SourceError::AlreadyPublished { published, found, .. } = &error else { panic!("{error}") };
        let text = error.to_string();
        assert!(text.contains(&published.to_string()) && text.contains(&found.to_string()), "{text}");
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains("bump the version"), "{help}");
        assert_eq!(fixture.snapshot(), before);
    }
    // Build metadata does not make another version.
    fixture.stage("os", "1.0.0+2");
    assert!(matches!(fixture.publish(&[os]), Err(SourceError::AlreadyPublished { .. })));
}

#[test]
fn what_was_packed_is_published_whatever_becomes_of_its_folder() {
    let fixture = Fixture::new();
    let os = fixture.stage("os", "1.0.0");
    let packed = PackedStage::of(&os).unwrap();
    write(&os, &[("files/more", "not judged by anybody")]);
    add(&[&packed], &fixture.registry()).unwrap();
    let archive = fs::read(fixture.registry().join("archives/os/os-1.0.0.stage")).unwrap();
    assert_eq!(archive, packed.archive);
    assert!(matches!(fixture.check(&[os]), Err(SourceError::AlreadyPublished { .. })));
}

#[test]
fn a_check_writes_nothing_and_names_what_is_missing() {
    let fixture = Fixture::new();
    let stages = [fixture.stage("os", "1.0.0"), fixture.stage("ro", "1.2.0")];
    let error = fixture.check(&stages).unwrap_err();
    assert_eq!(error.to_string(), "not published yet: os 1.0.0, ro 1.2.0");
    assert!(!fixture.registry().exists());
}

#[test]
fn the_same_version_from_two_folders_must_be_the_same() {
    let fixture = Fixture::new();
    let one = fixture.stage("os", "1.0.0");
    let two = stage(&fixture.temp.path().join("elsewhere"), "os", "1.0.0");
    let both = [one, two.clone()];
    assert_eq!(fixture.publish(&both).unwrap(), [Outcome::New, Outcome::Unchanged]);
    let fixture = Fixture { temp: tempfile::tempdir().unwrap() };
    write(&two, &[("x", "")]);
    assert!(matches!(fixture.publish(&both), Err(SourceError::AlreadyPublished { .. })));
    assert!(fixture.snapshot().is_empty());
}

#[test]
fn damage_in_the_registry_is_found() {
    let damaged = |damage: &dyn Fn(&Path)| {
        let fixture = Fixture::new();
        let stages = [fixture.stage("os", "1.0.0")];
        fixture.publish(&stages).unwrap();
        damage(&fixture.registry());
        assert_eq!(
            fixture.check(&stages).unwrap_err().to_string(),
            fixture.publish(&stages).unwrap_err().to_string()
        );
        fixture.check(&stages).unwrap_err()
    };
    let archive = "archives/os/os-1.0.0.stage";
    let error = damaged(&|root| fs::remove_file(root.join(archive)).unwrap());
    assert!(matches!(error, SourceError::NoArchive { .. }), "{error}");
    let error = damaged(&|root| fs::write(root.join(archive), "x").unwrap());
    assert!(matches!(error, SourceError::WrongDigest { .. }), "{error}");
    let error = damaged(&|root| fs::write(root.join("2/os"), "{\n").unwrap());
    assert!(error.to_string().contains("line 1"), "{error}");
    let newer = r#"{"v":9,"name":"os","vers":"1.0.0"}"#;
    let error = damaged(&|root| fs::write(root.join("2/os"), newer).unwrap());
    assert!(error.to_string().contains("needs a newer pib"), "{error}");
}

#[test]
fn what_would_not_build_is_not_published() {
    let refused = |files: &[(&str, &str)]| {
        let fixture = Fixture::new();
        let os = fixture.stage("os", "1.0.0");
        write(&os, files);
        let error = fixture.publish(&[os]).unwrap_err();
        assert!(fixture.snapshot().is_empty());
        error.to_string()
    };
    assert!(refused(&[("Dockerfile.part", "FROM x\n")]).contains("FROM of its own"));
    assert!(refused(&[("Dockerfile.arch.part", "RNU x\n")]).contains("Dockerfile.arch.part"));
    assert!(refused(&[("Dockerfile.part", "COPY stages/os/nothing /\n")]).contains("stages/os/nothing"));
    assert!(refused(&[("Dockerfile.part", "COPY files /\n")]).contains("`files`"));
    assert!(refused(&[("stage.toml", "[stage]\nname = \"os\"\n")]).contains("version"));
    let fixture = Fixture::new();
    let bare = write(&fixture.temp.path().join("bare"), &[("Dockerfile.part", "RUN true\n")]);
    assert!(fixture.publish(&[bare]).unwrap_err().to_string().contains("no stage.toml"));
}

#[test]
fn files_from_config_and_dependencies_are_taken_on_trust() {
    let fixture = Fixture::new();
    let os = fixture.stage("os", "1.0.0");
    let toml = fs::read_to_string(os.join("stage.toml")).unwrap();
    let toml = format!("{toml}\n[config.keys]\ntype = \"paths\"\n[config.word]\ntype = \"string\"\n");
    let part = "COPY stages/os/config/keys/ /k/\nCOPY stages/base/x stages/os /x/\n";
    write(&os, &[("stage.toml", &toml), ("Dockerfile.part", part)]);
    assert_eq!(fixture.publish(std::slice::from_ref(&os)).unwrap(), [Outcome::New]);
    let part = "COPY stages/os/config/word /w\n";
    write(&os, &[("stage.toml", &toml.replace("1.0.0", "1.1.0")), ("Dockerfile.part", part)]);
    assert!(fixture.publish(&[os]).unwrap_err().to_string().contains("config/word"));
}

#[test]
fn links_in_a_registry_lead_nothing_elsewhere() {
    for link in ["archives", "archives/ro", "2", "2/ro"] {
        let fixture = Fixture::new();
        let elsewhere = fixture.temp.path().join("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let place = fixture.registry().join(link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        let refused = fixture.publish(&[fixture.stage("ro", "1.0.0")]).unwrap_err();
        assert!(refused.to_string().contains(link), "{link}: {refused}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{link}");
    }
}
