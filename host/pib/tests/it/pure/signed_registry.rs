//! A signed registry behind a mirror that tampers with it, and the key of its publishers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use pib_plan::registry_snapshot::{RegistryKey, SignedSnapshot, Snapshot};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::bench::{Bench, PROJECT};
use crate::site::{Site, succeeds};

const INDEX: &str = "ac/me/acme";
const NEWER: &str = "[stages]\nacme = { version = \"1\", registry = \"acme\" }\n";

/// A registry, and a mirror of it that does what a test wants.
struct Mirror {
    bench: Bench,
    site: Site,
    key: String,
}

impl Mirror {
    /// Signs a registry that has stage `acme` 1.0.0, and has a project read it; where that `pins`, it names the key.
    fn new(pins: bool) -> Self {
        let bench = Bench::new(PROJECT);
        let site = Site::start(bench.path("../mirror"));
        let mut mirror = Self { bench, site, key: String::new() };
        mirror.stage("1.0.0");
        succeeds(&mirror.bench, &["publish", "../acme", "--index", "../registry", "--allow-incomplete"]);
        mirror.key = mirror.sign(&["--key", "../key"]);
        mirror.copy();
        mirror.project(pins.then_some(mirror.key.as_str()));
        mirror
    }

    fn stage(&self, version: &str) {
        let manifest = format!("[stage]\nname = \"acme\"\nversion = \"{version}\"\n");
        self.bench.write("../acme/stage.toml", &manifest);
        self.bench.write("../acme/Dockerfile.part", "RUN true\n");
    }

    fn project(&self, key: Option<&str>) {
        let key = key.map(|key| format!("key = \"{key}\"\n")).unwrap_or_default();
        let head = PROJECT.split("[stages]").next().unwrap();
        let text = format!("{head}\n{NEWER}\n[registries.acme]\nindex = \"{}\"\n{key}", self.site.address);
        self.bench.write("pib.toml", &text);
    }

    fn sign(&self, more: &[&str]) -> String {
        let out = succeeds(&self.bench, &[&["--json", "registry", "sign", "../registry"], more].concat());
        let signed: serde_json::Value = serde_json::from_str(&out).unwrap();
        signed["key"].as_str().unwrap().to_owned()
    }

    fn publish(&self, version: &str) {
        self.stage(version);
        let args = ["publish", "../acme", "--index", "../registry", "--allow-incomplete", "--key", "../key"];
        succeeds(&self.bench, &args);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.site.root.join(path)
    }

