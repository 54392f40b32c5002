//! What is released, made of a stand-in for the program: the same bytes twice, and as the tools understand it that people
//! install it with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pib_dist::{Documents, Package, Release, Target, Texts};
use serde_json::Value;

/// Small, and prints what it is.
const PROGRAM: &[u8] = b"#!/bin/sh\necho pib 9.8.7\n";
const EPOCH: u64 = 1_795_959_549;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is linked into the program on this machine; the sources of other machines' packages need not be here.
fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let tree =
            ["tree", "--locked", "--offline", "-p", "pib", "-e", "normal,no-proc-macro", "--prefix", "none"];
        let tree = cargo(&[&tree[..], &["--target", &platform]].concat());
        let metadata =
            ["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", &platform];
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        let mut packages = pib_dist::linked(&tree, &cargo(&metadata), &lock).unwrap();
        packages.extend(pib_dist::bundled(&packages, "1.95.0", "1.2.5").unwrap());
        packages
    })
}

fn release() -> Release {
    let foreign = packages().iter().filter(|package| !package.is_own).cloned();
    let page = |name: &str| (format!("{name}.1"), b".TH PIB 1\n.SH NAME\npib \\- builds images\n".to_vec());
    let own = |path: &str| (path.to_owned(), format!("of {path}\n").into_bytes());
    Release {
        version: "9.8.7".to_owned(),
        epoch: EPOCH,
        target: Target::Arm64,
        program: PROGRAM.to_vec(),
        documents: Documents {
            manual: vec![page("pib"), page("pib-build")],
            completions: [b"bash\n".to_vec(), b"zsh\n".to_vec(), b"fish\n".to_vec()],
            own: ["CHANGELOG.md", "LICENSE-MIT", "README.md", "book/guides/stages.md"].map(own).to_vec(),
        },
        packages: foreign.map(|package| Texts::of(&package).map(|texts| (package, texts)).unwrap()).collect(),
        bill: pib_dist::bill(packages(), PROGRAM, EPOCH),
    }
}

/// Runs a tool that judges, and returns what it printed.
fn judged(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    assert!(errors.is_empty(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_same_release_has_the_same_bytes() {
    let (one, other) = (release(), release());
    assert!(one.archive().unwrap() == other.archive().unwrap(), "two archives differ");
    assert!(pib_dist::deb(&one).unwrap() == pib_dist::deb(&other).unwrap(), "two packages differ");
    let mut later = release();
    later.epoch += 1;
    assert!(
        one.archive().unwrap() != later.archive().unwrap(),
        "the archive does not have the release's time"
    );
}

#[test]
fn tar_unpacks_the_archive_to_where_shells_and_man_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let release = release();
    fs::write(path("pib.tar"), zstd::decode_all(release.archive().unwrap().as_slice()).unwrap()).unwrap();
    let listed =
        judged("tar", &["--list", "--verbose", "--numeric-owner", "--utc", "--file", &path("pib.tar")]);
    let first = listed.lines().next().unwrap();
    assert!(first.starts_with("drwxr-xr-x 0/0") && first.ends_with(" pib-9.8.7-aarch64-linux/"), "{first}");
    assert!(listed.lines().all(|line| line.contains("2026-11-29 13:39 ")), "{listed}");
    fs::create_dir(path("usr")).unwrap();
    let unpack =
        ["--extract", "--strip-components=1", "--file", &path("pib.tar"), "--directory", &path("usr")];
    judged("tar", &unpack);
    assert_eq!(judged(&path("usr/bin/pib"), &[]), "pib 9.8.7\n");
    for name in [
        "share/man/man1/pib-build.1",
        "share/bash-completion/completions/pib",
        "share/zsh/site-functions/_pib",
        "share/fish/vendor_completions.d/pib.fish",
        "share/doc/pib/LICENSE-MIT",
        "share/doc/pib/THIRD-PARTY-LICENSES.txt",
        "share/doc/pib/pib.cdx.json",
        "share/doc/pib/book/guides/stages.md",
    ] {
        assert!(folder.path().join("usr").join(name).is_file(), "no {name}:\n{listed}");
    }
}

#[test]
fn dpkg_reads_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("pib.deb"), pib_dist::deb(&release()).unwrap()).unwrap();
    let field = |name: &str| judged("dpkg-deb", &["--field", &path("pib.deb"), name]).trim_end().to_owned();
    for (name, value) in
        [("Package", "pib"), ("Version", "9.8.7-1"), ("Architecture", "arm64"), ("Depends", "")]
    {
        assert_eq!(field(name), value, "{name}");
    }
    assert!(field("Description").starts_with("builds bootable Raspberry Pi images from versioned stages\n"));
    let listed = judged("dpkg-deb", &["--contents", &path("pib.deb")]);
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    judged("dpkg-deb", &["--raw-extract", &path("pib.deb"), &path("root")]);
    assert_eq!(judged(&path("root/usr/bin/pib"), &[]), "pib 9.8.7\n");
    let page = judged("gzip", &["--decompress", "--stdout", &path("root/usr/share/man/man1/pib.1.gz")]);
    assert!(page.starts_with(".TH PIB 1"), "{page}");
    for name in [
        "changelog.gz",
        "changelog.Debian.gz",
        "copyright",
        "THIRD-PARTY-LICENSES.txt.gz",
        "pib.cdx.json.gz",
        "book/guides/stages.md",
    ] {
        assert!(folder.path().join("root/usr/share/doc/pib").join(name).is_file(), "no {name}:\n{listed}");
    }
    // What dpkg compares with, later.
    let sums = "cd \"$1\" && md5sum --check --quiet DEBIAN/md5sums && wc -l < DEBIAN/md5sums";
    let files = listed.lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(judged("sh", &["-c", sums, "sh", &path("root")]).trim(), files.to_string());
}

