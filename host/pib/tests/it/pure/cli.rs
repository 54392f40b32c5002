//! The real binary on good and bad input, in an environment of its own: no engine, no network, no home.

use std::path::Path;
use std::process::Command;

use crate::bench::{Bench, PROJECT};

#[test]
fn a_project_grows_from_nothing() {
    let bench = Bench::new("");
    std::fs::remove_file(bench.path("pib.toml")).unwrap();
    bench.write(
        "key.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me\n",
    );
    assert_eq!(bench.run(&["new", "router", "--board", "rpi3"]).out, "Created router for rpi3 (arm64)\n");
    let args =
        ["-C", "router", "add", "watchdog", "ro", "rootssh", "--config", "rootssh.authorized-keys=key.pub"];
    let added = bench.run(&args);
    assert!(added.out.starts_with("Added watchdog 1.3.0, ro 1.5.0, rootssh 1.4.0\n"), "{}", added.errors);
    let manifest = std::fs::read_to_string(bench.path("router/pib.toml")).unwrap();
    assert!(manifest.ends_with(
        "[stages]\nos = \"1\"\nwatchdog = \"1\"\nro = \"1\"\n\
         rootssh = { version = \"1\", config = { authorized-keys = [\"../key.pub\"] } }\n"
    ));
    let plan = bench.run(&["-C", "router", "plan"]).out;
    let order: Vec<&str> = plan.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(order, ["__init__", "os", "watchdog", "rootssh", "ro", "__cleanup__"]);
    let tree = bench.run(&["-C", "router", "tree"]).out;
    assert!(tree.contains("└── watchdog 1.3.0") && tree.contains("    └── os 1.4.0"), "{tree}");
    let removed = bench.run(&["-C", "router", "remove", "watchdog"]).out;
    assert!(removed.starts_with("Removed watchdog\n"), "{removed}");
    let lock = std::fs::read_to_string(bench.path("router/pib.lock")).unwrap();
    assert!(!lock.contains("watchdog") && lock.contains("rootssh"), "{lock}");
}

