//! What a person reads when manifest, resolution or lock fail: the whole text, for readers who have never seen pib.

use pib_plan::index::shard_path;

use crate::bench::{Bench, PROJECT};

/// Runs what must fail with this exit code and change nothing, and compares all that it says with the snapshot.
#[track_caller]
fn says(name: &str, bench: &Bench, code: i32, args: &[&str]) {
    let before = bench.files();
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(code), "{name}: {}{}", ran.out, ran.errors);
    assert_eq!(bench.files(), before, "{name}: the project was changed");
    let lines: Vec<&str> = ran.errors.lines().map(str::trim_end).filter(|line| !is_progress(line)).collect();
    let text =
        format!("$ pib {}\n{}\n(exit code {code})", args.join(" "), lines.join("\n").trim_matches('\n'));
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Returns whether a line tells of work that is shown only on a machine where it takes long.
fn is_progress(line: &str) -> bool {
    let took = line.strip_suffix('s').and_then(|line| line.rsplit_once(": "));
    line.ends_with(" ...") || took.is_some_and(|(_, seconds)| seconds.parse::<f32>().is_ok())
}

/// Takes the project with one text replaced by another, which must be there.
#[track_caller]
fn changed(from: &str, to: &str) -> Bench {
    assert!(PROJECT.contains(from), "{from}");
    Bench::new(&PROJECT.replace(from, to))
}

/// Takes the project with more lines at its end, which is among its stages.
fn with(lines: &str) -> Bench {
    Bench::new(&format!("{PROJECT}{lines}"))
}

/// Takes the project with stages of its own, each a name and the rest of its manifest.
fn with_stages(stages: &[(&str, &str)]) -> Bench {
    let lines = stages.iter().map(|(name, _)| format!("{name} = {{ path = \"stages/{name}\" }}\n"));
    let bench = with(&lines.collect::<String>());
    for (name, manifest) in stages {
        bench.stage(name, manifest, Some("RUN true\n"));
    }
    bench
}

/// Takes a project with stages of a registry of its own, each a name, a version and the rest of its manifest.
fn with_registry(lines: &str, published: &[(&str, &str, &str)]) -> Bench {
    let bench = Bench::new("");
    for (name, version, rest) in published {
        let head = if rest.starts_with("pib") { "" } else { "\n" };
        let manifest = format!("[stage]\nname = \"{name}\"\nversion = \"{version}\"\n{head}{rest}");
        bench.write(&format!("../shop/{name}/stage.toml"), &manifest);
        bench.write(&format!("../shop/{name}/Dockerfile.part"), "RUN true\n");
        let ran = bench.run(&[
            "publish",
            "--index",
            "../registry",
            &format!("../shop/{name}"),
            "--allow-incomplete",
        ]);
        assert_eq!(ran.code, Some(0), "{}", ran.errors);
    }
    let registry = bench.path("../registry").canonicalize().unwrap();
    bench.write(
        "pib.toml",
        &format!("{PROJECT}{lines}\n[registries.acme]\nindex = \"file://{}\"\n", registry.display()),
    );
    bench
}

fn yank(bench: &Bench, name: &str) {
    let path = bench.path("../registry").join(shard_path(&name.parse().unwrap()));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("}\n", ",\"yanked\":true}\n")).unwrap();
}

const CAMERA: &str = "camera = { version = \"1\", registry = \"acme\" }\n";

#[test]
fn manifests_that_cannot_be_read() {
    says("manifest-broken-toml", &changed("[stages]", "[stages"), 3, &["plan"]);
    says("manifest-unquoted-value", &changed("\"rpi4\"", "rpi4"), 3, &["plan"]);
    says("manifest-unknown-key", &changed("release =", "relaese ="), 3, &["plan"]);
    says("manifest-unknown-table", &changed("[stages]", "[stage]"), 3, &["plan"]);
    says("manifest-duplicate-key", &with("os = \"1\"\n"), 3, &["plan"]);
    says("manifest-wrong-type", &changed("\"router\"", "5"), 3, &["plan"]);
    says("manifest-wrong-type-of-stage", &changed("os = \"1\"", "os = 1"), 3, &["plan"]);
    says("manifest-missing-key", &changed("board = \"rpi4\"\n", ""), 3, &["plan"]);
    says("manifest-empty", &Bench::new(""), 3, &["plan"]);
    says("manifest-unknown-board", &changed("rpi4", "rpi44"), 3, &["plan"]);
    says("manifest-board-without-arch", &changed("rpi4", "rpi1"), 3, &["plan"]);
    says("manifest-bad-host-name", &changed("[stages]", "hostname = \"my_pi\"\n\n[stages]"), 3, &["plan"]);
}

