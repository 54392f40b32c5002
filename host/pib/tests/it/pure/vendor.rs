//! `pib vendor`: a project that holds its stages itself, built by the real binary without network and cache.

use std::fs;
use std::path::PathBuf;

use crate::bench::{Bench, PROJECT};
use crate::forge::{Forge, Manners, Repo};
use crate::site::{Site, publish, succeeds};

/// What takes a build to the engine: a container image that it would be asked for.
const BASE: &str =
    "\n[base]\nimage = \"base@sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

/// A project with stages from everywhere: bundled, a web server, git, a folder beside it and one in it.
struct Setup {
    bench: Bench,
    site: Site,
    forge: Forge,
    commit: String,
}

fn setup() -> Setup {
    let bench = Bench::new(PROJECT);
    let site = Site::start(bench.path("../registry"));
    publish(&bench, "1.0.0");
    let repo = Repo::new(&bench.path("../repos/kvm"));
    repo.stage("stages/kvm", "kvm", "2.0.0");
    let commit = repo.commit();
    let forge = Forge::start(&bench.path("../repos"), Manners::default());
    outside(&bench);
    bench.stage("mine", "", Some("RUN true\n"));
    bench.write(
        "pib.toml",
        &format!(
            "{PROJECT}acme = {{ version = \"1\", registry = \"acme\" }}\n\
             kvm = {{ git = \"{}/kvm/.git\", path = \"stages/kvm\" }}\n\
             cam = {{ path = \"../outside/cam\" }}\nmine = {{ path = \"stages/mine\" }}\n\
             \n[registries.acme]\nindex = \"{}\"\n",
            forge.address, site.address
        ),
    );
    Setup { bench, site, forge, commit }
}

/// Writes a stage into a folder beside the project.
fn outside(bench: &Bench) {
    bench.write("../outside/cam/stage.toml", "[stage]\nname = \"cam\"\nversion = \"0.3.0\"\n");
    bench.write("../outside/cam/Dockerfile.part", "COPY stages/cam/files /\n");
    bench.write("../outside/cam/files/etc/cam.conf", "x = 1\n");
}

impl Setup {
    fn run(&self, args: &[&str]) -> String {
        succeeds(&self.bench, args)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.bench.path(name)).unwrap()
    }

    /// Leaves nothing of this machine but the project itself.
    fn forget(&self) {
        for name in ["../cache", "../outside"] {
            let _ = fs::remove_dir_all(self.bench.path(name));
        }
    }

    /// Runs what must fail; returns what it said, on one line.
    fn fails(&self, args: &[&str], code: i32) -> String {
        let ran = self.bench.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.errors);
        let words: Vec<&str> =
            ran.errors.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect();
        words.join(" ")
    }

    fn times(&self) -> Vec<(PathBuf, std::time::SystemTime)> {
        let names = self.bench.files().into_iter().map(|(path, _)| path);
        names.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
    }
}

