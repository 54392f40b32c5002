//! Provenance, and `pib verify`.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use pib_plan::id::Digest;
use serde_json::Value;

use super::project::{Scratch, stderr_text};
use crate::world::Images;

const HOST: &str = "unix:///var/run/docker.sock";

fn refused(output: &Output, words: &str) {
    let errors = stderr_text(output);
    assert!(output.status.code() == Some(8) && errors.contains(words), "no {words} in {errors}");
}

/// Returns a project that was built, its image's bytes and its provenance.
fn built(name: &str) -> (Scratch, Vec<u8>, String) {
    let scratch = Scratch::new(name, HOST);
    scratch.part("mine", "RUN echo one > /one\n");
    assert!(scratch.pib(&["lock"]).output().unwrap().status.success());
    // The lock may hold the base of another project's build by then.
    let early = scratch.pib(&["verify"]).output().unwrap();
    assert!(!early.status.success() && !early.stderr.is_empty(), "{early:?}");
    scratch.must_build();
    let image = fs::read(scratch.image()).unwrap();
    let provenance = fs::read_to_string(provenance(&scratch)).unwrap();
    (scratch, image, provenance)
}

fn provenance(scratch: &Scratch) -> PathBuf {
    scratch.image().with_extension("provenance.json")
}

fn verify(scratch: &Scratch, args: &[&str]) -> Output {
    scratch.pib(&[&["verify"], args].concat()).output().unwrap()
}

