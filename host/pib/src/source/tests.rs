use std::fs;

use pib_plan::id::Digest;
use pib_plan::index::{Candidate, Offer};
use pib_plan::resolve::{Request, Requester};
use semver::Version;

use super::testing::{stage, write};
use super::*;

struct Fixture {
    temp: tempfile::TempDir,
    sources: Sources,
    registry: SourceId,
}

/// A project, a cache, and a registry with stage `os` 1.0.0.
fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir(root.join("project")).unwrap();
    let registry = root.join("registry");
    registry_folder::publish(&[stage(&root.join("stages"), "os", "1.0.0")], &registry, false).unwrap();
    let url = format!("file://{}", registry.display());
    let registries = BTreeMap::from([("acme".to_owned(), url)]);
    let sources = sources(root, registries);
    let registry = sources.registry_source(Some("acme")).unwrap();
    Fixture { sources, registry, temp }
}

/// Returns the sources of the next run of pib.
fn sources(root: &Path, registries: BTreeMap<String, String>) -> Sources {
    Sources::new(&root.join("cache"), &root.join("project"), registries).offline(true)
}

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

fn resolved(candidate: &Candidate) -> ResolvedStage {
    let Offer::Entry(entry) = &candidate.offer else { panic!("{candidate:?}") };
    ResolvedStage {
        name: entry.name.clone(),
        version: entry.vers.clone(),
        source: candidate.source.clone(),
        entry: Arc::clone(entry),
        requested_by: vec![Request { by: Requester::Project, requirement: None }],
    }
}

async fn resolve(fixture: &Fixture, stage: &str, source: &SourceId) -> ResolvedStage {
    let file = fixture.sources.candidates(&name(stage), source).await.unwrap();
    resolved(file.versions.last().unwrap())
}

fn lock_of(resolved: &ResolvedStage) -> LockedStage {
    LockedStage {
        name: resolved.name.clone(),
        version: resolved.version.clone(),
        source: resolved.source.clone(),
        checksum: resolved.entry.cksum,
        content: resolved.entry.content,
        publisher: None,
        hook: None,
        dependencies: Vec::new(),
    }
}

#[tokio::test]
async fn a_stage_of_a_registry_is_fetched_once_and_then_found() {
    let fixture = fixture();
    assert_eq!(fixture.sources.names(&fixture.registry), [name("os")]);
    let os = resolve(&fixture, "os", &fixture.registry).await;
    let package = fixture.sources.fetch(&os, Some(&lock_of(&os))).await.unwrap();
    assert_eq!(Some(package.content), os.entry.content);
    let paths: Vec<_> =
        package.files.iter().map(|file| (file.path.as_str(), file.mode.is_executable())).collect();
    assert_eq!(paths, [("Dockerfile.part", false), ("files/usr/bin/os", true), ("stage.toml", false)]);
    assert!(package.root.starts_with(fixture.temp.path().join("cache/stages")));
    assert_eq!(package.part("debian").unwrap().0, "Dockerfile.part");
    fs::remove_dir_all(fixture.temp.path().join("registry/archives")).unwrap();
    assert_eq!(fixture.sources.fetch(&os, None).await.unwrap(), package);
}