#[test]
fn stages_that_are_asked_for_wrongly() {
    says("stage-bad-name", &with("Watch_Dog = \"1\"\n"), 3, &["plan"]);
    says("stage-bad-requirement", &changed("os = \"1\"", "os = \"one\""), 3, &["plan"]);
    says("stage-no-source", &with("mine = { config = { a = 1 } }\n"), 3, &["plan"]);
    says("stage-two-sources", &with("mine = { path = \"stages/mine\", version = \"1\" }\n"), 3, &["plan"]);
    let git = "kvm = { git = \"https://example.org/kvm.git\", tag = \"v1\", branch = \"main\" }\n";
    says("stage-git-tag-and-branch", &with(git), 3, &["plan"]);
    says("stage-tag-without-git", &with("kvm = { tag = \"v1\", version = \"1\" }\n"), 3, &["plan"]);
    says("stage-unknown-registry", &with(CAMERA), 3, &["plan"]);
    let near = with(
        "camera = { version = \"1\", registry = \"acne\" }\n\n[registries.acme]\nindex = \"https://stages.example/\"\n",
    );
    says("stage-registry-mistyped", &near, 3, &["plan"]);
    says("stage-path-missing", &with("mine = { path = \"stages/mine\" }\n"), 3, &["plan"]);
    let bench = with("mine = { path = \"stages\" }\n");
    bench.stage("mine", "", Some("RUN true\n"));
    says("stage-path-is-none", &bench, 3, &["plan"]);
    let bench = with("mine = { path = \"stages/other\" }\n");
    bench.stage("other", "", Some("RUN true\n"));
    says("stage-path-holds-another", &bench, 3, &["plan"]);
    says("stage-unknown-key", &with_stages(&[("mine", "[depends]\nos = \"1\"\n")]), 3, &["plan"]);
    says("patch-without-place", &with("\n[patch]\nro = \"1\"\n"), 3, &["plan"]);
}

#[test]
fn config_that_does_not_fit() {
    says("config-unknown-key", &changed("timeout = 10", "timeuot = 10"), 3, &["plan"]);
    says("config-out-of-range", &changed("timeout = 10", "timeout = 99"), 3, &["plan"]);
    says("config-wrong-type", &changed("timeout = 10", "timeout = \"10 s\""), 3, &["plan"]);
    says("config-required", &with("rootssh = \"1\"\n"), 3, &["plan"]);
    let keys = "rootssh = { version = \"1\", config = { authorized-keys = [\"keys/*.pub\"] } }\n";
    says("config-no-such-file", &with(keys), 3, &["plan"]);
    let several = PROJECT.replace("timeout = 10", "timeout = 99, max-laod = 3");
    says("config-several", &Bench::new(&format!("{several}rootssh = \"1\"\n")), 3, &["plan"]);
}

