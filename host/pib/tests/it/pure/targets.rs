//! Targets: variants of one project, decided, locked and built together.

use crate::bench::{Bench, PROJECT};
use crate::forge::Repo;
use crate::site::{Site, publish};

/// A project with a variant for another board, and one that differs in nothing.
fn project() -> Bench {
    Bench::new(&format!(
        "{PROJECT}ro = \"1\"\n\n[target.kiosk]\nboard = \"rpi3\"\narch = \"armv7\"\n\n[target.kiosk.stages]\nro = false\n\
         watchdog.config.timeout = 5\nmine = {{ path = \"stages/mine\" }}\n\n[target.spare]\nhostname = \"spare\"\n"
    ))
}

fn succeeds(bench: &Bench, args: &[&str]) -> String {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    ran.out
}

/// Returns the names in a plan, in order.
fn planned(plan: &str) -> Vec<&str> {
    plan.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect()
}

#[test]
fn each_target_has_its_own_plan_and_all_share_one_lock() {
    let bench = project();
    bench.stage("mine", "", Some("RUN true\n"));
    assert_eq!(succeeds(&bench, &["lock"]), "Locked 5 stages, and 2 targets\n");
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert_eq!(lock.matches("[[stage]]").count(), 5);
    assert!(lock.contains(
        "[[target]]\nname = \"kiosk\"\nwithout = [\n    \"ro\",\n]\n\n[[target.stage]]\nname = \"mine\""
    ));
    assert!(!lock.contains("spare"), "a target with the project's stages need not be told:\n{lock}");
    for args in [&["lock", "--frozen"][..], &["plan", "--frozen"], &["plan", "--frozen", "--target", "kiosk"]]
    {
        succeeds(&bench, args);
    }
    assert_eq!(std::fs::read_to_string(bench.path("pib.lock")).unwrap(), lock);

    assert_eq!(planned(&succeeds(&bench, &["plan"])), ["__init__", "os", "watchdog", "ro", "__cleanup__"]);
    let kiosk = succeeds(&bench, &["plan", "--target", "kiosk"]);
    assert_eq!(planned(&kiosk), ["__init__", "os", "watchdog", "mine", "__cleanup__"]);
    let dockerfile = |args: &[&str]| succeeds(&bench, &[&["plan", "--dockerfile"], args].concat());
    assert!(dockerfile(&["--target", "kiosk"]).contains("ARG TIMEOUT=\"5\"\n"));
    assert!(dockerfile(&[]).contains("ARG TIMEOUT=\"10\"\n"));
    assert!(succeeds(&bench, &["tree", "--target", "kiosk"]).contains("mine 1.0.0"));
    assert!(succeeds(&bench, &["why", "mine", "--target", "kiosk"]).contains("pib.toml asks for"));
    bench.fails(&["why", "mine"], 2, &["there is no stage `mine` in this build", "say --target kiosk"]);
    bench.fails(&["plan", "--why", "os", "mine"], 2, &["there is no stage `mine`", "say --target kiosk"]);
    assert!(succeeds(&bench, &["info", "mine"]).contains("mine 1.0.0"));
    bench.fails(&["plan", "--target", "kisok"], 2, &["Did you mean `kiosk`?"]);
}

#[test]
fn a_change_for_one_target_is_a_change_of_the_lock() {
    let bench = project();
    bench.stage("mine", "", Some("RUN true\n"));
    succeeds(&bench, &["lock"]);
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("ro = false\n", ""));
    bench.fails(&["lock", "--locked"], 3, &["target `kiosk`", "adds `ro` 1.5.0"]);
    bench.fails(&["plan", "--locked", "--target", "kiosk"], 3, &["adds `ro` 1.5.0"]);
    succeeds(&bench, &["plan", "--locked"]);
    // What one target decides anew leaves the others' part of the lock alone.
    succeeds(&bench, &["plan", "--target", "kiosk"]);
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    assert!(lock.contains("name = \"kiosk\"\n\n[[target.stage]]\nname = \"mine\""), "{lock}");
    succeeds(&bench, &["lock", "--locked"]);
    // A target that is gone leaves the lock.
    bench.write("pib.toml", &manifest[..manifest.find("[target.kiosk]").unwrap()]);
    bench.fails(&["lock", "--locked"], 3, &["targets that pib.toml does not have"]);
    succeeds(&bench, &["lock"]);
    assert!(!std::fs::read_to_string(bench.path("pib.lock")).unwrap().contains("target"));
}

