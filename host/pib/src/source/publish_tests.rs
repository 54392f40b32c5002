use super::super::testing::{stage, write};
use super::*;

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
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
    let place = Place::new();
    let stages = [place.stage("os", "1.0.0"), place.stage("ro", "1.0.0")];
    assert_eq!(place.publish(&stages).unwrap(), [Outcome::New, Outcome::New]);
    let first = place.snapshot();
    let relative = |path: &PathBuf| path.strip_prefix(place.registry()).unwrap().display().to_string();
    let paths: Vec<_> = first.keys().map(relative).collect();
    let archives = ["archives/os/os-1.0.0.stage", "archives/ro/ro-1.0.0.stage"];
    assert_eq!(paths, ["2/os", "2/ro", archives[0], archives[1], "config.json"]);
    assert_eq!(place.publish(&stages).unwrap(), [Outcome::Unchanged, Outcome::Unchanged]);
    assert_eq!(place.check(&stages).unwrap(), [Outcome::Unchanged, Outcome::Unchanged]);
    assert_eq!(place.snapshot(), first);
    let newer = place.stage("os", "1.1.0");
    assert_eq!(place.publish(&[newer, stages[1].clone()]).unwrap(), [Outcome::New, Outcome::Unchanged]);
    let second = place.snapshot();
    for (path, bytes) in &first {
        assert!(second[path].starts_with(bytes), "{}", path.display());
    }
    let line = String::from_utf8(second[&place.registry().join("2/os")].clone()).unwrap();
    assert_eq!(line.lines().count(), 2);
    assert!(line.contains(r#""deps":{"base":"^1"}"#), "{line}");
}

#[test]
fn a_published_version_stays_as_it_is() {
    let place = Place::new();
    let os = place.stage("os", "1.0.0");
    let ro = place.stage("ro", "1.0.0");
    place.publish(std::slice::from_ref(&os)).unwrap();
    let before = place.snapshot();
    write(&os, &[("files/more", "")]);
    for check in [true, false] {
        // Nothing of the other stage is written either.
        let error = publish(&[ro.clone(), os.clone()], &place.registry(), check).unwrap_err();
        let SourceError::AlreadyPublished { published, found, .. } = &error else { panic!("{error}") };
        let text = error.to_string();
        assert!(text.contains(&published.to_string()) && text.contains(&found.to_string()), "{text}");
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert!(help.contains("bump the version"), "{help}");
        assert_eq!(place.snapshot(), before);
    }
    // Build metadata does not make another version.
    place.stage("os", "1.0.0+2");
    assert!(matches!(place.publish(&[os]), Err(SourceError::AlreadyPublished { .. })));
}

#[test]
fn a_check_writes_nothing_and_names_what_is_missing() {
    let place = Place::new();
    let stages = [place.stage("os", "1.0.0"), place.stage("ro", "1.2.0")];
    let error = place.check(&stages).unwrap_err();
    assert_eq!(error.to_string(), "not published yet: os 1.0.0, ro 1.2.0");
    assert!(!place.registry().exists());
}

#[test]
fn the_same_version_from_two_folders_must_be_the_same() {
    let place = Place::new();
    let one = place.stage("os", "1.0.0");
    let two = stage(&place.temp.path().join("elsewhere"), "os", "1.0.0");
    let both = [one, two.clone()];
    assert_eq!(place.publish(&both).unwrap(), [Outcome::New, Outcome::Unchanged]);
    let place = Place { temp: tempfile::tempdir().unwrap() };
    write(&two, &[("x", "")]);
    assert!(matches!(place.publish(&both), Err(SourceError::AlreadyPublished { .. })));
    assert!(place.snapshot().is_empty());
}

#[test]
fn damage_in_the_registry_is_found() {
    let damaged = |damage: &dyn Fn(&Path)| {
        let place = Place::new();
        let stages = [place.stage("os", "1.0.0")];
        place.publish(&stages).unwrap();
        damage(&place.registry());
        assert_eq!(
            place.check(&stages).unwrap_err().to_string(),
            place.publish(&stages).unwrap_err().to_string()
        );
        place.check(&stages).unwrap_err()
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
        let place = Place::new();
        let os = place.stage("os", "1.0.0");
        write(&os, files);
        let error = place.publish(&[os]).unwrap_err();
        assert!(place.snapshot().is_empty());
        error.to_string()
    };
    assert!(refused(&[("Dockerfile.part", "FROM x\n")]).contains("FROM of its own"));
    assert!(refused(&[("Dockerfile.arch.part", "RNU x\n")]).contains("Dockerfile.arch.part"));
    assert!(refused(&[("Dockerfile.part", "COPY stages/os/nothing /\n")]).contains("stages/os/nothing"));
    assert!(refused(&[("Dockerfile.part", "COPY files /\n")]).contains("`files`"));
    assert!(refused(&[("Dockerfile.part", "COPY stages/ro/files /\n")]).contains("stages/ro/files"));
    assert!(refused(&[("stage.toml", "[stage]\nname = \"os\"\n")]).contains("version"));
    let place = Place::new();
    let bare = write(&place.temp.path().join("bare"), &[("Dockerfile.part", "RUN true\n")]);
    assert!(place.publish(&[bare]).unwrap_err().to_string().contains("no stage.toml"));
}

#[test]
fn files_from_config_and_dependencies_are_taken_on_trust() {
    let place = Place::new();
    let os = place.stage("os", "1.0.0");
    let toml = fs::read_to_string(os.join("stage.toml")).unwrap();
    let toml = format!("{toml}\n[config.keys]\ntype = \"paths\"\n[config.word]\ntype = \"string\"\n");
    let part = "COPY stages/os/config/keys/ /k/\nCOPY stages/base/x stages/os /x/\n";
    write(&os, &[("stage.toml", &toml), ("Dockerfile.part", part)]);
    assert_eq!(place.publish(std::slice::from_ref(&os)).unwrap(), [Outcome::New]);
    let part = "COPY stages/os/config/word /w\n";
    write(&os, &[("stage.toml", &toml.replace("1.0.0", "1.1.0")), ("Dockerfile.part", part)]);
    assert!(place.publish(&[os]).unwrap_err().to_string().contains("config/word"));
}