#[test]
fn a_frozen_build_without_network_and_cache_comes_to_the_engine() {
    let setup = setup();
    let said = setup.run(&["vendor"]);
    assert!(said.starts_with("7 stages are in vendor\nwritten: "), "{said}");
    assert!(said.contains("pib.toml has [vendor] path = \"vendor\" now"), "{said}");
    let list = setup.read("vendor/vendored.toml");
    for source in
        ["\"bundled\"", &format!("registry+{}/", setup.site.address), &setup.commit, "path+../outside/cam"]
    {
        assert!(list.contains(source), "no {source} in {list}");
    }
    assert!(!list.contains("mine") && !setup.bench.path("vendor/mine").exists());
    assert_eq!(setup.read("vendor/cam/files/etc/cam.conf"), "x = 1\n");
    let before = setup.run(&["plan", "--dockerfile"]);
    setup.forget();
    setup.site.asked();
    let requests = setup.forge.requests();
    assert_eq!(setup.run(&["plan", "--dockerfile"]), before, "vendored stages build otherwise");
    let alone = setup.bench.run_without_network(&["plan", "--dockerfile", "--frozen"]);
    assert_eq!((alone.code, alone.out), (Some(0), before), "{}", alone.errors);
    // All is decided; what is missing is the engine, whatever the base comes from.
    let reaches_the_engine = || {
        let built = setup.bench.run_without_network(&["build", "--frozen"]);
        assert!(built.code == Some(5) && built.errors.contains("engine.sock"), "{}", built.errors);
    };
    reaches_the_engine();
    setup.bench.write("pib.toml", &format!("{}{BASE}", setup.read("pib.toml")));
    reaches_the_engine();
    for args in [&["lock", "--frozen"][..], &["fetch", "--frozen"], &["tree", "--frozen"], &["why", "acme"]] {
        setup.run(args);
    }
    assert!(!setup.bench.path("../cache/stages").exists(), "the cache was used");
    // A second run takes what is there, though it could get nothing from elsewhere, and touches no file.
    let times = setup.times();
    let again = setup.bench.run_without_network(&["vendor", "--frozen"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "7 stages are in vendor\n"), "{}", again.errors);
    assert_eq!(setup.times(), times);
    assert_eq!((setup.site.asked().len(), setup.forge.requests()), (0, requests));
}

/// Adds a target to the project: another version of a stage, one that only it has from each place, one left out.
fn with_targets(setup: &Setup) {
    publish(&setup.bench, "2.0.0");
    setup.bench.write("../outside/pins/stage.toml", "[stage]\nname = \"pins\"\nversion = \"0.1.0\"\n");
    setup.bench.write("../outside/pins/Dockerfile.part", "RUN true\n");
    let targets = "\n[target.kiosk.stages]\nacme = { version = \"2\", registry = \"acme\" }\n\
                   pins = { path = \"../outside/pins\" }\nkvm = false\nro = \"1\"\n\n[target.spare]\nhostname = \"spare\"\n";
    setup.bench.write("pib.toml", &format!("{}{targets}", setup.read("pib.toml")));
}

#[test]
fn what_only_targets_have_is_vendored_too() {
    let setup = setup();
    with_targets(&setup);
    let said = setup.run(&["vendor"]);
    assert!(said.starts_with("10 stages are in vendor\n"), "{said}");
    assert!(said.contains("acme, acme-2.0.0, cam, kvm, os, pins, ro, watchdog"), "{said}");
    for (folder, version) in [("acme", "1.0.0"), ("acme-2.0.0", "2.0.0"), ("pins", "0.1.0")] {
        assert!(setup.read(&format!("vendor/{folder}/stage.toml")).contains(version), "{folder}");
    }
    let plan = |target: &str| ["plan", "--dockerfile", "--frozen", "--target", target].map(str::to_owned);
    let dockerfile = |target: &str| {
        let args = plan(target);
        let ran = setup.bench.run_without_network(&args.each_ref().map(String::as_str));
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        ran.out
    };
    let before = ["kiosk", "spare"].map(dockerfile);
    setup.forget();
    assert_eq!(["kiosk", "spare"].map(dockerfile), before);
    let built = setup.bench.run_without_network(&["build", "--frozen", "--all", "--json"]);
    let outcomes: serde_json::Value = serde_json::from_str(&built.out).unwrap();
    for at in 0..2 {
        let error = &outcomes[at]["error"];
        assert_eq!(error["exit-code"], 5, "{outcomes}");
        assert!(error["message"].as_str().unwrap().contains("engine"), "{outcomes}");
    }
    assert!(!setup.bench.path("../cache/stages").exists(), "the cache was used");
    let times = setup.times();
    let again = setup.bench.run_without_network(&["vendor", "--frozen"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "10 stages are in vendor\n"), "{}", again.errors);
    assert_eq!(setup.times(), times);
    for args in [&["fetch", "--frozen"][..], &["tree", "--frozen", "--target", "kiosk"]] {
        setup.run(args);
    }
}

