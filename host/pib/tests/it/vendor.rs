//! `pib vendor`: a project that holds its stages itself, built by the real binary without network and cache.

use std::fs;
use std::path::PathBuf;

use crate::bench::{Bench, PROJECT};
use crate::git::forge::{Forge, Manners, Repo};
use crate::registry::{Site, publish, succeeds};
use crate::world::{Images, World};

/// What takes a build to the engine: a container image that it would be asked for.
const BASE: &str =
    "\n[base]\nimage = \"base@sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

/// A project with stages from everywhere: bundled, a web server, git, a folder beside it and one in it.
struct Place {
    bench: Bench,
    site: Site,
    forge: Forge,
    commit: String,
}

fn place() -> Place {
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
    Place { bench, site, forge, commit }
}

/// Writes a stage into a folder beside the project.
fn outside(bench: &Bench) {
    bench.write("../outside/cam/stage.toml", "[stage]\nname = \"cam\"\nversion = \"0.3.0\"\n");
    bench.write("../outside/cam/Dockerfile.part", "COPY stages/cam/files /\n");
    bench.write("../outside/cam/files/etc/cam.conf", "x = 1\n");
}

impl Place {
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
    let place = place();
    let said = place.run(&["vendor"]);
    assert!(said.starts_with("7 stages are in vendor\nwritten: "), "{said}");
    assert!(said.contains("pib.toml has [vendor] path = \"vendor\" now"), "{said}");
    let list = place.read("vendor/vendored.toml");
    for source in
        ["\"bundled\"", &format!("registry+{}/", place.site.address), &place.commit, "path+../outside/cam"]
    {
        assert!(list.contains(source), "no {source} in {list}");
    }
    assert!(!list.contains("mine") && !place.bench.path("vendor/mine").exists());
    assert_eq!(place.read("vendor/cam/files/etc/cam.conf"), "x = 1\n");
    let before = place.run(&["plan", "--dockerfile"]);
    place.forget();
    place.site.asked();
    let requests = place.forge.requests();
    assert_eq!(place.run(&["plan", "--dockerfile"]), before, "vendored stages build otherwise");
    let alone = place.bench.run_without_network(&["plan", "--dockerfile", "--frozen"]);
    assert_eq!((alone.code, alone.out), (Some(0), before), "{}", alone.errors);
    // All is decided; what is missing is the engine, whatever the base comes from.
    let reaches_the_engine = || {
        let built = place.bench.run_without_network(&["build", "--frozen"]);
        assert!(built.code == Some(5) && built.errors.contains("engine.sock"), "{}", built.errors);
    };
    reaches_the_engine();
    place.bench.write("pib.toml", &format!("{}{BASE}", place.read("pib.toml")));
    reaches_the_engine();
    for args in [&["lock", "--frozen"][..], &["fetch", "--frozen"], &["tree", "--frozen"], &["why", "acme"]] {
        place.run(args);
    }
    assert!(!place.bench.path("../cache/stages").exists(), "the cache was used");
    // A second run takes what is there, though it could get nothing from elsewhere, and touches no file.
    let times = place.times();
    let again = place.bench.run_without_network(&["vendor", "--frozen"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "7 stages are in vendor\n"), "{}", again.errors);
    assert_eq!(place.times(), times);
    assert_eq!((place.site.asked().len(), place.forge.requests()), (0, requests));
}

/// Adds a target to the project: another version of a stage, one that only it has from each place, one left out.
fn with_targets(place: &Place) {
    publish(&place.bench, "2.0.0");
    place.bench.write("../outside/pins/stage.toml", "[stage]\nname = \"pins\"\nversion = \"0.1.0\"\n");
    place.bench.write("../outside/pins/Dockerfile.part", "RUN true\n");
    let targets = "\n[target.kiosk.stages]\nacme = { version = \"2\", registry = \"acme\" }\n\
                   pins = { path = \"../outside/pins\" }\nkvm = false\nro = \"1\"\n\n[target.spare]\nhostname = \"spare\"\n";
    place.bench.write("pib.toml", &format!("{}{targets}", place.read("pib.toml")));
}