    /// Has the mirror be as the registry is.
    fn copy(&self) {
        _ = fs::remove_dir_all(&self.site.root);
        copy(&self.bench.path("../registry"), &self.site.root);
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).unwrap()
    }

    fn works(&self) {
        succeeds(&self.bench, &["update"]);
    }

    fn fails(&self, words: &str) {
        self.bench.fails(&["update"], 8, &["is not to be trusted", words]);
    }

    /// Signs a snapshot as its owner would, or as somebody who has stolen the key.
    fn forge(&self, change: impl Fn(&mut Snapshot)) {
        let secret = fs::read_to_string(self.bench.path("../key")).unwrap();
        let secret: [u8; 32] =
            pib_plan::registry_snapshot::from_hex(secret.trim().rsplit(':').next().unwrap()).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret).unwrap();
        let mut signed = SignedSnapshot::parse(&self.read("snapshot.json")).unwrap();
        let mut snapshot: Snapshot = serde_json::from_str(&signed.signed).unwrap();
        change(&mut snapshot);
        signed.signed = serde_json::to_string(&snapshot).unwrap();
        signed.key = RegistryKey(pair.public_key().as_ref().try_into().unwrap());
        signed.signature.0.copy_from_slice(pair.sign(signed.signed.as_bytes()).as_ref());
        fs::write(self.at("snapshot.json"), signed.to_text()).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().flatten() {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn what_a_mirror_changes_is_found_out() {
    for pins in [true, false] {
        let mirror = Mirror::new(pins);
        mirror.works();
        let index = mirror.at(INDEX);
        // It alters a line, adds a stage, holds one back.
        let text = String::from_utf8(mirror.read(INDEX)).unwrap();
        fs::write(&index, text.replace("\"phase\"", "\"yanked\":true,\"phase\"")).unwrap();
        mirror.fails("was altered");
        fs::remove_file(&index).unwrap();
        mirror.fails("is held back");
        mirror.copy();
        fs::create_dir_all(mirror.at("ev/il")).unwrap();
        fs::write(mirror.at("ev/il/evil"), text.replace("acme", "evil")).unwrap();
        mirror.bench.fails(
            &["info", "evil", "--registry", "acme"],
            8,
            &["is not to be trusted", "was added"],
        );
        fs::remove_file(&index).unwrap();
        mirror.forge(|snapshot| {
            snapshot.files.remove(INDEX);
        });
        mirror.fails("was forked");
        mirror.copy();
        // It alters the snapshot, has it signed by its own key, or holds it back.
        let signed = String::from_utf8(mirror.read("snapshot.json")).unwrap();
        fs::write(mirror.at("snapshot.json"), signed.replace("\\\"version\\\":1", "\\\"version\\\":2"))
            .unwrap();
        mirror.fails("its signature is not that of");
        fs::remove_file(mirror.at("snapshot.json")).unwrap();
        mirror.fails("it has no signed snapshot");
        fs::write(mirror.at("snapshot.json"), "{}").unwrap();
        mirror.fails("its snapshot cannot be read");
        let evil = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let mut other = SignedSnapshot::parse(signed.as_bytes()).unwrap();
        other.key = RegistryKey(evil.public_key().as_ref().try_into().unwrap());
        other.signature.0.copy_from_slice(evil.sign(other.signed.as_bytes()).as_ref());
        fs::write(mirror.at("snapshot.json"), other.to_text()).unwrap();
        mirror.fails(&format!("is signed by {}, and the key of this registry is {}", other.key, mirror.key));
        mirror.copy();
        mirror.works();
    }
}

#[test]
fn an_older_or_a_mixed_state_is_found_out() {
    let mirror = Mirror::new(true);
    mirror.works();
    let (old_index, old_snapshot) = (mirror.read(INDEX), mirror.read("snapshot.json"));
    mirror.publish("1.1.0");
    mirror.copy();
    let new_index = mirror.read(INDEX);
    // A newer snapshot with an index file of before.
    fs::write(mirror.at(INDEX), &old_index).unwrap();
    mirror.fails("is of another moment than its snapshot 2");
    // A newer file than the snapshot has, which the key has not signed yet.
    fs::write(mirror.at(INDEX), &new_index).unwrap();
    mirror.works();
    assert!(fs::read_to_string(mirror.bench.path("pib.lock")).unwrap().contains("1.1.0"));
    fs::write(mirror.at(INDEX), &old_index).unwrap();
    fs::write(mirror.at("snapshot.json"), &old_snapshot).unwrap();
    mirror.fails("was rolled back: it is number 1, and number 2 was read before");
    // A registry that is frozen: what was right once does not count for ever.
    mirror.copy();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    mirror.forge(|snapshot| (snapshot.version, snapshot.expires) = (3, now - 1));
    mirror.fails("is frozen: it has counted until");
    // What the lock holds needs no registry.
    succeeds(&mirror.bench, &["lock", "--offline"]);
    // Who knows nothing of the registry yet sees that, too.
    _ = fs::remove_dir_all(mirror.bench.path("../cache/registries"));
    mirror.fails("is frozen");
}

#[test]
fn a_key_is_followed_by_another() {
    let mirror = Mirror::new(true);
    mirror.works();
    let next = mirror.sign(&["--key", "../key", "--rotate-to", "../next"]);
    assert_ne!(next, mirror.key);
    mirror.copy();
    // A project that names the first key goes on, one that names the new one begins, and the first key signs no more.
    mirror.works();
    mirror.project(Some(&next));
    mirror.works();
    mirror.project(Some(&mirror.key));
    mirror.forge(|snapshot| snapshot.version = 9);
    mirror.fails(&format!("is signed by {}, and the key of this registry is {next}", mirror.key));
    mirror.bench.fails(
        &["registry", "sign", "../registry", "--key", "../key"],
        8,
        &["is signed by", "--rotate-to NEW"],
    );
    mirror.sign(&["--key", "../next", "--days", "90"]);
}

#[test]
fn who_publishes_to_a_signed_registry_has_its_key() {
    let mirror = Mirror::new(true);
    let bench = &mirror.bench;
    mirror.stage("1.1.0");
    let publish = ["publish", "../acme", "--index", "../registry", "--allow-incomplete"];
    bench.fails(&publish, 2, &["the registry is signed", "--key FILE"]);
    bench.fails(&["yank", "acme@1.0.0", "--registry", "../registry"], 2, &["the registry is signed"]);
    bench.fails(&["registry", "index", "../registry"], 2, &["the registry is signed"]);
    bench.fails(&[&publish[..], &["--key", "../none"]].concat(), 2, &["there is no file"]);
    mirror.publish("1.1.0");
    succeeds(bench, &["yank", "acme@1.0.0", "--registry", "../registry", "--key", "../key"]);
    assert!(succeeds(bench, &["registry", "verify", "../registry"]).contains("is whole"));
    succeeds(bench, &["registry", "index", "../registry", "--key", "../key"]);
    mirror.copy();
    mirror.works();
    // What somebody has put into the folder without the key is signed by nobody who publishes.
    let index = bench.path("../registry").join(INDEX);
    let line = fs::read_to_string(&index).unwrap();
    fs::create_dir_all(bench.path("../registry/ev/il")).unwrap();
    fs::write(bench.path("../registry/ev/il/evil"), line.replace("acme", "evil")).unwrap();
    mirror.publish("1.2.0");
    bench.fails(
        &["registry", "verify", "../registry"],
        8,
        &["`ev/il/evil` is not what `snapshot.json` says"],
    );
    // A key's file is its owner's alone.
    fs::set_permissions(bench.path("../key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    bench.fails(&[&publish[..], &["--key", "../key"]].concat(), 2, &["others may read the key"]);
    // A folder is compared where its key is named.
    let folder = bench.path("../registry").canonicalize().unwrap();
    let text = fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &text.replace(&mirror.site.address, &format!("file://{}", folder.display())));
    fs::write(&index, &line).unwrap();
    bench.fails(&["update"], 8, &["was altered"]);
    bench.write(
        "pib.toml",
        &format!("{PROJECT}\n[registries.acme]\nindex = \"oci://x.example/a\"\nkey = \"x\"\n"),
    );
    bench.fails(&["lock"], 3, &["is not the key of a registry"]);
}

#[test]
fn the_users_own_config_names_a_key() {
    let mirror = Mirror::new(false);
    let bench = &mirror.bench;
    let address = &mirror.site.address;
    let pin = |key: &str| {
        let text = format!("[registries.mine]\nindex = \"{address}/\"\nkey = \"{key}\"\n");
        bench.write("../.config/pib/config.toml", &text);
    };
    let other = format!("ed25519:{}", "ab".repeat(32));
    pin(&other);
    // It holds for the address, whatever the project calls the registry, and before anything was read.
    mirror.fails(&format!("is signed by {}", mirror.key));
    bench.fails(&["registry", "mirror", "mine", "../copy"], 8, &["is not to be trusted"]);
    mirror.project(Some(&mirror.key));
    bench.fails(&["update"], 3, &["different keys for the registry", &other, &mirror.key]);
    pin(&mirror.key);
    mirror.works();
    succeeds(bench, &["registry", "mirror", "mine", "../copy"]);
    assert!(succeeds(bench, &["config"]).contains("registries.mine.key"));
    fs::remove_file(mirror.at("snapshot.json")).unwrap();
    mirror.project(None);
    mirror.fails("it has no signed snapshot");
}

#[test]
fn a_server_signs_what_it_takes() {
    let mirror = Mirror::new(true);
    let bench = &mirror.bench;
    let token = succeeds(bench, &["--json", "registry", "token", "ann", "--tokens", "../tokens"]);
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    bench.fails(
        &["registry", "serve", "../registry", "--listen", "127.0.0.1:0", "--tokens", "../tokens"],
        2,
        &["the registry is signed"],
    );
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.args([
        "registry",
        "serve",
        "../registry",
        "--listen",
        "127.0.0.1:0",
        "--tokens",
        "../tokens",
        "--key",
        "../key",
    ]);
    let mut server = pib.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';');
    let variables = [
        ("PIB_REGISTRIES_ACME_INDEX", address),
        ("PIB_REGISTRIES_ACME_TOKEN", token["token"].as_str().unwrap()),
    ];
    let text = fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &text.replace(&mirror.site.address, address));
    mirror.stage("1.1.0");
    for args in [
        &["publish", "../acme", "--registry", "acme", "--allow-incomplete"][..],
        &["update"],
        &["yank", "acme@1.1.0", "--registry", "acme"],
        &["update"],
    ] {
        let ran = bench.run_with(args, &variables);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    }
    let signed = SignedSnapshot::parse(&fs::read(bench.path("../registry/snapshot.json")).unwrap()).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&signed.signed).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((snapshot.version, signed.key.to_string()), (3, mirror.key.clone()));
    let args = ["publish", "../acme", "--registry", "acme", "--key", "../key", "--allow-incomplete"];
    let ran = bench.run_with(&args, &variables);
    assert!(ran.code != Some(0), "{}", ran.out);
}