#[test]
fn versions_that_do_not_fit() {
    says("resolve-mistyped-stage", &with("watchdgo = \"1\"\n"), 4, &["plan"]);
    says("resolve-unknown-stage", &with("camera = \"1\"\n"), 4, &["plan"]);
    says("resolve-no-such-version", &changed("os = \"1\"", "os = \"7\""), 4, &["plan"]);
    let first_board = changed("rpi4\"\narch = \"arm64", "rpi1\"\narch = \"armv6");
    let text = std::fs::read_to_string(first_board.path("pib.toml")).unwrap();
    first_board.write("pib.toml", &text.replace("os = \"1\"", "os = \"=1.2.0\""));
    says("resolve-arch", &first_board, 4, &["plan"]);
    says(
        "resolve-several",
        &changed("os = \"1\"", "os = \"7\"\nwatchdgo = \"1\"\nro = \"^3\""),
        4,
        &["plan"],
    );
    let published = [("camera", "1.0.0", ""), ("camera", "1.1.0", "")];
    let bench = with_registry(CAMERA, &published);
    yank(&bench, "camera");
    says("resolve-yanked", &bench, 4, &["plan"]);
    let bench =
        with_registry(CAMERA, &[("camera", "1.0.0", "[support]\nboards = [\"rpi3\"]\nos = [\"arch\"]\n")]);
    says("resolve-board-and-os", &bench, 4, &["plan"]);
    says("resolve-new-pib", &with_registry(CAMERA, &[("camera", "1.0.0", "pib = \">=9\"\n")]), 4, &["plan"]);
    let any = "camera = { version = \"*\", registry = \"acme\" }\n";
    says("resolve-pre-release", &with_registry(any, &[("camera", "2.0.0-beta.1", "")]), 4, &["plan"]);
    let conflict = with_stages(&[("softdog", "[conflicts]\nwatchdog = \"*\"\n")]);
    says("resolve-conflict", &conflict, 4, &["plan"]);
    let published = [
        ("lib", "1.2.0", ""),
        ("lib", "2.0.0", ""),
        ("camera", "1.0.0", "[dependencies]\nlib = \"1\"\n"),
        ("screen", "1.0.0", "[dependencies]\nlib = \"2\"\n"),
    ];
    let lines =
        "lib = { version = \"*\", registry = \"acme\" }\nscreen = { version = \"1\", registry = \"acme\" }\n";
    says("resolve-diamond", &with_registry(&format!("{CAMERA}{lines}"), &published), 4, &["plan"]);
    let missing = with_stages(&[("mine", "[dependencies]\ngpsd = \"1\"\n")]);
    says("resolve-unknown-dependency", &missing, 4, &["plan"]);
    let bench = with("ro = \"1\"\n\n[patch]\nos = { path = \"stages/os\" }\n");
    bench.write("stages/os/Dockerfile.part", "RUN true\n");
    says("resolve-patch-of-another-version", &bench, 4, &["plan"]);
}

#[test]
fn orders_that_contradict_themselves() {
    let dependencies = [("one", "[dependencies]\ntwo = \"*\"\n"), ("two", "[dependencies]\none = \"*\"\n")];
    says("order-cyclic-dependencies", &with_stages(&dependencies), 4, &["plan"]);
    let order = [
        ("one", "[order]\nafter = [\"three\"]\n"),
        ("two", "[order]\nafter = [\"one\"]\n"),
        ("three", "[order]\nafter = [\"two\"]\n\n[dependencies]\nwatchdog = \"1\"\n"),
    ];
    says("order-cycle", &with_stages(&order), 4, &["plan"]);
    let bench = with_stages(&[("one", ""), ("two", "[dependencies]\none = \"*\"\n")]);
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &format!("{manifest}\n[order.stages.one]\nafter = [\"two\"]\n"));
    says("order-by-hand", &bench, 4, &["plan"]);
    let phases = [("tidy", "phase = \"cleanup\"\n"), ("mine", "[dependencies]\ntidy = \"*\"\n")];
    says("order-against-phases", &with_stages(&phases), 4, &["plan"]);
}

#[test]
fn locks_that_do_not_fit() {
    let bench = Bench::new(PROJECT);
    says("lock-missing", &bench, 3, &["plan", "--locked"]);
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    let with_lock = |text: String| bench.write("pib.lock", &text);
    with_lock(lock.replace("version = 1\n", "version = 2\n"));
    says("lock-newer", &bench, 3, &["plan"]);
    with_lock(lock.replace("name = \"ro\"", "name = \"ro").replacen(
        "[[stage]]",
        "<<<<<<< HEAD\n[[stage]]",
        1,
    ));
    says("lock-merge-conflict", &bench, 3, &["plan"]);
    with_lock(lock[..lock.len() - 40].to_owned());
    says("lock-truncated", &bench, 3, &["plan"]);
    let at = lock.find("content = \"sha256:").unwrap() + "content = \"sha256:".len();
    with_lock(format!("{}0000{}", &lock[..at], &lock[at + 4..]));
    says("lock-tampered", &bench, 8, &["lock"]);
    with_lock(lock.replace("\"os\",", "\"so\","));
    says("lock-without-a-dependency", &bench, 3, &["plan"]);
    with_lock(lock);
    bench.write("pib.toml", &format!("{}ro = \"1\"\n", PROJECT.replace("watchdog =", "# watchdog =")));
    says("lock-would-change", &bench, 3, &["plan", "--locked"]);
    let remote = with(&format!("{CAMERA}\n[registries.acme]\nindex = \"https://stages.example/\"\n"));
    says("lock-offline", &remote, 8, &["lock", "--offline"]);
}

