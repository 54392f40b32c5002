use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

fn entry(stage: &str, number: &str) -> IndexEntry {
    let line = format!(
        "{{\"name\":\"{stage}\",\"vers\":\"{number}\",\"description\":\"x\",\"cksum\":\"{}\",\"content\":\"{}\",\"size\":7}}",
        Digest::of(b"archive"),
        Digest::of(b"content")
    );
    serde_json::from_str(&line).unwrap()
}

fn text(stage: &str, number: &str) -> String {
    String::from_utf8(StageArtifact::new(&entry(stage, number)).unwrap().to_text()).unwrap()
}

#[test]
fn stages_have_repositories() {
    for (stage, repository) in
        [("watchdog", Some("watchdog")), ("__init__", Some("pib.init")), ("a--b", Some("a--b"))]
    {
        assert_eq!(repository_of(&name(stage)), repository, "{stage}");
        assert_eq!(stage_of(repository.unwrap()), Some(name(stage)));
    }
    assert_eq!(repository_of(&name("a-")), None);
    for other in ["pib.other", "__init__", "a/b", "A", ""] {
        assert_eq!(stage_of(other), None, "{other}");
    }
}

#[test]
fn versions_have_tags() {
    for (number, tag) in [("1.2.3", "1.2.3"), ("1.0.0-rc.1+build.5", "1.0.0-rc.1_build.5")] {
        assert_eq!(tag_of(&version(number)).as_deref(), Some(tag));
        assert_eq!(version_of(tag), Some(version(number)));
    }
    assert_eq!(tag_of(&version(&format!("1.0.0-{}", "a".repeat(130)))), None);
    for other in ["1", "1.2", "latest", "1.0.0+x", "1.0.0_a_b", "v1.0.0", "01.0.0"] {
        assert_eq!(version_of(other), None, "{other}");
    }
}

#[test]
fn tags_move_to_the_greatest_version_that_is_not_yanked() {
    let versions = ["1.2.3", "1.2.10", "1.3.0-rc.1", "2.0.0", "0.4.1", "1.3.0"].map(version);
    let yanked = |number: &Version| ["1.3.0", "2.0.0"].contains(&number.to_string().as_str());
    let found = moving_tags(versions.iter().map(|version| (version, yanked(version))));
    let found: Vec<String> = found.iter().map(|(tag, version)| format!("{tag} {version}")).collect();
    assert_eq!(found, ["0.4 0.4.1", "1 1.2.10", "1.2 1.2.10", "1.3 1.3.0", "2 2.0.0", "2.0 2.0.0"]);
}

#[test]
fn a_manifest_has_the_whole_index_line() {
    let text = text("camera", "1.0.0+x");
    let found = StageArtifact::parse(text.as_bytes(), &name("camera"), &version("1.0.0+x")).unwrap();
    assert_eq!(serde_json::from_str::<IndexEntry>(&found.line).unwrap(), entry("camera", "1.0.0+x"));
    let fields: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fields["layers"][0]["digest"], Digest::of(b"archive").to_string());
    assert_eq!(fields["annotations"]["org.opencontainers.image.version"], "1.0.0+x");
    // What a newer pib has added stays where the line is replaced.
    let more = text.replacen('{', "{\"subject\":{\"x\":1},", 1);
    let found = StageArtifact::parse(more.as_bytes(), &name("camera"), &version("1.0.0+x")).unwrap();
    let yanked = found.line.replacen('{', "{\"yanked\":true,", 1);
    let found = String::from_utf8(found.with_line(yanked).to_text()).unwrap();
    assert!(found.contains("\"subject\":{\"x\":1}") && found.contains("\\\"yanked\\\":true"), "{found}");
}

#[test]
fn what_is_another_manifest_is_said() {
    let good = text("camera", "1.0.0");
    let parse = |text: &str| {
        StageArtifact::parse(text.as_bytes(), &name("camera"), &version("1.0.0")).unwrap_err().to_string()
    };
    for (text, words) in [
        ("{".to_owned(), "cannot be read"),
        ("[]".to_owned(), "cannot be read"),
        (text("kiosk", "1.0.0"), "of another stage, `kiosk`"),
        (text("camera", "1.0.1"), "of another version, 1.0.1"),
        (good.replace("application/vnd.pib.stage.v1\"", "x/y\""), "is not a stage, but `x/y`"),
        (
            good.replace("image.manifest", "image.index"),
            "is not a stage, but `application/vnd.oci.image.index",
        ),
        (good.replace(INDEX_LINE, "other"), "without an index line"),
        (good.replace("\"size\":7}]", "\"size\":8}]"), "whose archive is not"),
        (
            good.replacen(&Digest::of(b"archive").to_string(), &Digest::of(b"other").to_string(), 1),
            "whose archive is not",
        ),
    ] {
        assert_ne!(text, good);
        assert!(parse(&text).contains(words), "{words}: {}", parse(&text));
    }
}

#[test]
fn one_manifest_takes_no_other_version_away() {
    let source = SourceId::registry("oci://x.example/stages").unwrap();
    let newer = text("camera", "1.2.0").replace("{\\\"name", "{\\\"v\\\":99,\\\"name");
    let manifests = BTreeMap::from([
        ("1.0.0".to_owned(), text("camera", "1.0.0")),
        ("1.0.0_x".to_owned(), text("camera", "1.0.0+x")),
        ("1.1.0".to_owned(), text("kiosk", "1.1.0")),
        ("1.2.0".to_owned(), newer),
        ("1".to_owned(), "no manifest".to_owned()),
    ]);
    let file = index_file(&name("camera"), &source, &manifests);
    let found = file.versions.iter().map(|candidate| match &candidate.offer {
        Offer::Entry(entry) => format!("{} {}", candidate.version, entry.description),
        Offer::Unreadable(reason) => format!("{} {reason}", candidate.version),
    });
    let found: Vec<String> = found.collect();
    assert_eq!(found[..2], ["1.0.0 x", "1.1.0 has the manifest of another stage, `kiosk`"]);
    assert!(found[2].starts_with("1.2.0 needs a newer pib") && found.len() == 3, "{found:?}");
}

proptest! {
    #[test]
    fn no_manifest_ends_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in "\\PC{0,20}") {
        let _ = StageArtifact::parse(&bytes, &name("camera"), &version("1.0.0"));
        let _ = version_of(&tag);
        let _ = stage_of(&tag);
    }
}
