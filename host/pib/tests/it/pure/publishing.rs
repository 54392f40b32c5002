//! Publishing to a registry in a folder, and looking after one.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::bench::Bench;
use crate::site::succeeds;

/// Writes a stage that is fit for strangers.
fn stage(bench: &Bench, name: &str, version: &str, more: &str) {
    let manifest = format!(
        "[stage]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"Does one thing\"\nlicense = \"MIT\"\n{more}"
    );
    bench.write(&format!("{name}/stage.toml"), &manifest);
    bench.write(&format!("{name}/Dockerfile.part"), "RUN true\n");
    bench.write(&format!("{name}/README.md"), "It does one thing.\n");
}

fn publish(bench: &Bench, name: &str, more: &[&str]) -> (Option<i32>, String) {
    let ran = bench.run(&[&["publish", name, "--registry", "./shop"], more].concat());
    (ran.code, ran.out + &ran.errors)
}

const FOCUS: &str = "\n[config.focus]\ntype = \"integer\"\n";

#[test]
fn a_stage_goes_from_its_folder_to_a_project() {
    let bench = Bench::new("");
    succeeds(&bench, &["registry", "init", "shop"]);
    stage(&bench, "camera", "1.0.0", FOCUS);
    let said = succeeds(&bench, &["publish", "camera", "--registry", "./shop", "--dry-run"]);
    assert!(said.contains("camera 1.0.0: 3 files") && said.contains("the first version"), "{said}");
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("0 versions of 0 stages"));
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("1 version of 1 stage"));
    let packed = succeeds(&bench, &["package", "camera", "--output", "out"]);
    assert!(packed.contains("README.md") && packed.contains("camera-1.0.0.stage"), "{packed}");
    let [archive, published] = ["out", "shop/archives/camera"]
        .map(|folder| std::fs::read(bench.path(folder).join("camera-1.0.0.stage")).unwrap());
    assert_eq!(archive, published);
    let list = succeeds(&bench, &["package", "camera", "--list", "--output", "none"]);
    assert!(list.contains("3 files") && !bench.path("none").exists(), "{list}");

    // A project takes it by the registry's name, and so does the author who is in the project's folder.
    let index = format!("[registries.shop]\nindex = \"file://{}\"\n", bench.path("shop").display());
    bench.write("pib.toml", &format!("[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\n[stages]\ncamera = {{ version = \"1\", registry = \"shop\" }}\n\n{index}"));
    succeeds(&bench, &["lock"]);
    stage(&bench, "camera", "1.1.0", FOCUS);
    std::fs::create_dir(bench.path("elsewhere")).unwrap();
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    succeeds(&bench, &["yank", "camera@1.1.0", "--registry", "./shop", "--reason", "it does not focus"]);
    let info = succeeds(&bench, &["info", "camera", "--registry", "shop"]);
    assert!(info.contains("1.1.0 (yanked: it does not focus)"), "{info}");
    assert!(!succeeds(&bench, &["outdated"]).contains("camera"));
    succeeds(&bench, &["yank", "camera@1.0.0", "--registry", "./shop"]);
    let info = succeeds(&bench, &["info", "camera", "--registry", "shop"]);
    assert!(info.contains("1.1.0 (yanked: it does not focus), 1.0.0 (yanked)"), "{info}");
    succeeds(&bench, &["yank", "camera@1.0.0", "--registry", "./shop", "--undo"]);
    succeeds(&bench, &["yank", "camera@1.1.0", "--registry", "./shop", "--undo"]);
    assert_eq!(succeeds(&bench, &["outdated"]), "camera 1.0.0 -> 1.1.0\n");
    // `pib outdated` names a locked version that was yanked, even if there is no newer one.
    succeeds(&bench, &["yank", "camera@1.0.0", "--registry", "./shop", "--reason", "it is blind"]);
    assert_eq!(succeeds(&bench, &["outdated"]), "camera 1.0.0 (yanked: it is blind) -> 1.1.0\n");
    succeeds(&bench, &["yank", "camera@1.1.0", "--registry", "./shop"]);
    assert_eq!(succeeds(&bench, &["outdated"]), "camera 1.0.0 (yanked: it is blind) stays\n");
    for version in ["1.0.0", "1.1.0"] {
        succeeds(&bench, &["yank", &format!("camera@{version}"), "--registry", "./shop", "--undo"]);
    }
    // A mistyped name makes no folder.
    let says = ["no registry is called `shpo`", "Did you mean `shop`?", "`./shpo`"];
    bench.fails(&["publish", "camera", "--registry", "shpo"], 2, &says);
    assert!(!bench.path("shpo").exists());
    bench.fails(&["yank", "camera@9.0.0", "--registry", "./shop"], 3, &["`1.0.0` and `1.1.0`"]);
}