#[test]
fn a_plan_is_the_same_twice_and_speaks_json() {
    let bench = Bench::new(PROJECT);
    let first = bench.run(&["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(plan["stages"][0]["name"], "__init__");
    let time = std::fs::metadata(bench.path("pib.lock")).unwrap().modified().unwrap();
    assert_eq!(bench.run(&["plan", "--json", "--frozen"]).out, first.out);
    assert_eq!(std::fs::metadata(bench.path("pib.lock")).unwrap().modified().unwrap(), time);
    let dockerfile = bench.run(&["plan", "--dockerfile"]).out;
    assert!(dockerfile.contains("FROM os AS watchdog\n") && dockerfile.contains("ARG TIMEOUT=\"10\"\n"));
}

#[test]
fn mistakes_in_the_manifest_are_shown_at_their_place() {
    let change = |from: &str, to: &str| Bench::new(&PROJECT.replace(from, to));
    change("release =", "relaese =").fails(
        &["plan"],
        3,
        &["unknown key `relaese`", "Did you mean `release`?", "pib.toml:5:1"],
    );
    change("\"rpi4\"", "\"rpi44\"").fails(
        &["plan"],
        3,
        &["unknown board `rpi44`; the boards are rpi1,", "Did you mean `rpi4`?"],
    );
    change("\"arm64\"", "\"armv5\"").fails(&["plan"], 3, &["armv5", "arm64, armv7 or armv6"]);
    change("\"rpi4\"\narch = \"arm64\"", "\"rpi5\"\narch = \"armv7\"").fails(
        &["plan"],
        3,
        &["the Raspberry Pi 5 cannot run armv7"],
    );
    change("[stages]", "[stages").fails(&["plan"], 3, &["could not read", "pib.toml:9"]);
    change("timeout = 10", "timeout = 99").fails(
        &["plan"],
        3,
        &["the timeout is 99 seconds", "counts to 15 at most", "timeout = 99"],
    );
    change("timeout = 10", "timeuot = 10").fails(&["plan"], 3, &["Did you mean `timeout`?"]);
    change("timeout = 10", "timeout = \"10\"").fails(&["plan"], 3, &["expected an integer"]);
    change("os = \"1\"", "rootssh = \"1\"").fails(&["plan"], 3, &["authorized-keys", "is required"]);
}

#[test]
fn what_cannot_be_resolved_is_explained() {
    let change = |from: &str, to: &str| Bench::new(&PROJECT.replace(from, to));
    change("os = \"1\"", "watchdgo = \"1\"").fails(&["plan"], 4, &["watchdgo", "watchdog"]);
    change("os = \"1\"", "os = \"7\"").fails(&["plan"], 4, &["os", "7", "1.0.0"]);
    let armv6 = PROJECT.replace("\"arm64\"", "\"armv6\"");
    Bench::new(&armv6).fails(&["plan"], 3, &["armv6", "arch = \"armv6\""]);
}

#[test]
fn stages_of_ones_own_are_checked() {
    let with = |names: &[&str]| {
        let lines: String =
            names.iter().map(|name| format!("{name} = {{ path = \"stages/{name}\" }}\n")).collect();
        Bench::new(&format!("{PROJECT}{lines}"))
    };
    let bench = with(&["one"]);
    bench.fails(&["plan"], 3, &["stages/one"]);
    bench.stage("one", "", None);
    bench.fails(&["plan"], 3, &["one", "part"]);
    bench.stage("one", "", Some("RUN true\nFROM debian\n"));
    bench.fails(&["plan"], 3, &["has a FROM of its own", "COPY --from"]);
    bench.stage("one", "", Some("COPY stages/one/missing /\n"));
    bench.fails(&["plan"], 3, &["copies `stages/one/missing`"]);
    bench.stage("one", "vresion = 1\n", Some("RUN true\n"));
    bench.fails(&["plan"], 3, &["unknown key `vresion`", "Did you mean `version`?"]);
    bench.stage("one", "[hook]\ncomponent = \"hook.wasm\"\n", Some("RUN true\n"));
    bench.fails(&["plan"], 3, &["hook.wasm", "no such file"]);

    let bench = with(&["one", "two"]);
    bench.stage("one", "[order]\nafter = [\"two\"]\n", Some("RUN true\n"));
    bench.stage("two", "[order]\nafter = [\"one\"]\n", Some("RUN true\n"));
    bench.fails(&["plan"], 4, &["one", "two"]);
    bench.stage("two", "", Some("RUN true\n"));
    let plan = bench.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.errors);
}

#[test]
fn locks_are_obeyed() {
    let bench = Bench::new(PROJECT);
    bench.fails(&["plan", "--locked"], 3, &["--locked", "pib lock"]);
    assert_eq!(bench.run(&["lock"]).out, "Locked 4 stages\n");
    assert_eq!(bench.run(&["lock", "--frozen"]).out, "pib.lock is up to date: 4 stages\n");
    bench.write("pib.toml", &format!("{PROJECT}ro = \"1\"\n"));
    bench.fails(&["plan", "--locked"], 3, &["adds `ro` 1.5.0"]);
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    bench.write("pib.lock", &lock.replace("version = 1\n", "version = 99\n"));
    bench.fails(&["plan"], 3, &["99"]);
    bench.write("pib.lock", &format!("<<<<<<< ours\n{lock}=======\n{lock}>>>>>>> theirs\n"));
    bench.fails(&["plan"], 3, &["conflict"]);
    bench.write("pib.lock", &lock.replace("content = \"sha256:", "content = \"sha256:00"));
    bench.fails(&["plan"], 3, &["pib.lock"]);
}

#[test]
fn without_an_engine_the_remedy_is_told_before_anything_is_fetched() {
    let bench = Bench::new(PROJECT);
    bench.run(&["lock"]);
    bench.fails(&["build"], 5, &["/nonexistent/engine.sock"]);
    assert!(!bench.folder.path().join("cache/debs").exists(), "packages were fetched for nothing");
}

#[test]
fn a_project_starts_in_a_folder_that_is_there() {
    let bench = Bench::new(PROJECT);
    bench.write("kiosk/notes.txt", "mine\n");
    let ran = bench.run(&["-C", "kiosk", "init", "--board", "rpi3"]);
    assert_eq!((ran.code, &*ran.out), (Some(0), "Created pib.toml for rpi3 (arm64)\n"), "{}", ran.errors);
    let manifest = std::fs::read_to_string(bench.path("kiosk/pib.toml")).unwrap();
    assert!(manifest.contains("name = \"kiosk\"") && manifest.contains("board = \"rpi3\""), "{manifest}");
    assert_eq!(bench.run(&["-C", "kiosk", "lock"]).code, Some(0));
}

#[test]
fn wrong_usage_is_told_apart() {
    let bench = Bench::new(PROJECT);
    bench.fails(&["biuld"], 2, &["unrecognized subcommand", "build"]);
    bench.fails(&["rpi4"], 2, &["rpi4 is a board", "`pib build` builds the image"]);
    bench.fails(&["install"], 2, &["`pib flash`"]);
    bench.fails(&["stage", "chekc"], 2, &["unrecognized subcommand", "check"]);
    bench.fails(&["init"], 2, &["`pib.toml` exists already"]);
    bench.fails(&["new", "."], 2, &["`pib.toml` exists already"]);
    bench.fails(&["new", "Bad_Name"], 2, &["not a valid name"]);
    bench.fails(&["new", "x", "--board", "rpi9"], 2, &["unknown board `rpi9`; the boards are rpi1, rpi2,"]);
    bench.fails(&["add", "Watchdog"], 2, &["not a valid name"]);
    bench.fails(&["add", "watchdog@one"], 2, &["not a version requirement"]);
    bench.fails(&["add", "nothing-like-it"], 4, &["nothing-like-it"]);
    bench.fails(&["add", "watchdog", "--config", "watchdog.timeuot=3"], 2, &["Did you mean `timeout`?"]);
    bench.fails(&["add", "watchdog", "--config", "watchdog.timeout=1"], 2, &["below the least of 2"]);
    bench.fails(&["remove", "watchdgo"], 2, &["Did you mean `watchdog`?"]);
    bench.fails(&["plan", "--context", "target"], 2, &["is not empty"]);
    let nowhere = tempfile::tempdir().unwrap();
    let ran = bench.run(&["-C", nowhere.path().to_str().unwrap(), "plan"]);
    assert_eq!(ran.code, Some(3), "{}", ran.errors);
    assert!(ran.errors.contains("pib new"), "{}", ran.errors);
}

#[test]
fn errors_are_json_too() {
    let bench = Bench::new(&PROJECT.replace("rpi4", "rpi44"));
    let ran = bench.run(&["plan", "--json"]);
    let line: serde_json::Value = serde_json::from_str(ran.errors.lines().last().unwrap()).unwrap();
    assert_eq!((line["event"].as_str(), line["exit-code"].as_i64()), (Some("error"), Some(3)));
    assert_eq!(line["help"], "Did you mean `rpi4`?");
    assert_eq!(ran.out, "");
}

/// What is published never changes: a stage whose folder changed needs a new version, and `cargo xtask index`.
#[test]
fn the_bundled_registry_holds_what_the_folders_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut publish = Command::new(env!("CARGO_BIN_EXE_pib"));
    publish.current_dir(&root).args(["publish", "--check", "--index", "registry-index"]);
    let stages = std::fs::read_dir(root.join("stages")).unwrap().map(|entry| entry.unwrap().path());
    let output = publish.args(stages).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn update_moves_what_it_is_told_to() {
    let bench = Bench::new(PROJECT);
    let publish = |version: &str| {
        bench.stage("camera", "", Some("RUN true\n"));
        let manifest = format!("[stage]\nname = \"camera\"\nversion = \"{version}\"\n");
        bench.write("stages/camera/stage.toml", &manifest);
        let ran = bench.run(&["publish", "--index", "./registry", "stages/camera", "--allow-incomplete"]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
    };
    let locked = || {
        let tree = bench.run(&["tree"]).out;
        let line = tree.lines().find(|line| line.contains(" camera ")).unwrap_or_default().to_owned();
        line.split(" camera ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
    };
    publish("1.0.0");
    let url = format!("file://{}", bench.path("registry").display());
    let manifest = format!(
        "{PROJECT}camera = {{ version = \"1\", registry = \"acme\" }}\n\n[registries.acme]\nindex = \"{url}\"\n"
    );
    bench.write("pib.toml", &manifest);
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    publish("1.1.0");
    publish("1.2.0");
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    assert_eq!(locked(), "1.0.0", "what is locked stays");

    assert_eq!(bench.run(&["outdated"]).out, "camera 1.0.0 -> 1.2.0\n");
    let shown = bench.run(&["update", "--dry-run"]);
    assert!(shown.out.contains("1.2.0") && shown.out.contains("Nothing was written"), "{}", shown.out);
    assert_eq!(locked(), "1.0.0");
    let moved = bench.run(&["update", "camera", "--precise", "1.1.0"]);
    assert!(moved.out.contains("1.0.0") && moved.out.contains("1.1.0"), "{}{}", moved.out, moved.errors);
    assert_eq!(locked(), "1.1.0");
    assert_eq!(bench.run(&["update", "watchdog"]).out.trim(), "Nothing to update.");
    assert_eq!(locked(), "1.1.0");
    assert_eq!(bench.run(&["update", "--json"]).code, Some(0));
    assert_eq!(locked(), "1.2.0");

    the_base_stays_without_an_archive(&bench);
    let lock = bench.path("pib.lock");
    let before = std::fs::read_to_string(&lock).unwrap();
    for (args, code, say) in [
        (&["update", "camera", "--precise", "one"][..], 2, "is no version"),
        (&["update", "camera", "--precise", "9.0.0"], 4, "9.0.0"),
        (&["update", "kamera"], 4, "camera"),
    ] {
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.errors);
        assert!(ran.errors.contains(say), "{}", ran.errors);
    }
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), before);
}

