//! What a stranger's project reaches outside of its folder, which takes the user's word.

use std::os::unix::fs::symlink;

use crate::bench::{Bench, Ran};

/// A project's head; its stages follow.
const HEAD: &str = "[project]\nname = \"router\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n";
const STAGES: &str = "\n[stages]\nos = \"1\"\n";
/// A stage that takes whatever config may reach out.
const TAKES: &str = "[config.file]\ntype = \"path\"\nhelp = \"a file\"\n\n[config.files]\ntype = \"paths\"\nhelp = \"files\"\ndefault = []\n\n\
                     [config.password]\ntype = \"secret\"\nhelp = \"a secret\"\n";

const PART: &str = "RUN --mount=type=secret,id=mine.password true\n";

/// A project from a stranger, beside a file of the user's.
fn strange(top: &str, stages: &str) -> Bench {
    let bench = Bench::new(&format!("{HEAD}{top}{STAGES}{stages}"));
    bench.stage("mine", "", Some("RUN true\n"));
    let user = bench.folder.path().join("user");
    std::fs::create_dir_all(user.join("stages")).unwrap();
    std::fs::write(user.join("private.pem"), "the user's own\n").unwrap();
    bench
}

/// Runs the program for a user who has allowed nothing beforehand.
fn run(bench: &Bench, args: &[&str]) -> Ran {
    bench.run_with(args, &[("PIB_TRUST", "0")])
}

fn refused(bench: &Bench, args: &[&str], what: &str) {
    let ran = run(bench, args);
    let words = ran.errors.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(ran.code, Some(9), "{args:?}: {}{}", ran.out, ran.errors);
    assert!(words.contains(what) && words.contains("pib trust"), "{what}: {words}");
    assert!(!ran.errors.contains("the user's own"), "{}", ran.errors);
}