#[tokio::test]
async fn an_unknown_stage_is_an_empty_answer_and_a_wrong_address_an_error() {
    let fixture = fixture();
    let answer = fixture.sources.candidates(&name("nothing"), &fixture.registry).await.unwrap();
    assert!(answer.versions.is_empty() && answer.skipped.is_empty());
    let elsewhere = SourceId::registry(&format!("file://{}", fixture.temp.path().display())).unwrap();
    let error = fixture.sources.candidates(&name("os"), &elsewhere).await.unwrap_err();
    assert!(error.to_string().contains("no config.json"), "{error}");
    let error = fixture.sources.registry_source(Some("acm")).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert_eq!(help, "Did you mean `acme`?");
    let newer = write(&fixture.temp.path().join("newer"), &[("config.json", r#"{"v":2,"x":1}"#)]);
    let newer = SourceId::registry(&format!("file://{}", newer.display())).unwrap();
    let error = fixture.sources.candidates(&name("os"), &newer).await.unwrap_err();
    assert!(error.to_string().contains("schema 2"), "{error}");
    let remote = SourceId::registry("https://stages.example/").unwrap();
    let error = fixture.sources.candidates(&name("os"), &remote).await.unwrap_err();
    assert!(matches!(error, SourceError::Offline { .. }), "{error}");
    let odd = SourceId::registry("ftp://stages.example/").unwrap();
    let error = fixture.sources.candidates(&name("os"), &odd).await.unwrap_err();
    assert!(error.to_string().contains("`ftp`"), "{error}");
}

#[tokio::test]
async fn what_the_lock_holds_must_not_change() {
    let fixture = fixture();
    let os = resolve(&fixture, "os", &fixture.registry).await;
    let other = Digest::of(b"other");
    for lock in [
        LockedStage { checksum: Some(other), ..lock_of(&os) },
        LockedStage { content: Some(other), ..lock_of(&os) },
    ] {
        let error = fixture.sources.fetch(&os, Some(&lock)).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SourceError::ChangedSinceLock { .. }), "{text}");
        assert!(text.contains(&other.to_string()) && text.contains("os 1.0.0"), "{text}");
        let moved = LockedStage { version: Version::new(0, 9, 0), ..lock };
        fixture.sources.fetch(&os, Some(&moved)).await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_archive_is_refused_and_leaves_nothing() {
    let fixture = fixture();
    let os = resolve(&fixture, "os", &fixture.registry).await;
    let path = fixture.temp.path().join("registry/archives/os/os-1.0.0.stage");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = fixture.sources.fetch(&os, None).await.unwrap_err();
    let SourceError::WrongDigest { expected, .. } = error else { panic!("{error}") };
    assert_eq!(Some(expected), os.entry.cksum);
    assert!(!fixture.temp.path().join("cache/stages").join(os.entry.content.unwrap().hex()).exists());
}

#[tokio::test]
async fn an_archive_of_another_stage_is_refused() {
    let fixture = fixture();
    let mut os = resolve(&fixture, "os", &fixture.registry).await;
    // The registry claims that the same archive is another version too.
    let root = fixture.temp.path().join("registry/archives/os");
    fs::copy(root.join("os-1.0.0.stage"), root.join("os-2.0.0.stage")).unwrap();
    let entry = Arc::make_mut(&mut os.entry);
    entry.vers = Version::new(2, 0, 0);
    os.version = entry.vers.clone();
    let error = fixture.sources.fetch(&os, None).await.unwrap_err();
    assert!(error.to_string().contains("it holds os 1.0.0"), "{error}");
}

#[tokio::test]
async fn a_folder_is_a_stage_as_it_is() {
    let mut fixture = fixture();
    let folder = stage(&fixture.temp.path().join("project/stages"), "mine", "0.3.0");
    let source = SourceId::path("stages/mine").unwrap();
    let mine = resolve(&fixture, "mine", &source).await;
    assert_eq!(mine.entry.deps.keys().collect::<Vec<_>>(), [&name("base")]);
    assert_eq!((mine.entry.cksum, mine.entry.content), (None, None));
    let before = fixture.sources.fetch(&mine, None).await.unwrap();
    write(&folder, &[("files/etc/mine.conf", "x=1\n")]);
    let lock = LockedStage { content: Some(before.content), ..lock_of(&mine) };
    // What was resolved is what is built; the next run sees what has changed.
    assert_eq!(fixture.sources.fetch(&mine, Some(&lock)).await.unwrap(), before);
    fixture.sources = sources(fixture.temp.path(), BTreeMap::new());
    let after = fixture.sources.fetch(&mine, Some(&lock)).await.unwrap();
    assert_ne!(before.content, after.content);
    assert!(after.has("files/etc") && after.has("files/etc/mine.conf") && !after.has("files/et"));
}

#[tokio::test]
async fn what_is_read_ahead_is_what_is_asked_for_later() {
    let fixture = fixture();
    let project = fixture.temp.path().join("project");
    let place = |folder: &str| SourceId::path(folder).unwrap();
    let stages = ["one", "two", "three"].map(|stage| (name(stage), place(stage)));
    let folders = ["one", "two"].map(|folder| stage(&project, folder, "1.0.0"));
    fixture.sources.read_ahead(&stages).await;
    for folder in folders {
        write(&folder, &[("stage.toml", "no manifest any more")]);
    }
    assert_eq!(resolve(&fixture, "one", &stages[0].1).await.version, Version::new(1, 0, 0));
    let two = resolve(&fixture, "two", &stages[1].1).await;
    assert!(fixture.sources.fetch(&two, None).await.unwrap().has("Dockerfile.part"));
    // Another name for the same folder is wrong as ever, and so is a folder that is not there.
    let wrong = fixture.sources.candidates(&name("other"), &stages[0].1).await.unwrap_err();
    assert!(matches!(wrong, SourceError::WrongName { .. }), "{wrong}");
    let gone = fixture.sources.candidates(&stages[2].0, &stages[2].1).await.unwrap_err();
    assert!(matches!(gone, SourceError::NoFolder { .. }), "{gone}");
}

#[tokio::test]
async fn a_bare_folder_with_a_part_is_a_stage_too() {
    let fixture = fixture();
    let tree = fixture.temp.path().join("pi-builder/stages/arch/ro");
    write(&tree, &[("Dockerfile.part", "COPY stages/ro/x /x\n"), ("x", "")]);
    let source = SourceId::path("../pi-builder/stages/arch/ro").unwrap();
    let ro = resolve(&fixture, "ro", &source).await;
    assert_eq!(ro.version, Version::new(0, 0, 0));
    assert!(ro.entry.uses.contains(&"board".to_owned()));
    let package = fixture.sources.fetch(&ro, None).await.unwrap();
    assert_eq!(package.part("arch").unwrap().1, "COPY stages/ro/x /x\n");
}

#[tokio::test]
async fn folders_that_are_no_stage_are_told_apart() {
    let fixture = fixture();
    let project = fixture.temp.path().join("project");
    stage(&project, "mine", "1.0.0");
    write(&project.join("Bad Name"), &[("Dockerfile.part", "RUN true\n")]);
    write(&project.join("empty"), &[("README", "")]);
    write(&project.join("broken"), &[("stage.toml", "[stage]\nnmae = \"broken\"\n")]);
    let error = async |asked: &str, path: &str| {
        let source = SourceId::path(path).unwrap();
        fixture.sources.candidates(&name(asked), &source).await.unwrap_err()
    };
    assert!(matches!(error("gone", "gone").await, SourceError::NoFolder { .. }));
    assert!(matches!(error("empty", "empty").await, SourceError::NotAStage { .. }));
    assert!(matches!(error("bad", "Bad Name").await, SourceError::BadFolderName { .. }));
    let wrong = error("other", "mine").await;
    assert!(matches!(wrong, SourceError::WrongName { .. }) && wrong.to_string().contains("`mine`"));
    let broken = error("broken", "broken").await;
    let help = miette::Diagnostic::help(&broken).unwrap().to_string();
    assert_eq!(help, "Did you mean `name`?");
    assert!(broken.to_string().contains("broken/stage.toml"), "{broken}");
}

#[tokio::test]
async fn a_stage_without_a_part_or_hook_is_refused() {
    let mut fixture = fixture();
    let project = fixture.temp.path().join("project");
    let toml = "[stage]\nname = \"a\"\nversion = \"1.0.0\"\n";
    write(&project.join("a"), &[("stage.toml", toml)]);
    let source = SourceId::path("a").unwrap();
    let error = fixture.sources.candidates(&name("a"), &source).await.unwrap_err();
    assert!(matches!(error, SourceError::NoPart { .. }), "{error}");
    write(&project.join("a"), &[("Dockerfile.arch.part", "RUN true\n")]);
    let a = resolve(&fixture, "a", &source).await;
    let package = fixture.sources.fetch(&a, None).await.unwrap();
    assert!(matches!(package.part("debian"), Err(SourceError::NoPartForOs { .. })));
    let hooked = format!("{toml}[hook]\ncomponent = \"hook.wasm\"\n");
    write(&project.join("a"), &[("stage.toml", &hooked)]);
    fixture.sources = sources(fixture.temp.path(), BTreeMap::new());
    let error = fixture.sources.candidates(&name("a"), &source).await.unwrap_err();
    assert!(matches!(error, SourceError::BadHook { .. }), "{error}");
}

#[tokio::test]
async fn the_bundled_registry_can_be_read_and_every_archive_in_it_is_right() {
    let fixture = fixture();
    let bundled = SourceId::bundled();
    Registry::bundled().check().await.unwrap();
    for name in fixture.sources.names(&bundled) {
        let file = fixture.sources.candidates(&name, &bundled).await.unwrap();
        assert_eq!(file.skipped, [], "{name}");
        for candidate in &file.versions {
            fixture.sources.fetch(&resolved(candidate), None).await.unwrap();
        }
    }
}