/// A base in the lock stays where no archive has another one to offer, whatever is updated.
fn the_base_stays_without_an_archive(bench: &Bench) {
    let base = "\n[[base]]\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\
                digest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\nepoch = 1\n";
    let lock = bench.path("pib.lock");
    for (args, code) in [(&["update", "camera"][..], 0), (&["update", "--base"], 8), (&["update"], 8)] {
        let text = std::fs::read_to_string(&lock).unwrap();
        if !text.contains("[[base]]") {
            let at = text.find("\n[[stage]]").unwrap();
            std::fs::write(&lock, format!("{}{base}{}", &text[..at], &text[at..])).unwrap();
        }
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.errors);
        assert!(std::fs::read_to_string(&lock).unwrap().contains(base), "{args:?}");
    }
}

#[test]
fn a_build_explains_itself() {
    let bench = Bench::new(&format!("{PROJECT}ro = \"1\"\n"));
    let says = |args: &[&str]| {
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
        ran.out
    };
    let why = "os 1.4.0 (the bundled registry)\n├── pib.toml asks for ^1\n├── stage ro 1.5.0 asks for ^1\n\
               │   └── pib.toml asks for ^1\n└── stage watchdog 1.3.0 asks for ^1\n    └── pib.toml asks for ^1\n";
    assert_eq!(says(&["why", "os"]), why);
    assert!(says(&["why", "__init__"]).contains("every build"));
    assert!(says(&["why", "os", "--json"]).contains("\"asked-by\""));
    let order = says(&["plan", "--why", "ro", "watchdog"]);
    assert!(order.starts_with("watchdog comes before ro: "), "{order}");
    assert!(says(&["plan", "--why", "__cleanup__", "os"]).contains("phase"));
    let inverted = says(&["tree", "--invert"]);
    assert!(inverted.contains("\n└── os 1.4.0") && inverted.contains("\n    ├── ro 1.5.0"), "{inverted}");

    let found = says(&["search", "READ-ONLY"]);
    assert!(found.starts_with("ro 1.5.0 ") && found.lines().count() == 1, "{found}");
    assert!(says(&["search"]).lines().count() >= 6);
    assert_eq!(says(&["search", "nothing-is-called-so"]), "No stage matches.\n");
    let info = says(&["info", "watchdog"]);
    for part in
        ["watchdog 1.3.0: ", "versions:", "needs:      os ^1", "timeout (integer, at least 2, default 15)"]
    {
        assert!(info.contains(part), "no `{part}` in:\n{info}");
    }
    assert!(says(&["info", "rootssh"]).contains("authorized-keys (paths, at least 1, required)"));
    assert_eq!(says(&["outdated"]), "Every stage has its newest version.\n");
    for (args, code, say) in [
        (&["why", "rootssh"][..], 2, "there is no stage `rootssh` in this build"),
        (&["why", "Ro"], 2, "`Ro`"),
        (&["plan", "--why", "ro", "ro"], 2, "the same stage"),
        (&["plan", "--why", "ro", "watchdogs"], 2, "Did you mean `watchdog`?"),
        (&["info", "wathdog"], 2, "Did you mean `watchdog`?"),
        (&["info", "ro", "--registry", "acme"], 3, "acme"),
    ] {
        let ran = bench.run(args);
        assert!(
            ran.code == Some(code) && ran.errors.contains(say),
            "{args:?}: {:?} {}",
            ran.code,
            ran.errors
        );
    }
}