#[test]
fn adding_and_removing_reach_the_targets() {
    let bench = project();
    bench.stage("mine", "", Some("RUN true\n"));
    bench.write(
        "key.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me\n",
    );
    succeeds(&bench, &["add", "rootssh", "--config", "rootssh.authorized-keys=key.pub"]);
    let kiosk = |bench: &Bench| succeeds(bench, &["plan", "--frozen", "--target", "kiosk"]);
    assert!(planned(&kiosk(&bench)).contains(&"rootssh"));
    succeeds(&bench, &["remove", "rootssh"]);
    assert!(!planned(&kiosk(&bench)).contains(&"rootssh"));
    // The manifest would leave out a stage that is not there any more: nothing is written.
    bench.fails(&["remove", "ro"], 3, &["target `kiosk`", "`ro` is left out"]);
    assert_eq!(succeeds(&bench, &["update", "mine"]), "Nothing to update.\n");
    bench.fails(&["update", "nothing"], 4, &["`nothing` is not in the build"]);
}

#[test]
fn a_target_gets_and_leaves_out_stages_of_its_own() {
    let bench = project();
    bench.stage("mine", "", Some("RUN true\n"));
    bench.stage("other", "", Some("RUN true\n"));
    succeeds(&bench, &["lock"]);
    let text = || std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    let plan = |target: &str| {
        let plan = succeeds(&bench, &["plan", "--frozen", "--target", target]);
        planned(&plan).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let before = bench.files();
    let said = succeeds(&bench, &["add", "--target", "spare", "--path", "stages/other", "--dry-run"]);
    assert!(said.starts_with("Would add other 1.0.0 to target `spare`\n"), "{said}");
    let said = succeeds(&bench, &["remove", "--target", "spare", "ro", "--dry-run"]);
    assert!(said.starts_with("Would remove ro from target `spare`\n") && said.contains("`ro` 1."), "{said}");
    assert_eq!(bench.files(), before);

    succeeds(&bench, &["add", "--target", "spare", "--path", "stages/other"]);
    succeeds(&bench, &["add", "--target", "spare", "--config", "watchdog.timeout=7"]);
    let said = succeeds(&bench, &["remove", "--target", "spare", "ro"]);
    assert!(said.starts_with("Removed ro from target `spare`\n"), "{said}");
    let spare = "\n[target.spare]\nhostname = \"spare\"\n\n[target.spare.stages]\nother = { path = \"stages/other\" }\n\
                 watchdog = { config = { timeout = 7 } }\nro = false\n";
    assert!(text().starts_with(PROJECT) && text().ends_with(spare), "{}", text());
    assert_eq!(plan("spare"), "__init__ os watchdog other __cleanup__");
    assert_eq!(planned(&succeeds(&bench, &["plan", "--frozen"])).len(), 5);

    // What was left out comes back, and what only the target has goes.
    succeeds(&bench, &["add", "--target", "kiosk", "ro@1.1"]);
    let said = succeeds(&bench, &["remove", "--target", "kiosk", "mine", "watchdog", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((said["target"].as_str(), said["stages"][0].as_str()), (Some("kiosk"), Some("mine")));
    assert!(text().contains("[target.kiosk.stages]\nro = \"1.1\"\nwatchdog = false\n\n"), "{}", text());
    assert_eq!(plan("kiosk"), "__init__ os ro __cleanup__");

    for args in [["add", "--target", "kisok", "ro"], ["remove", "--target", "kisok", "ro"]] {
        bench.fails(&args, 2, &["the project has no target `kisok`", "Did you mean `kiosk`?"]);
    }
    let gone = "`watchdog` is not among the stages of target `kiosk`";
    bench.fails(&["remove", "--target", "kiosk", "watchdog"], 2, &[gone, "pib tree --target kiosk"]);
    bench.fails(&["remove", "--target", "spare", "othr"], 2, &["Did you mean `other`?"]);
    bench.fails(&["add", "--target", "kiosk", "--config", "other.x=1"], 2, &["`other` is not in the build"]);
}

/// What moves the lock, and what tells of it, knows the stages that only targets have.
#[test]
fn newer_versions_of_a_targets_stages_are_shown_and_taken() {
    let bench = Bench::new(PROJECT);
    let site = Site::start(bench.path("../registry"));
    publish(&bench, "1.0.0");
    let repo = Repo::new(&bench.path("../repos/kvm"));
    repo.stage("", "kvm", "1.0.0");
    let first = repo.commit();
    bench.write(
        "pib.toml",
        &format!(
            "{PROJECT}\n[registries.acme]\nindex = \"{}\"\n\n[target.kiosk.stages]\n\
             acme = {{ version = \"1\", registry = \"acme\" }}\nkvm = {{ git = \"{}\", branch = \"main\" }}\n\n\
             [target.spare.stages]\nacme = {{ version = \"1.0\", registry = \"acme\" }}\n",
            site.address,
            repo.url()
        ),
    );
    succeeds(&bench, &["lock"]);
    assert_eq!(succeeds(&bench, &["outdated"]), "Every stage has its newest version.\n");
    publish(&bench, "1.1.0");
    publish(&bench, "2.0.0");
    let newer = "acme 1.0.0 -> 1.1.0 (the newest is 2.0.0)";
    let both = format!("{newer} (target `kiosk`)\n{newer} (target `spare`)\n");
    assert_eq!(succeeds(&bench, &["outdated"]), both);
    assert_eq!(succeeds(&bench, &["outdated", "--target", "kiosk"]), format!("{newer}\n"));
    let list: serde_json::Value = serde_json::from_str(&succeeds(&bench, &["outdated", "--json"])).unwrap();
    assert_eq!((list[0]["target"].as_str(), list[1]["name"].as_str()), (Some("kiosk"), Some("acme")));
    let lock = || std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    let moved = succeeds(&bench, &["update", "acme", "--precise", "1.1.0"]);
    assert!(
        moved.contains("1.0.0 -> 1.1.0 (target `kiosk`)") && moved.contains("(target `spare`)"),
        "{moved}"
    );
    repo.stage("", "kvm", "2.0.0");
    let second = repo.commit();
    succeeds(&bench, &["update", "kvm"]);
    assert!(lock().contains(&second), "{}", lock());
    let moved = succeeds(&bench, &["update", "kvm", "--precise", &first]);
    assert!(moved.contains("2.0.0 -> 1.0.0 (target `kiosk`)") && lock().contains(&first), "{moved}");
    // What the lock holds of a target counts also where the stage is looked at.
    assert!(succeeds(&bench, &["info", "kvm"]).contains("kvm 1.0.0"));
}

#[test]
fn each_target_says_why_it_cannot_be_built() {
    let bench = project();
    let ran = bench.run(&["build", "--all", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.errors);
    let outcomes: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let codes: Vec<_> =
        outcomes.as_array().unwrap().iter().map(|target| &target["error"]["exit-code"]).collect();
    assert_eq!(codes, [3, 5], "no folder for `mine`, and no engine: {outcomes}");
    let event: serde_json::Value = serde_json::from_str(ran.errors.lines().last().unwrap()).unwrap();
    assert_eq!(event["message"], "2 of 2 targets failed");
    assert_eq!(event["problems"].as_array().unwrap().len(), 2);
    bench.fails(&["build", "--target", "spare"], 5, &["no container engine", "/nonexistent/"]);
    Bench::new(PROJECT).fails(&["build", "--all"], 2, &["the project has no targets"]);
}