/// A key remembers what it has signed: an older state that somebody puts back, or a lost snapshot, is not signed as if it were the newest.
#[test]
fn a_registry_that_was_rolled_back_is_not_signed_unasked() {
    let mirror = Mirror::new(true);
    let bench = &mirror.bench;
    let (now, before) = (bench.path("../registry"), bench.path("../before"));
    copy(&now, &before);
    mirror.publish("1.1.0");
    mirror.copy();
    mirror.works();
    fs::remove_dir_all(&now).unwrap();
    copy(&before, &now);
    mirror.stage("1.2.0");
    let publish = ["publish", "../acme", "--index", "../registry", "--allow-incomplete", "--key", "../key"];
    let sign = ["registry", "sign", "../registry", "--key", "../key"];
    for args in [&publish[..], &["yank", "acme@1.0.0", "--registry", "../registry", "--key", "../key"], &sign]
    {
        let said =
            ["was rolled back: its snapshot has the number 1, and its key has signed number 2", "--number 3"];
        bench.fails(args, 8, &said);
    }
    assert_eq!(fs::read(now.join(INDEX)).unwrap(), fs::read(before.join(INDEX)).unwrap());
    fs::remove_file(now.join("snapshot.json")).unwrap();
    for args in [&publish[..], &sign] {
        bench.fails(args, 8, &["was rolled back: it has no snapshot, and its key has signed number 2"]);
    }
    let number = |number: &'static str| [&sign[..], &["--number", number]].concat();
    bench.fails(&number("2"), 8, &["cannot be signed with the number 2: the next one is 3"]);
    assert!(succeeds(bench, &number("7")).contains("its snapshot 7 counts until"));
    mirror.publish("1.2.0");
    mirror.copy();
    mirror.works();
}