#[test]
fn cleaning_needs_no_engine_and_asks_before_it_takes_more_than_the_projects_own() {
    let bench = Bench::new(PROJECT);
    for name in ["target/router-rpi4-arm64.img", "target/notes.txt"] {
        bench.write(name, "x");
    }
    let shown = bench.run(&["clean", "--dry-run"]);
    assert!(shown.code == Some(0) && shown.out.contains("router-rpi4-arm64.img"), "{}", shown.out);
    assert!(bench.path("target/router-rpi4-arm64.img").exists());
    for args in [&["clean", "--all"][..], &["clean", "--all", "--json"], &["clean", "--all", "--everyone"]] {
        let asked = bench.run(args);
        assert!(
            asked.code == Some(2) && asked.errors.contains("nobody to ask"),
            "{args:?}: {}",
            asked.errors
        );
        assert!(bench.path("target/router-rpi4-arm64.img").exists());
    }
    assert_eq!(bench.run(&["clean", "--everyone"]).code, Some(2));
    let cleaned = bench.run(&["clean"]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.errors);
    assert!(cleaned.errors.contains("was not looked for"), "{}", cleaned.errors);
    assert!(!bench.path("target/router-rpi4-arm64.img").exists() && bench.path("target/notes.txt").exists());
}

#[test]
fn adding_changes_manifest_and_lock_or_neither() {
    let bench = Bench::new(PROJECT);
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    // Root may write everywhere; what nobody can is a folder that cannot be changed.
    let lock = bench.path("pib.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir_all(lock.join("folder")).unwrap();
    bench.fails(&["add", "ro"], 3, &["pib.lock", "it is a folder, not a regular file"]);
}