#[test]
fn commands_that_make_no_sense() {
    let bench = Bench::new(PROJECT);
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    says("add-unknown", &bench, 4, &["add", "wacthdog", "gpsd"]);
    says("add-bad-requirement", &bench, 2, &["add", "ro@latest"]);
    says("add-bad-config", &bench, 2, &["add", "ro", "--config", "ro.tmp-size=much"]);
    says("remove-unknown", &bench, 2, &["remove", "watchdgo"]);
    says("update-unknown", &bench, 4, &["update", "kamera"]);
    says("update-precise", &bench, 4, &["update", "watchdog", "--precise", "9.0.0"]);
    says("target-none", &bench, 2, &["build", "--target", "kiosk"]);
    let target = with("\n[target.kiosk]\nboard = \"rpi1\"\n");
    says("target-board-without-arch", &target, 3, &["plan"]);
    let target = with("\n[target.kiosk.stages]\nwatchdgo = false\n");
    says("target-leaves-out-nothing", &target, 3, &["plan"]);
    let target = with("\n[target.kiosk.stages]\nro = \"7\"\n\n[target.spare.stages]\nos = \"7\"\n");
    says("target-cannot-be-resolved", &target, 4, &["lock"]);
    says("target-mistyped", &with("\n[target.kiosk]\n"), 2, &["plan", "--target", "kisok"]);
}

/// A patch for nothing is no failure, but most likely a mistake.
#[test]
fn a_patch_that_changes_nothing_is_told() {
    let bench = with("\n[patch]\nwatchdgo = { path = \"stages/watchdog\" }\n");
    let ran = bench.run(&["lock"]);
    let warning = "warning: [patch] has `watchdgo`, but no stage of this build is called so. Did you mean `watchdog`?\n";
    assert!(ran.code == Some(0) && ran.errors.starts_with(warning), "{}", ran.errors);
    assert_eq!(ran.errors.matches("warning").count(), 1, "{}", ran.errors);
}

/// So is an order of stages that there are not, also where it might be meant for a target.
#[test]
fn an_order_of_nothing_is_told() {
    for targets in ["", "\n[target.kiosk]\nboard = \"rpi3\"\n"] {
        let bench = with(&format!("\n[order.stages.os]\nbefore = [\"watchdgo\"]\n{targets}"));
        let ran = bench.run(&["lock"]);
        let warning =
            "[order] names `watchdgo`, but no stage of this build is called so. Did you mean `watchdog`?";
        assert!(ran.code == Some(0) && ran.errors.contains(warning), "{}", ran.errors);
    }
    // A stage of another target is none that is not there.
    let other = "\n[target.kiosk.stages]\nwatchdog = false\n\n[target.spare.stages]\nzram = \"1\"\n";
    let bench = with(&format!("\n[order]\nlist = [\"zram\", \"watchdog\"]\n{other}"));
    let ran = bench.run(&["lock"]);
    assert!(ran.code == Some(0) && !ran.errors.contains("[order]"), "{}", ran.errors);
}

/// Machines get the same facts: each problem with its place and its help.
#[test]
fn problems_are_json_too() {
    let bench = changed("os = \"1\"", "os = \"7\"\nwatchdgo = \"1\"");
    let ran = bench.run(&["plan", "--json"]);
    let event: serde_json::Value = serde_json::from_str(ran.errors.lines().last().unwrap()).unwrap();
    assert_eq!((event["event"].as_str(), event["exit-code"].as_i64()), (Some("error"), Some(4)));
    let problems = event["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{event}");
    assert_eq!(problems[1]["help"], "Did you mean `watchdog`?");
    let place = &problems[1]["places"][0];
    assert_eq!(
        (place["file"].as_str(), place["line"].as_i64(), place["column"].as_i64()),
        (Some("pib.toml"), Some(11), Some(1))
    );
}