#[test]
fn what_others_put_into_the_folder_is_never_signed_with_a_change() {
    let mirror = Mirror::new(true);
    let index = mirror.bench.path("../registry").join(INDEX);
    let own = fs::read_to_string(&index).unwrap();
    let foreign = format!("{own}{}", own.replace("1.0.0", "1.0.9"));
    fs::write(&index, &foreign).unwrap();
    mirror.stage("1.1.0");
    let publish = ["publish", "../acme", "--index", "../registry", "--allow-incomplete", "--key"];
    let said = ["was changed without its key", INDEX, "Nothing was changed"];
    mirror.bench.fails(&[&publish[..], &["../key"]].concat(), 8, &said);
    mirror.bench.fails(&["yank", "acme@1.0.0", "--registry", "../registry", "--key", "../key"], 8, &said);
    assert_eq!(fs::read_to_string(&index).unwrap(), foreign);
    fs::write(&index, &own).unwrap();
    // Nor does a key that is not the registry's change anything.
    let secret = format!("pib-registry-key:{}\n", "11".repeat(32));
    mirror.bench.write("../other", &secret);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(mirror.bench.path("../other"), private).unwrap();
    mirror.bench.fails(&[&publish[..], &["../other"]].concat(), 8, &["signed by"]);
    assert_eq!(fs::read_to_string(&index).unwrap(), own);
    mirror.publish("1.1.0");
    assert!(fs::read_to_string(&index).unwrap().contains("1.1.0"));
}

#[test]
fn a_key_stays_out_of_the_folder_that_is_served() {
    let mirror = Mirror::new(true);
    for more in [&["--key", "../registry/new"][..], &["--key", "../key", "--rotate-to", "../registry/new"]] {
        let sign = [&["registry", "sign", "../registry"], more].concat();
        mirror.bench.fails(
            &sign,
            2,
            &["would be a file of the registry", "outside of the registry's folder"],
        );
    }
    assert!(!mirror.bench.path("../registry/new").exists());
}

/// What an attacker on the way says of a forged snapshot, e.g. that it is of next year, must not count for the true one.
#[test]
fn a_refused_snapshot_is_not_kept() {
    let mirror = Mirror::new(true);
    mirror.works();
    let forged = String::from_utf8(mirror.read("snapshot.json")).unwrap().replacen("sha256:", "sha256:0", 1);
    fs::write(mirror.at("snapshot.json"), forged).unwrap();
    assert_ne!(mirror.bench.run(&["update"]).code, Some(0));
    let kept = walkdir::WalkDir::new(mirror.bench.folder.path().join("cache")).into_iter().flatten();
    assert_eq!(kept.filter(|entry| entry.file_name() == "snapshot.json").count(), 0);
    mirror.copy();
    mirror.works();
}