#[test]
fn what_only_targets_have_is_vendored_too() {
    let place = place();
    with_targets(&place);
    let said = place.run(&["vendor"]);
    assert!(said.starts_with("10 stages are in vendor\n"), "{said}");
    assert!(said.contains("acme, acme-2.0.0, cam, kvm, os, pins, ro, watchdog"), "{said}");
    for (folder, version) in [("acme", "1.0.0"), ("acme-2.0.0", "2.0.0"), ("pins", "0.1.0")] {
        assert!(place.read(&format!("vendor/{folder}/stage.toml")).contains(version), "{folder}");
    }
    let plan = |target: &str| ["plan", "--dockerfile", "--frozen", "--target", target].map(str::to_owned);
    let dockerfile = |target: &str| {
        let args = plan(target);
        let ran = place.bench.run_without_network(&args.each_ref().map(String::as_str));
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
        ran.out
    };
    let before = ["kiosk", "spare"].map(dockerfile);
    place.forget();
    assert_eq!(["kiosk", "spare"].map(dockerfile), before);
    let built = place.bench.run_without_network(&["build", "--frozen", "--all", "--json"]);
    let outcomes: serde_json::Value = serde_json::from_str(&built.out).unwrap();
    for at in 0..2 {
        let error = &outcomes[at]["error"];
        assert_eq!(error["exit-code"], 5, "{outcomes}");
        assert!(error["message"].as_str().unwrap().contains("engine"), "{outcomes}");
    }
    assert!(!place.bench.path("../cache/stages").exists(), "the cache was used");
    let times = place.times();
    let again = place.bench.run_without_network(&["vendor", "--frozen"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "10 stages are in vendor\n"), "{}", again.errors);
    assert_eq!(place.times(), times);
    for args in [&["fetch", "--frozen"][..], &["tree", "--frozen", "--target", "kiosk"]] {
        place.run(args);
    }
}

/// What a target has is checked as what the project has, and goes with the target.
#[test]
fn the_vendored_stages_of_a_target_are_its_own() {
    let place = place();
    with_targets(&place);
    place.run(&["vendor"]);
    place.bench.write("vendor/acme-2.0.0/Dockerfile.part", "RUN evil\n");
    place.run(&["plan", "--frozen"]);
    place.run(&["plan", "--frozen", "--target", "spare"]);
    let said = place.fails(&["plan", "--frozen", "--target", "kiosk"], 8);
    assert!(said.contains("stage `acme`") && said.contains("vendor/acme-2.0.0"), "{said}");
    assert!(place.run(&["vendor"]).contains("written: acme-2.0.0"));
    // What is new for the target must be vendored before the target builds, and before it only.
    let manifest = place.read("pib.toml");
    place.bench.write("pib.toml", &manifest.replace("ro = \"1\"", "ro = \"=1.0.0\""));
    let said = place.fails(&["plan", "--target", "kiosk"], 3);
    assert!(said.contains("not vendored in `vendor`: `ro 1.0.0`"), "{said}");
    place.run(&["plan"]);
    place.run(&["vendor"]);
    place.run(&["plan", "--frozen", "--target", "kiosk"]);
    // The project takes over the target's version: its folder has the plain name then.
    let at = manifest.find("[target.kiosk.stages]").unwrap();
    let last = manifest[..at].replace("acme = { version = \"1\"", "acme = { version = \"2\"");
    place.bench.write("pib.toml", &format!("{last}[vendor]\npath = \"vendor\"\n"));
    let said = place.run(&["vendor"]);
    assert!(said.contains("written: acme\nremoved: acme-2.0.0, pins, ro"), "{said}");
    assert!(place.read("vendor/acme/stage.toml").contains("2.0.0"));
    place.run(&["plan", "--frozen"]);
}