/// What a target has is checked as what the project has, and goes with the target.
#[test]
fn the_vendored_stages_of_a_target_are_its_own() {
    let setup = setup();
    with_targets(&setup);
    setup.run(&["vendor"]);
    setup.bench.write("vendor/acme-2.0.0/Dockerfile.part", "RUN evil\n");
    setup.run(&["plan", "--frozen"]);
    setup.run(&["plan", "--frozen", "--target", "spare"]);
    let said = setup.fails(&["plan", "--frozen", "--target", "kiosk"], 8);
    assert!(said.contains("stage `acme`") && said.contains("vendor/acme-2.0.0"), "{said}");
    assert!(setup.run(&["vendor"]).contains("written: acme-2.0.0"));
    // What is new for the target must be vendored before the target builds, and before it only.
    let manifest = setup.read("pib.toml");
    setup.bench.write("pib.toml", &manifest.replace("ro = \"1\"", "ro = \"=1.0.0\""));
    let said = setup.fails(&["plan", "--target", "kiosk"], 3);
    assert!(said.contains("not vendored in `vendor`: `ro 1.0.0`"), "{said}");
    setup.run(&["plan"]);
    setup.run(&["vendor"]);
    setup.run(&["plan", "--frozen", "--target", "kiosk"]);
    // The project takes over the target's version: its folder has the plain name then.
    let at = manifest.find("[target.kiosk.stages]").unwrap();
    let last = manifest[..at].replace("acme = { version = \"1\"", "acme = { version = \"2\"");
    setup.bench.write("pib.toml", &format!("{last}[vendor]\npath = \"vendor\"\n"));
    let said = setup.run(&["vendor"]);
    assert!(said.contains("written: acme\nremoved: acme-2.0.0, pins, ro"), "{said}");
    assert!(setup.read("vendor/acme/stage.toml").contains("2.0.0"));
    setup.run(&["plan", "--frozen"]);
}