fn allowed(bench: &Bench, args: &[&str]) -> String {
    let ran = run(bench, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    ran.out
}

#[test]
fn what_a_manifest_names_outside_is_asked_for_by_every_command() {
    let base = "\n[base]\npath = \"../user/private.pem\"\ndigest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
    let cases = [
        ("", "mine = { path = \"../user\" }\n", "reads `../user`"),
        ("", "mine = { path = \"out\" }\n", "reads `out`, which is `"),
        ("", "mine = { git = \"file:///etc\" }\n", "reads `/etc`"),
        ("", "mine = { git = \"file:///%65tc\" }\n", "reads `file:///%65tc`"),
        ("\n[registries.r]\nindex = \"file:///etc\"\n", "", "reads `/etc`"),
        ("\n[registries.r]\nindex = \"FILE:///etc\"\n", "mine = { path = \"stages/mine\" }\n", "/etc"),
        ("\n[patch]\nos = { path = \"../user\" }\n", "", "reads `../user`"),
        (base, "", "reads `../user/private.pem`"),
        ("", "[target.t.stages]\nmine = { path = \"/\" }\n", "reads `/`"),
    ];
    for (top, stages, what) in cases {
        let bench = strange(top, stages);
        symlink("../user", bench.path("out")).unwrap();
        for args in [&["lock"][..], &["fetch"], &["update"], &["vendor"]] {
            refused(&bench, args, what);
        }
        if !stages.contains("target") {
            for args in [&["plan"][..], &["tree"], &["build"], &["outdated"], &["why", "os"], &["info", "os"]]
            {
                refused(&bench, args, what);
            }
        }
        assert!(!bench.path("pib.lock").exists() && !bench.path("vendor").exists());
    }
}

#[test]
fn what_config_names_outside_is_asked_for_before_it_is_read() {
    let cases = [
        ("file = \"../user/private.pem\"", "reads `../user/private.pem`"),
        ("file = \"out/private.pem\"", "reads `out/private.pem`, which is `"),
        ("files = [\"../user/*.pem\"]", "reads `../user/*.pem`"),
        ("files = [\"/**/*\"]", "reads `/**/*`"),
        ("files = [\"o*/*.pem\"]", "reads `out`, which is `"),
        ("files = [\"**/private.pem\"]", "reads `out`, which is `"),
        ("files = [\"?ink.pem\"]", "reads `link.pem`, which is `"),
        ("files = [\"stages/../../user/*\"]", "reads `stages/../../user/*`"),
        ("password = { file = \"../user/private.pem\" }", "reads `../user/private.pem`"),
        ("password = { env = \"HOME\" }", "reads the environment variable `HOME`"),
        ("password = { command = [\"touch\", \"started\"] }", "starts `touch`"),
    ];
    for (config, what) in cases {
        let password = if config.contains("password") { "" } else { ", password = { file = \"pass\" }" };
        let file =
            if config.contains("file = \"") && !config.contains("{") { "" } else { ", file = \"pass\"" };
        let bench = strange(
            "",
            &format!("mine = {{ path = \"stages/mine\", config = {{ {config}{password}{file} }} }}\n"),
        );
        bench.stage("mine", TAKES, Some(PART));
        bench.write("pass", "word\n");
        symlink("../user", bench.path("out")).unwrap();
        symlink("../user/private.pem", bench.path("link.pem")).unwrap();
        // A plan starts no program.
        if !config.contains("command") {
            refused(&bench, &["plan"], what);
        }
        refused(&bench, &["build"], what);
        assert!(!bench.path("started").exists());
        // What the command line says is the user's own word.
        if config.contains("password") {
            let given = ["plan", "--secret", "id=mine.password,src=pass"];
            assert_eq!(run(&bench, &given).code, Some(0), "{}", run(&bench, &given).errors);
        }
    }
}

/// An engine gives whoever builds on it every container image that it has: other projects' systems among them.
#[test]
fn container_images_by_name_are_asked_for_before_an_engine_is() {
    let own = "mine = { path = \"stages/mine\" }\n";
    let name = "the container image `pib/router:0123456789abcdef`";
    for part in [
        "COPY --from=pib/router:0123456789abcdef /etc/shadow /shadow\n",
        "RUN --mount=type=bind,from=pib/router:0123456789abcdef,target=/x cp /x/etc/shadow /\n",
    ] {
        let bench = strange("", own);
        bench.stage("mine", "", Some(part));
        assert_eq!(run(&bench, &["plan"]).code, Some(0), "{}", run(&bench, &["plan"]).errors);
        refused(&bench, &["build"], name);
        assert!(allowed(&bench, &["trust", "--show"]).contains(name));
        allowed(&bench, &["trust", "--yes"]);
        assert_ne!(run(&bench, &["build"]).code, Some(9), "{}", run(&bench, &["build"]).errors);
    }
    // Whoever writes an image's digest knows what it holds. An earlier stage is no container image.
    let digest = format!("COPY --from=x@sha256:{} /a /a\n", "0".repeat(64));
    for part in [&digest, "COPY --from=os /etc/os-release /a\n"] {
        let bench = strange("", own);
        bench.stage("mine", "[order]\nafter = [\"os\"]\n", Some(part));
        assert_ne!(run(&bench, &["build"]).code, Some(9), "{}", run(&bench, &["build"]).errors);
    }
}

/// The stages of a private registry are the user's to see, and the project's other stages see them.
#[test]
fn a_registry_that_takes_the_users_token_is_asked_for() {
    let bench = strange("\n[registries.theirs]\nindex = \"http://127.0.0.1:9/mine\"\n", "");
    let token = [
        ("PIB_TRUST", "0"),
        ("PIB_REGISTRIES_MINE_TOKEN", "token-of-the-user"),
        ("PIB_REGISTRIES_MINE_INDEX", "http://127.0.0.1:9/mine"),
    ];
    let ran = bench.run_with(&["lock"], &token);
    assert_eq!(ran.code, Some(9), "{}", ran.errors);
    assert!(
        ran.errors.contains("with your token") && !ran.errors.contains("token-of-the-user"),
        "{}",
        ran.errors
    );
    assert_ne!(bench.run_with(&["lock"], &token[..1]).code, Some(9));
}

#[test]
fn the_users_word_holds_for_what_was_asked_and_for_nothing_else() {
    let stages = |file: &str| {
        format!(
            "mine = {{ path = \"stages/mine\", config = {{ file = \"{file}\", password = {{ command = [\"pass\", \"wifi\"] }} }} }}\n"
        )
    };
    let bench = strange("", &stages("../user/private.pem"));
    bench.stage("mine", TAKES, Some(PART));
    let shown = allowed(&bench, &["trust", "--show"]);
    assert!(shown.contains("reads `../user/private.pem`") && shown.contains("starts `pass wifi`"), "{shown}");
    refused(&bench, &["plan"], "reads");
    assert_eq!(run(&bench, &["trust"]).code, Some(2), "there is nobody to ask");
    refused(&bench, &["plan"], "reads");
    allowed(&bench, &["trust", "--yes"]);
    allowed(&bench, &["plan"]);
    assert!(!bench.path("pib.lock").symlink_metadata().unwrap().is_symlink());
    bench.write("pib.toml", &format!("{HEAD}{STAGES}{}", stages("../user/other.pem")));
    std::fs::write(bench.folder.path().join("user/other.pem"), "x").unwrap();
    refused(&bench, &["plan"], "reads `../user/other.pem`");
    bench.write("pib.toml", &format!("{HEAD}{STAGES}{}", stages("../user/private.pem")));
    allowed(&bench, &["plan"]);
    let forgotten = allowed(&bench, &["trust", "--forget", "--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&forgotten).unwrap()["project"].is_string());
    refused(&bench, &["plan"], "reads");
    let ran = bench.run_with(&["plan"], &[("PIB_TRUST", "1")]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
}

/// A program of the project's own is allowed as it was when the user was asked.
#[test]
fn a_program_that_the_project_changes_is_asked_for_again() {
    let config = "{ file = \"get.sh\", password = { command = [\"sh\", \"get.sh\"] } }";
    let bench = strange("", &format!("mine = {{ path = \"stages/mine\", config = {config} }}\n"));
    bench.stage("mine", TAKES, Some(PART));
    bench.write("get.sh", "echo word\n");
    refused(&bench, &["build"], "starts `sh`");
    allowed(&bench, &["trust", "--yes"]);
    // There is no engine here.
    assert_eq!(run(&bench, &["build"]).code, Some(5));
    bench.write("get.sh", "touch started; echo word\n");
    refused(&bench, &["build"], "starts `sh`");
    assert!(!bench.path("started").exists());
}

#[test]
fn a_project_of_the_users_own_is_asked_nothing() {
    let bench = strange("", "");
    let within = |args: &[&str]| {
        let ran = run(&bench, args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    };
    within(&["new", "own"]);
    bench.stage("mine", TAKES, Some(PART));
    let own = ["-C", "own"];
    let add = [
        "add",
        "--path",
        "stages/mine",
        "--config",
        "mine.password=env:HOME",
        "--config",
        "mine.file=../user/private.pem",
    ];
    within(&[&own[..], &add].concat());
    within(&[&own[..], &["plan"]].concat());
    // A stranger's project that takes its place is not the user's own.
    std::fs::rename(bench.path("own"), bench.path("kept")).unwrap();
    std::fs::create_dir(bench.path("own")).unwrap();
    for name in ["pib.toml", "pib.lock"] {
        std::fs::copy(bench.path("kept").join(name), bench.path("own").join(name)).unwrap();
    }
    refused(&bench, &["-C", "own", "plan"], "reads");
}

#[test]
fn a_project_can_be_started_where_no_config_can_be_kept() {
    let bench = strange("", "");
    bench.write("config", "a file in the place of the folder");
    let config = bench.path("config");
    let ran =
        bench.run_with(&["new", "own"], &[("PIB_TRUST", "0"), ("XDG_CONFIG_HOME", config.to_str().unwrap())]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(ran.errors.contains("pib trust") && bench.path("own/pib.toml").exists(), "{}", ran.errors);
}

#[test]
fn what_the_user_adds_by_hand_needs_no_second_word() {
    let bench = strange("", "");
    let stage = bench.folder.path().join("user/stages/theirs");
    std::fs::create_dir_all(&stage).unwrap();
    std::fs::write(stage.join("Dockerfile.part"), "RUN true\n").unwrap();
    let add = ["add", "--path", "../user/stages/theirs"];
    allowed(&bench, &[&add[..], &["--dry-run"]].concat());
    allowed(&bench, &add);
    allowed(&bench, &["plan"]);
    // It was this folder that was allowed.
    let text = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &text.replace("user/stages/theirs", "user/stages"));
    refused(&bench, &["plan"], "reads");
}