#[test]
fn a_changed_file_is_an_error_with_both_digests() {
    let place = place();
    place.run(&["vendor"]);
    let part = place.bench.path("vendor/acme/Dockerfile.part");
    let digest = |text: &str| pib_plan::id::Digest::of(text.as_bytes()).to_string();
    let (good, evil) = ("RUN true\n", "RUN evil\n");
    fs::write(&part, evil).unwrap();
    for args in [&["plan"][..], &["build"], &["lock"], &["fetch"], &["tree", "--offline"], &["add", "ro"]] {
        let said = place.fails(args, 8);
        for words in
            ["stage `acme`", "`Dockerfile.part` was changed", &digest(good), &digest(evil), "[patch] acme"]
        {
            assert!(said.contains(words), "{args:?}: no `{words}` in {said}");
        }
    }
    // Whoever changes the list as well is found out by the lock.
    let list = place.read("vendor/vendored.toml");
    let at = list.find("name = \"acme\"").unwrap();
    let content = list[at..].lines().find(|line| line.starts_with("content")).unwrap();
    place
        .bench
        .write("vendor/vendored.toml", &list.replace(content, &format!("content = \"{}\"", digest("x"))));
    let said = place.fails(&["plan"], 8);
    for words in
        ["is not the one that is locked", &content[11..content.len() - 1], &digest("x"), "pib vendor"]
    {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    place.forget();
    let said = place.run(&["vendor"]);
    assert!(said.contains("written: acme"), "{said}");
    assert_eq!(
        (fs::read_to_string(&part).unwrap().as_str(), place.read("vendor/vendored.toml")),
        (good, list)
    );
    fs::remove_dir_all(place.bench.path("vendor/kvm")).unwrap();
    assert!(place.fails(&["plan"], 3).contains("of the vendored stage `kvm` is not there"));
    fs::remove_file(place.bench.path("vendor/vendored.toml")).unwrap();
    let said = place.fails(&["plan"], 3);
    assert!(said.contains("has stages vendored in `vendor`, and there is no list"), "{said}");
    outside(&place.bench);
    place.run(&["vendor"]);
    place.run(&["plan", "--frozen"]);
}

#[test]
fn what_is_not_locked_any_more_goes_and_what_is_new_must_be_vendored() {
    let place = place();
    place.run(&["vendor", "third-party/stages"]);
    assert!(place.read("pib.toml").ends_with("\n[vendor]\npath = \"third-party/stages\"\n"));
    place.bench.write("third-party/README", "ours\n");
    place.bench.write("third-party/stages/notes", "ours\n");
    publish(&place.bench, "1.1.0");
    place.run(&["update", "acme"]);
    place.run(&["remove", "cam"]);
    place.run(&["add", "ro"]);
    let said = place.fails(&["plan"], 3);
    assert!(said.contains("not vendored in `third-party/stages`: `acme 1.1.0` and `ro 1.2.0`"), "{said}");
    assert!(said.contains("Run `pib vendor`"), "{said}");
    let said = place.run(&["vendor"]);
    assert!(said.contains("written: acme, ro\nremoved: cam"), "{said}");
    assert!(!place.bench.path("third-party/stages/cam").exists());
    assert_eq!(place.read("third-party/stages/notes"), "ours\n");
    place.run(&["plan", "--frozen"]);
    // Another's file where a stage must go: nothing is done at all.
    fs::remove_dir_all(place.bench.path("third-party/stages/acme")).unwrap();
    place.bench.write("third-party/stages/acme/mine.txt", "ours\n");
    let before = place.bench.files();
    assert!(place.fails(&["vendor"], 1).contains("was not made by `pib vendor`"));
    assert_eq!(place.bench.files(), before);
    for folder in [".", "..", "target", "target/x", "/tmp", "a/../b"] {
        assert!(place.fails(&["vendor", folder], 2).contains("cannot hold the project's stages"), "{folder}");
    }
}

#[test]
fn a_folder_outside_that_moves_on_is_told_and_taken_by_the_next_run() {
    let place = place();
    place.run(&["vendor"]);
    place.bench.write("../outside/cam/files/etc/cam.conf", "x = 2\n");
    let ran = place.bench.run(&["plan"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.errors.contains("has changed since stage `cam` was vendored"), "{}", ran.errors);
    assert_eq!(place.read("vendor/cam/files/etc/cam.conf"), "x = 1\n");
    assert!(place.run(&["vendor"]).contains("written: cam"));
    assert_eq!(place.read("vendor/cam/files/etc/cam.conf"), "x = 2\n");
    assert_eq!(place.bench.run(&["plan"]).errors, "");
}

#[test]
fn a_lock_that_must_not_change_is_obeyed() {
    let place = place();
    place.bench.fails(&["vendor", "--locked"], 3, &["--locked", "pib lock"]);
    assert!(!place.bench.path("vendor").exists());
    place.run(&["lock"]);
    place.bench.fails(&["vendor", "--offline"], 8, &["is not in the cache"]);
    assert!(!place.bench.path("vendor").exists());
    let said: serde_json::Value =
        serde_json::from_str(&place.run(&["vendor", "--locked", "--json"])).unwrap();
    assert_eq!((said["path"].as_str(), said["stages"].as_array().unwrap().len()), (Some("vendor"), 7));
    place
        .bench
        .write("pib.toml", &place.read("pib.toml").replace("path = \"vendor\"", "path = \"../vendor\""));
    place.bench.fails(&["plan"], 3, &["`../vendor` cannot be the folder of vendored stages", "pib.toml:"]);
}

/// With the base in the project as well, an image comes of a project that has nothing but itself and an engine.
#[test]
fn a_project_with_its_stages_and_its_base_is_built_without_network_and_cache() {
    let world = World::new();
    let images = Images("vendorjob");
    world.tiny("vendorjob", "RUN echo vendored > /etc/mine\n");
    world.run("vendorjob", &["plan", "--context", "context"]);
    let project = world.path("vendorjob");
    let read = |name: &str| fs::read_to_string(project.join(name)).unwrap();
    let lock = read("pib.lock");
    let digest = lock.lines().find(|line| line.starts_with("digest = ")).unwrap();
    fs::rename(project.join("context/base.tar"), project.join("base.tar")).unwrap();
    let manifest = format!("{}\n[base]\npath = \"base.tar\"\n{digest}\n", read("pib.toml"));
    fs::write(project.join("pib.toml"), manifest).unwrap();
    world.run("vendorjob", &["vendor"]);
    world.run("vendorjob", &["build"]);
    let sum = read("target/vendorjob-rpi4-arm64.img.sha256");
    fs::remove_dir_all(project.join("target")).unwrap();
    drop(images);
    let _images = Images("vendorjob");
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let output = std::process::Command::new("unshare")
        .args([flags, env!("CARGO_BIN_EXE_pib"), "build", "--frozen"])
        .current_dir(&project)
        .env("PIB_CACHE_DIR", world.path("empty"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read("target/vendorjob-rpi4-arm64.img.sha256"), sum);
    assert!(!world.path("empty/stages").exists(), "stages came from the cache");
}