#[test]
fn an_image_is_known_by_its_provenance_wherever_it_is() {
    let _images = Images("verified");
    let (scratch, bytes, text) = built("verified");

    // What it says is what is there.
    let statement: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], "verified-rpi4-arm64.img");
    let asked = &statement["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!((&asked["board"], &asked["arch"]), (&"rpi4".into(), &"arm64".into()), "{asked}");
    assert_eq!(asked["settings"]["build.network"], "open");
    assert!(asked["settings"]["image.layout"].as_str().unwrap().contains("\"ROOT\" ext4 \"/\""), "{asked}");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], Digest::of(&bytes).hex());
    let made_of = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let names: Vec<&str> = made_of.iter().map(|resource| resource["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["debian", "__init__", "mine", "__cleanup__"]);
    let base = fs::read(scratch.path("base.tar")).unwrap();
    assert_eq!(made_of[0]["digest"]["sha256"], Digest::of(&base).hex());
    for told in [scratch.path(""), std::env::temp_dir()] {
        assert!(!text.contains(told.to_str().unwrap()), "{text}");
    }

    // The project's own image, and a copy elsewhere.
    let output = verify(&scratch, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("comes from this project"), "{output:?}");
    let copies = tempfile::tempdir().unwrap();
    let (copy, beside) = (copies.path().join("copy.img"), copies.path().join("copy.provenance.json"));
    let named = copy.to_str().unwrap();
    fs::write(&copy, &bytes).unwrap();
    refused(&verify(&scratch, &[named]), "cannot be read");
    fs::write(&beside, &text).unwrap();
    let output = verify(&scratch, &[named, "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["digest"], Digest::of(&bytes).to_string());

    // A changed image, and statements that are none.
    let mut changed = bytes.clone();
    changed[5_000_000] ^= 1;
    fs::write(&copy, &changed).unwrap();
    refused(&verify(&scratch, &[named]), "its provenance is of another one");
    fs::write(&copy, &bytes).unwrap();
    // Some other tool would believe what is said beside the key.
    let lies = [
        text.replace("\"release\": \"trixie\"", "\"release\": \"sid\""),
        text.replacen("\"version\": \"0.0.0\"", "\"version\": \"9.9.9\"", 1),
        text.replacen(&Digest::of(&base).hex(), &Digest::of(b"x").hex(), 1),
    ];
    for lie in &lies {
        assert!(*lie != text);
        fs::write(&beside, lie).unwrap();
        refused(&verify(&scratch, &[named]), "is not what pib wrote");
    }
    let (foreign, keyless) =
        (text.replace("slsa.dev", "example.org"), text.replace("\"key\": \"sha256:", "\"key\": \""));
    for bad in ["", "{}", "[1]", &foreign, &keyless] {
        fs::write(&beside, bad).unwrap();
        refused(&verify(&scratch, &[named]), "provenance");
    }
}

/// An earlier pib did not note board, architecture and settings.
#[test]
fn a_provenance_of_an_earlier_pib_is_believed() {
    let _images = Images("verifiedearlier");
    let (scratch, _, text) = built("verifiedearlier");
    let mut statement: Value = serde_json::from_str(&text).unwrap();
    let asked = statement["predicate"]["buildDefinition"]["externalParameters"].as_object_mut().unwrap();
    asked.retain(|key, _| ["name", "os", "release"].contains(&key.as_str()));
    fs::write(provenance(&scratch), serde_json::to_string_pretty(&statement).unwrap()).unwrap();
    let output = verify(&scratch, &[]);
    assert!(output.status.success(), "{}", stderr_text(&output));
    statement["predicate"]["buildDefinition"]["externalParameters"]["os"] = "other".into();
    fs::write(provenance(&scratch), statement.to_string()).unwrap();
    refused(&verify(&scratch, &[]), "is not what pib wrote");
}

/// What the classic builder loses is in the image's key, and a project may refuse it.
#[test]
fn a_project_can_refuse_engines_that_lose_something() {
    let _images = Images("lossless");
    let (scratch, ..) = built("lossless");
    let classic = |args: &[&str]| scratch.pib(args).env("DOCKER_BUILDKIT", "0").output().unwrap();
    fs::remove_file(scratch.image()).unwrap();
    let output = classic(&["build"]);
    assert!(output.status.success(), "{}", stderr_text(&output));
    let lossy = fs::read(scratch.image()).unwrap();
    assert!(verify(&scratch, &[]).status.success());

    let manifest = fs::read_to_string(scratch.path("pib.toml")).unwrap();
    let refusing = manifest.replace("native = false", "native = false\nlosses = \"refuse\"");
    fs::write(scratch.path("pib.toml"), refusing).unwrap();
    let locked = scratch.pib(&["build", "--locked"]).output().unwrap();
    let told = stderr_text(&locked);
    assert!(
        locked.status.code() == Some(3) && told.contains("refuses engines that lose something"),
        "{told}"
    );
    let output = classic(&["build"]);
    let told = stderr_text(&output);
    assert_eq!(output.status.code(), Some(5), "{told}");
    for part in
        ["pib::engine::lossy", "extended attributes of files", "below a VOLUME", "leave DOCKER_BUILDKIT"]
    {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
    assert_eq!(fs::read(scratch.image()).unwrap(), lossy, "the earlier image was changed");
    let text = fs::read_to_string(scratch.path("pib.lock")).unwrap();
    assert!(text.contains("\nlosses = \"refuse\"\n"), "{text}");
    refused(&verify(&scratch, &[]), "pib.lock refuses such engines");
    // An engine that keeps everything makes what it would make otherwise, and what it made is there for all engines.
    scratch.must_build();
    assert!(verify(&scratch, &[]).status.success());
    let output = classic(&["build"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("is up to date"));
}

#[test]
fn what_a_project_gives_now_is_told_apart_from_what_it_gave() {
    let _images = Images("verifiedlater");
    let (scratch, ..) = built("verifiedlater");
    scratch.part("mine", "RUN echo two > /one\n");
    refused(&verify(&scratch, &[]), "stage `mine` was 0.0.0");
    scratch.must_build();
    assert!(verify(&scratch, &[]).status.success());
    let manifest = fs::read_to_string(scratch.path("pib.toml")).unwrap();
    let with_host = manifest.replace("arch = \"arm64\"", "arch = \"arm64\"\nhostname = \"other\"");
    fs::write(scratch.path("pib.toml"), with_host).unwrap();
    refused(&verify(&scratch, &[]), "setting `project.hostname` was verifiedlater, and is other");
    let told = verify(&scratch, &["--json"]);
    let events = String::from_utf8_lossy(&told.stderr).into_owned();
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let differences = last["differences"].as_array().unwrap();
    assert!(
        differences.iter().any(|one| one["name"] == "setting `project.hostname`" && one["after"] == "other"),
        "{last}"
    );

    // The same build gives the same statement, also where it was lost.
    fs::write(scratch.path("pib.toml"), &manifest).unwrap();
    let before = fs::read_to_string(provenance(&scratch)).unwrap();
    fs::remove_file(provenance(&scratch)).unwrap();
    scratch.must_build();
    assert_eq!(fs::read_to_string(provenance(&scratch)).unwrap(), before);
}