#[test]
fn a_changed_file_is_an_error_with_both_digests() {
    let setup = setup();
    setup.run(&["vendor"]);
    let part = setup.bench.path("vendor/acme/Dockerfile.part");
    let digest = |text: &str| pib_plan::id::Digest::of(text.as_bytes()).to_string();
    let (good, evil) = ("RUN true\n", "RUN evil\n");
    fs::write(&part, evil).unwrap();
    for args in [&["plan"][..], &["build"], &["lock"], &["fetch"], &["tree", "--offline"], &["add", "ro"]] {
        let said = setup.fails(args, 8);
        for words in
            ["stage `acme`", "`Dockerfile.part` was changed", &digest(good), &digest(evil), "[patch] acme"]
        {
            assert!(said.contains(words), "{args:?}: no `{words}` in {said}");
        }
    }
    // Whoever changes the list as well is found out by the lock.
    let list = setup.read("vendor/vendored.toml");
    let at = list.find("name = \"acme\"").unwrap();
    let content = list[at..].lines().find(|line| line.starts_with("content")).unwrap();
    setup
        .bench
        .write("vendor/vendored.toml", &list.replace(content, &format!("content = \"{}\"", digest("x"))));
    let said = setup.fails(&["plan"], 8);
    for words in
        ["is not the one that is locked", &content[11..content.len() - 1], &digest("x"), "pib vendor"]
    {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    setup.forget();
    let said = setup.run(&["vendor"]);
    assert!(said.contains("written: acme"), "{said}");
    assert_eq!(
        (fs::read_to_string(&part).unwrap().as_str(), setup.read("vendor/vendored.toml")),
        (good, list)
    );
    fs::remove_dir_all(setup.bench.path("vendor/kvm")).unwrap();
    assert!(setup.fails(&["plan"], 3).contains("of the vendored stage `kvm` is not there"));
    fs::remove_file(setup.bench.path("vendor/vendored.toml")).unwrap();
    let said = setup.fails(&["plan"], 3);
    assert!(said.contains("has stages vendored in `vendor`, and there is no list"), "{said}");
    outside(&setup.bench);
    setup.run(&["vendor"]);
    setup.run(&["plan", "--frozen"]);
}

#[test]
fn what_is_not_locked_any_more_goes_and_what_is_new_must_be_vendored() {
    let setup = setup();
    setup.run(&["vendor", "third-party/stages"]);
    assert!(setup.read("pib.toml").ends_with("\n[vendor]\npath = \"third-party/stages\"\n"));
    setup.bench.write("third-party/README", "ours\n");
    setup.bench.write("third-party/stages/notes", "ours\n");
    publish(&setup.bench, "1.1.0");
    setup.run(&["update", "acme"]);
    setup.run(&["remove", "cam"]);
    setup.run(&["add", "ro"]);
    let said = setup.fails(&["plan"], 3);
    assert!(said.contains("not vendored in `third-party/stages`: `acme 1.1.0` and `ro 1.5.0`"), "{said}");
    assert!(said.contains("Run `pib vendor`"), "{said}");
    let said = setup.run(&["vendor"]);
    assert!(said.contains("written: acme, ro\nremoved: cam"), "{said}");
    assert!(!setup.bench.path("third-party/stages/cam").exists());
    assert_eq!(setup.read("third-party/stages/notes"), "ours\n");
    setup.run(&["plan", "--frozen"]);
    // Another's file where a stage must go: nothing is done at all.
    fs::remove_dir_all(setup.bench.path("third-party/stages/acme")).unwrap();
    setup.bench.write("third-party/stages/acme/mine.txt", "ours\n");
    let before = setup.bench.files();
    assert!(setup.fails(&["vendor"], 1).contains("was not made by `pib vendor`"));
    assert_eq!(setup.bench.files(), before);
    for folder in [".", "..", "target", "target/x", "/tmp", "a/../b"] {
        assert!(setup.fails(&["vendor", folder], 2).contains("cannot hold the project's stages"), "{folder}");
    }
}

#[test]
fn a_folder_outside_that_moves_on_is_told_and_taken_by_the_next_run() {
    let setup = setup();
    setup.run(&["vendor"]);
    setup.bench.write("../outside/cam/files/etc/cam.conf", "x = 2\n");
    let ran = setup.bench.run(&["plan"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.errors.contains("has changed since stage `cam` was vendored"), "{}", ran.errors);
    assert_eq!(setup.read("vendor/cam/files/etc/cam.conf"), "x = 1\n");
    assert!(setup.run(&["vendor"]).contains("written: cam"));
    assert_eq!(setup.read("vendor/cam/files/etc/cam.conf"), "x = 2\n");
    assert_eq!(setup.bench.run(&["plan"]).errors, "");
}

#[test]
fn a_lock_that_must_not_change_is_obeyed() {
    let setup = setup();
    setup.bench.fails(&["vendor", "--locked"], 3, &["--locked", "pib lock"]);
    assert!(!setup.bench.path("vendor").exists());
    setup.run(&["lock"]);
    setup.bench.fails(&["vendor", "--offline"], 8, &["is not in the cache"]);
    assert!(!setup.bench.path("vendor").exists());
    let said: serde_json::Value =
        serde_json::from_str(&setup.run(&["vendor", "--locked", "--json"])).unwrap();
    assert_eq!((said["path"].as_str(), said["stages"].as_array().unwrap().len()), (Some("vendor"), 7));
    let text = setup.read("pib.toml");
    // What stands in `.git` decides which programs git starts.
    for folder in ["../vendor", ".git", ".git/hooks", "a/.GIT"] {
        setup.bench.write("pib.toml", &text.replace("path = \"vendor\"", &format!("path = \"{folder}\"")));
        let told = format!("`{folder}` cannot be the folder of vendored stages");
        setup.bench.fails(&["plan"], 3, &[&told, "pib.toml:"]);
    }
    setup.bench.write("pib.toml", &text);
    setup.bench.fails(&["vendor", ".git/hooks"], 2, &["`.git/hooks` cannot hold", "it is git's own"]);
    assert!(!setup.bench.path(".git/hooks").exists());
}
