//! Copies of registries: whole or in part, signed or not, interrupted, and of registries that are not to be trusted.

use std::fs;
use std::path::Path;

use super::registry_service::Service;
use crate::bench::{Bench, PROJECT};
use crate::site::{Site, succeeds};

/// A registry behind a web server, with the stages `acme` and `light`.
struct Source {
    bench: Bench,
    site: Site,
}

impl Source {
    fn new() -> Self {
        let bench = Bench::new(PROJECT);
        let site = Site::start(bench.path("../registry"));
        let source = Self { bench, site };
        source.publish("acme", "1.0.0", &[]);
        source.publish("light", "1.0.0", &[]);
        source
    }

    fn publish(&self, name: &str, version: &str, more: &[&str]) {
        let folder = format!("../{name}");
        let manifest = format!("[stage]\nname = \"{name}\"\nversion = \"{version}\"\n");
        self.bench.write(&format!("{folder}/stage.toml"), &manifest);
        self.bench.write(&format!("{folder}/Dockerfile.part"), "RUN true\n");
        let args = ["publish", &folder, "--registry", "../registry", "--allow-incomplete"];
        succeeds(&self.bench, &[&args, more].concat());
    }

    fn sign(&self) -> String {
        let out = succeeds(&self.bench, &["--json", "registry", "sign", "../registry", "--key", "../key"]);
        let signed: serde_json::Value = serde_json::from_str(&out).unwrap();
        signed["key"].as_str().unwrap().to_owned()
    }

    fn mirror(&self, folder: &str, more: &[&str]) -> String {
        succeeds(&self.bench, &[&["registry", "mirror", &self.site.address, folder], more].concat())
    }

    /// Copies, which must fail with these words.
    fn refuses(&self, args: &[&str], words: &str) {
        let ran = self.bench.run(&[&["registry", "mirror"], args].concat());
        let errors = ran.errors.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.code != Some(0) && errors.contains(words), "{args:?}: {}{errors}", ran.out);
    }

    fn file(&self, path: &str) -> Vec<u8> {
        fs::read(self.bench.path(path)).unwrap()
    }
}

#[test]
fn a_signed_registry_is_copied_with_its_signature() {
    let source = Source::new();
    let (bench, key) = (&source.bench, source.sign());
    let said = source.mirror("copy", &["--key", &key]);
    assert!(said.contains("2 versions of 2 stages") && said.contains("signed snapshot 1"), "{said}");
    assert!(said.contains("2 archives fetched"), "{said}");
    assert!(source.mirror("copy", &["--key", &key]).contains("nothing was fetched"));
    assert!(succeeds(bench, &["registry", "verify", "copy"]).contains("2 versions of 2 stages"));
    // What was interrupted goes on: of the archives, only those are fetched that are not there and whole.
    source.publish("acme", "1.1.0", &["--key", "../key"]);
    fs::remove_file(bench.path("copy/archives/acme/acme-1.0.0.stage")).unwrap();
    bench.write("copy/archives/light/light-1.0.0.stage", "half");
    let said = source.mirror("copy", &["--key", &key]);
    assert!(said.contains("3 archives fetched") && said.contains("signed snapshot 2"), "{said}");
    assert_eq!(source.file("copy/snapshot.json"), source.file("../registry/snapshot.json"));
    // Projects take it in the place of the registry, by the same key, also from a server that has no key.
    let service = Service::of(bench, &["copy"]);
    let head = PROJECT.split("[stages]").next().unwrap();
    bench.write("pib.toml", &format!("{head}[stages]\nacme = {{ version = \"1\", registry = \"acme\" }}\n\n[registries.acme]\nindex = \"http://{}\"\nkey = \"{key}\"\n", service.address));
    succeeds(bench, &["lock"]);
    let lock = fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert!(lock.contains("name = \"acme\"\nversion = \"1.1.0\""), "{lock}");
    // Some of its stages: the snapshot is that of all.
    let said = source.mirror("some", &["acme", "--key", &key]);
    assert!(said.contains("2 versions of 1 stage of") && !bench.path("some/li").exists(), "{said}");
    assert!(succeeds(bench, &["registry", "verify", "some"]).contains("2 versions of 1 stage"));
    source.refuses(&[&source.site.address, "some", "nobody", "--key", &key], "it has no stage `nobody`");
    source.refuses(&["../registry", "some", "--key", &key], "it is a copy of");
    source.refuses(&[&source.site.address, "../registry", "--key", &key], "not a copy of a registry");
}

#[test]
fn nothing_is_copied_that_is_not_to_be_trusted() {
    let source = Source::new();
    let (bench, key) = (&source.bench, source.sign());
    let before = source.file("../registry/snapshot.json");
    source.mirror("copy", &["--key", &key]);
    source.publish("acme", "1.1.0", &["--key", "../key"]);
    source.mirror("copy", &["--key", &key]);
    // An archive, the index, the snapshot: each is altered in turn.
    let archive = "../registry/archives/acme/acme-1.1.0.stage";
    let mut whole = source.file(archive);
    whole[20] ^= 1;
    bench.write(archive, &whole);
    source.refuses(&[&source.site.address, "other", "--key", &key], "acme 1.1.0");
    assert!(!bench.path("other/ac").exists() && !bench.path("other/snapshot.json").exists());
    whole[20] ^= 1;
    bench.write(archive, &whole);
    let index = source.file("../registry/ac/me/acme");
    bench.write("../registry/ac/me/acme", "{}\n");
    source.refuses(&[&source.site.address, "copy", "--key", &key], "was altered");
    bench.write("../registry/ac/me/acme", &index);
    bench.write("../registry/snapshot.json", &before);
    source.refuses(&[&source.site.address, "copy", "--key", &key], "was rolled back");
    let other = format!("ed25519:{}", "0".repeat(64));
    source.refuses(&[&source.site.address, "copy", "--key", &other], "is signed by");
    assert!(succeeds(bench, &["registry", "verify", "copy"]).contains("3 versions of 2 stages"));
}

#[test]
fn a_registry_that_is_not_signed_is_copied_by_its_list() {
    let source = Source::new();
    source.refuses(&[&source.site.address, "copy"], "it does not list its stages");
    assert!(!Path::new(&source.bench.path("copy")).exists());
    assert!(source.mirror("copy", &["acme"]).contains("1 version of 1 stage"));
    let service = Service::of(&source.bench, &["../registry"]);
    let address = format!("http://{}", service.address);
    let said = succeeds(&source.bench, &["registry", "mirror", &address, "all"]);
    assert!(said.contains("2 versions of 2 stages") && said.contains("(not signed)"), "{said}");
    assert!(succeeds(&source.bench, &["registry", "verify", "all"]).contains("2 versions of 2 stages"));
    let said = succeeds(&source.bench, &["registry", "mirror", "../registry", "again"]);
    assert!(said.contains("2 archives fetched"), "{said}");
}