#[test]
fn what_strangers_would_stumble_over_is_not_published() {
    let bench = Bench::new("");
    bench.write("bare/stage.toml", "[stage]\nname = \"bare\"\nversion = \"1.0.0\"\n");
    bench.write("bare/Dockerfile.part", "RUN true\n");
    let (code, said) = publish(&bench, "bare", &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        ["license", "description", "README.md", "--allow-incomplete"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    assert!(!bench.path("shop").exists());
    stage(&bench, "camera", "1.0.0", FOCUS);
    assert_eq!(publish(&bench, "camera", &[]).0, Some(0));
    // A name that is easily mistaken for another's.
    stage(&bench, "camara", "1.0.0", "");
    let (code, said) = publish(&bench, "camara", &[]);
    assert!(code == Some(3) && said.contains("mistaken for `camera`"), "{said}");
    assert_eq!(publish(&bench, "camara", &["--allow-similar"]).0, Some(0));
    // What semver forbids.
    stage(&bench, "camera", "1.1.0", "");
    let (code, said) = publish(&bench, "camera", &[]);
    assert!(code == Some(3) && said.contains("the config key `focus` is gone"), "{said}");
    stage(&bench, "camera", "2.0.0", "");
    let (code, said) = publish(&bench, "camera", &["--dry-run"]);
    assert!(code == Some(0) && said.contains("! the config key `focus` is gone"), "{said}");
    assert_eq!(publish(&bench, "camera", &[]).0, Some(0));
    // What is published stays as it is.
    bench.write("camera/README.md", "It does another thing.\n");
    let (code, said) = publish(&bench, "camera", &[]);
    assert!(code == Some(3) && said.contains("bump the version"), "{said}");
    let other = bench.run(&["publish", "camera", "--registry", "ftp://stages.example.org"]);
    assert!(
        other.code == Some(2) && other.errors.contains("not the address of a registry"),
        "{}",
        other.errors
    );
}

/// Runs git in the folder of the stages.
/// Who names a version's build metadata means that version, and no other.
#[test]
fn a_version_is_yanked_by_its_whole_name() {
    let bench = Bench::new("");
    stage(&bench, "camera", "1.2.0+debian", "");
    succeeds(&bench, &["publish", "camera", "--registry", "./shop"]);
    let ran = bench.run(&["yank", "camera@1.2.0+nothere", "--registry", "./shop"]);
    assert!(
        ran.code == Some(3) && ran.errors.contains("only `1.2.0+debian`"),
        "{:?}{}",
        ran.code,
        ran.errors
    );
    for version in ["1.2.0+debian", "1.2.0"] {
        succeeds(&bench, &["yank", &format!("camera@{version}"), "--registry", "./shop"]);
        let lines = std::fs::read_to_string(bench.path("shop/ca/me/camera")).unwrap();
        assert!(lines.contains("\"yanked\":true"), "{lines}");
        succeeds(&bench, &["yank", &format!("camera@{version}"), "--registry", "./shop", "--undo"]);
    }
}

fn git(bench: &Bench, args: &[&str]) {
    let mut git = Command::new("git");
    let name = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
    let done =
        git.args(name).args(args).current_dir(bench.path("")).env("GIT_CONFIG_GLOBAL", "/dev/null").output();
    assert!(done.unwrap().status.success(), "git {args:?}");
}

#[test]
fn what_is_not_committed_is_not_published() {
    let bench = Bench::new("");
    stage(&bench, "camera", "1.0.0", "");
    git(&bench, &["init", "--quiet"]);
    git(&bench, &["add", "camera"]);
    git(&bench, &["commit", "--quiet", "-m", "one"]);
    assert_eq!(publish(&bench, "camera", &["--dry-run"]).0, Some(0));
    for (path, text) in [("camera/README.md", "Another.\n"), ("camera/files/new", "new\n")] {
        bench.write(path, text);
        let (code, said) = publish(&bench, "camera", &[]);
        let name = path.strip_prefix("camera/").unwrap().split('/').next().unwrap();
        assert!(code == Some(3) && said.contains(name) && said.contains("--allow-dirty"), "{said}");
        git(&bench, &["add", "camera"]);
        git(&bench, &["commit", "--quiet", "-m", "more"]);
    }
    assert_eq!(publish(&bench, "camera", &[]).0, Some(0));
    bench.write(
        "camera/stage.toml",
        "[stage]\nname = \"camera\"\nversion = \"1.0.1\"\ndescription = \"d\"\nlicense = \"MIT\"\n",
    );
    assert_eq!(publish(&bench, "camera", &[]).0, Some(3));
    assert_eq!(publish(&bench, "camera", &["--allow-dirty"]).0, Some(0));

    stage(&bench, "doorbell", "1.0.0", "");
    let (code, said) = publish(&bench, "doorbell", &[]);
    assert!(code == Some(3) && said.contains("`doorbell` was never committed (--allow-dirty)"), "{said}");
    // What a repository ignores is nothing that it would have: a folder of built stages.
    bench.write(".gitignore", "doorbell\n");
    assert_eq!(publish(&bench, "doorbell", &[]).0, Some(0));
}

/// Starts the program, of whose words nothing is kept.
fn start(bench: &Bench, args: &[&str]) -> Child {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_publish_leaves_a_registry_that_is_whole() {
    const STAGES: usize = 12;
    /// How many moments of a publish are tried.
    const MOMENTS: u32 = 10;
    let bench = Bench::new("");
    let names: Vec<String> =
        (0..STAGES).map(|number| format!("stage-number-{number:03}-of-{}", number * 7919)).collect();
    names.iter().for_each(|name| stage(&bench, name, "1.0.0", ""));
    let mut args = vec!["publish", "--registry", "./shop", "--allow-similar"];
    args.extend(names.iter().map(String::as_str));
    let began = Instant::now();
    succeeds(&bench, &args);
    let whole = began.elapsed();
    let mut killed = 0;
    for moment in 0..=MOMENTS {
        std::fs::remove_dir_all(bench.path("shop")).unwrap();
        let mut child = start(&bench, &args);
        std::thread::sleep(whole * moment / MOMENTS);
        _ = child.kill();
        killed += usize::from(!child.wait().unwrap().success());
        if bench.path("shop/config.json").exists() {
            succeeds(&bench, &["registry", "verify", "shop"]);
        }
        succeeds(&bench, &args);
    }
    assert!(killed > 0);
    let said = succeeds(&bench, &["registry", "verify", "shop"]);
    assert!(said.contains(&format!("{STAGES} versions of {STAGES} stages")), "{said}");
}

/// Two who publish at the same time: the same version once, different versions both.
#[test]
fn two_publishers_at_once_are_in_turn() {
    let bench = Bench::new("");
    for folder in ["one", "two"] {
        stage(&bench, "camera", "1.0.0", "");
        bench.write("camera/README.md", folder);
        std::fs::rename(bench.path("camera"), bench.path(folder)).unwrap();
    }
    stage(&bench, "kiosk", "1.0.0", "");
    for _ in 0..8 {
        let running =
            ["one", "two", "kiosk"].map(|name| start(&bench, &["publish", name, "--registry", "./shop"]));
        let [one, two, kiosk] = running.map(|mut child| child.wait().unwrap().success());
        assert!(one != two && kiosk, "{one} {two} {kiosk}");
        assert!(succeeds(&bench, &["registry", "verify", "shop"]).contains("2 versions of 2 stages"));
        std::fs::remove_dir_all(bench.path("shop")).unwrap();
    }
}

#[test]
fn what_a_stranger_could_not_build_is_not_published() {
    let bench = Bench::new("");
    let needs = "\n[dependencies]\nlens = \"1\"\n";
    stage(&bench, "camera", "1.0.0", needs);
    stage(&bench, "lens", "1.0.0", "\n[config.station]\ntype = \"string\"\nrequired = true\n");
    let test = |names: &[&str], more: &[&str], code: i32, words: &[&str]| {
        let args = [&["publish", "--registry", "./shop", "--test", "--yes"], names, more].concat();
        let ran = bench.run(&args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.errors);
        assert!(words.iter().all(|word| ran.errors.contains(word)), "{args:?}: {}", ran.errors);
        assert!(!bench.path("shop").exists(), "{args:?} has published");
    };
    // What it needs is in no registry; what it needs is published with it, and wants to be told something.
    test(&["camera"], &[], 4, &["camera", "lens"]);
    test(&["camera", "lens"], &[], 3, &["station", "lens"]);
    test(&["lens"], &[], 3, &["station"]);
    test(&["lens"], &["--config", "statoin=EDDH"], 2, &["Did you mean `station`?"]);
    test(&["camera", "lens"], &["--config", "station=EDDH"], 2, &["--config is for one stage"]);
    let ran = bench.run(&["publish", "lens", "--registry", "./shop", "--config", "station=EDDH"]);
    assert!(ran.code == Some(2) && ran.errors.contains("--test"), "{}", ran.errors);
}
