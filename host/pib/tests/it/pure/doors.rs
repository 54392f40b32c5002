//! Every file that pib reads, replaced by something that is none: a named pipe that nobody writes, a device without end.
//! No command waits for it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;

/// How long a command may take; one that waits never ends.
const PATIENCE: Duration = Duration::from_secs(120);

const PROJECT: &str = r#"[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[base]
path = "base.tar"
digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

[registries.acme]
index = "file:///TEMP/registry"

[stages]
os = "1"
mine = { path = "stages/mine", config = { key = ["keys/*"], token = { file = "token" } } }
"#;

fn bench() -> Bench {
    let bench = Bench::new("");
    bench.write("pib.toml", &PROJECT.replace("/TEMP", &bench.folder.path().display().to_string()));
    bench.stage(
        "mine",
        "[config.key]\ntype = \"paths\"\n[config.token]\ntype = \"secret\"\n",
        Some("RUN --mount=type=secret,id=mine.token true\n"),
    );
    for (name, text) in [
        ("stages/mine/files/a", "a"),
        ("keys/one.pub", "key"),
        ("token", "hunter2"),
        ("base.tar", ""),
        ("../registry/config.json", "{\"v\":1}"),
        ("../.config/pib/config.toml", "[hooks]\nseconds = 20\n"),
        ("../.docker/config.json", "{\"currentContext\":\"other\"}"),
    ] {
        bench.write(name, text);
    }
    bench
}

/// Runs a command to its end.
fn ends(bench: &Bench, args: &[&str], what: &str) {
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if what.contains("docker") {
        pib.env_remove("DOCKER_HOST");
    }
    let mut pib = pib.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match pib.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                pib.kill().unwrap();
                panic!("{args:?} waits for {what}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.code().is_some_and(|code| code != 101), "{args:?} with {what}: {status}");
}

const COMMANDS: [&[&str]; 12] = [
    &["plan"],
    &["plan", "--context", "../context"],
    &["lock"],
    &["tree"],
    &["info", "mine"],
    &["search", "mine"],
    &["stage", "check", "stages/mine"],
    &["add", "watchdog", "--dry-run"],
    &["fetch"],
    &["vendor"],
    &["build"],
    &["clean"],
];

#[test]
fn no_command_waits_for_a_file_that_is_none() {
    let started = bench();
    assert_eq!(started.run(&["lock"]).code, Some(0), "{}", started.run(&["lock"]).errors);
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(started.folder.path())
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(started.folder.path()).unwrap().to_owned())
        .collect();
    files.extend(["project/target/.pib-lock", "cache/lock", "project/pib.lock"].map(PathBuf::from));
    files.sort();
    files.dedup();
    assert!(files.len() > 10, "{files:?}");
    for file in &files {
        for device in [None, Some("/dev/zero")] {
            let bench = bench();
            let _ = bench.run(&["lock"]);
            let path = bench.folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = std::fs::remove_file(&path);
            match device {
                None => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap(),
                Some(device) => std::os::unix::fs::symlink(device, &path).unwrap(),
            }
            let what = format!("{} as {}", file.display(), device.unwrap_or("a named pipe"));
            // One command after the other: what an earlier one made of it is part of the trial.
            for args in COMMANDS {
                ends(&bench, args, &what);
            }
        }
    }
}

#[test]
fn a_pattern_that_looks_through_the_whole_machine_ends() {
    let bench = bench();
    let manifest = std::fs::read_to_string(bench.path("pib.toml")).unwrap();
    bench.write("pib.toml", &manifest.replace("keys/*", "/**/*.no-such-file"));
    ends(&bench, &["plan"], "a pattern over everything");
}