#[test]
fn everything_that_is_linked_has_terms_and_somebody_who_has_the_copyright() {
    let release = release();
    let ids: Vec<String> = release.packages.iter().map(|(package, _)| package.id()).collect();
    for part in [
        "libgit2 1.",
        "musl 1.2.5",
        "rust-std 1.95.0",
        "serde 1.",
        "xz 5.",
        "zlib 1.",
        "zstd 1.5",
        "wasmtime ",
    ] {
        assert!(ids.iter().any(|id| id.starts_with(part)), "{part} is not in {ids:?}");
    }
    assert!(!ids.iter().any(|id| id.starts_with("insta ") || id.starts_with("pib ")), "{ids:?}");
    for (package, texts) in &release.packages {
        assert!(!texts.texts.is_empty() && !texts.copyright.is_empty(), "{}", package.id());
    }
    let document = pib_dist::third_party(&release.packages);
    for part in ["LINKING EXCEPTION", "Sources: https://crates.io/crates/serde/1.", "Mozilla Public License"]
    {
        assert!(document.contains(part), "{part} is not in the licences");
    }
    // The third version of the GPL is that of scripts beside xz, which are not compiled.
    let heading = "GNU GENERAL PUBLIC LICENSE\n                       Version 3";
    assert!(!document.contains(heading), "of what is not compiled");
}

/// The part of CycloneDX 1.6 that the bill uses, with nothing beside it allowed.
const SCHEMA: &str = include_str!("cyclonedx.schema.json");

#[test]
fn the_bill_of_materials_is_as_cyclonedx_defines_it() {
    let release = release();
    let bill: Value = serde_json::from_str(&release.bill).unwrap();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("bill", serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let mut schemas = boon::Schemas::new();
    let schema = compiler.compile("bill", &mut schemas).unwrap();
    schemas.validate(&bill, schema).unwrap_or_else(|error| panic!("{error:#}"));
    let references: Vec<&Value> =
        bill["dependencies"].as_array().unwrap().iter().map(|one| &one["ref"]).collect();
    for uses in
        bill["dependencies"].as_array().unwrap().iter().flat_map(|one| one["dependsOn"].as_array().unwrap())
    {
        assert!(references.contains(&uses), "{uses} is used and not listed");
    }
    assert_eq!(bill["components"].as_array().unwrap().len() + 1, packages().len());
    let from_registry = packages().iter().filter(|package| package.checksum.is_some()).count();
    assert!(from_registry > 200, "{from_registry}");
}

#[test]
fn sha256sum_checks_the_digests() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["b", "a"].map(|name| folder.path().join(name));
    for file in &files {
        fs::write(file, file.display().to_string()).unwrap();
    }
    fs::write(folder.path().join("SHA256SUMS"), pib_dist::sums(&files).unwrap()).unwrap();
    let check = "cd \"$1\" && sha256sum --check --strict SHA256SUMS";
    assert_eq!(judged("sh", &["-c", check, "sh", &folder.path().display().to_string()]), "a: OK\nb: OK\n");
}
