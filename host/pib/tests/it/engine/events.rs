//! The events of builds, commands and exports.

use std::process::Output;

use serde_json::Value;

use super::project::Scratch;
use crate::event_log::{checked, kinds, record};
use crate::world::{Images, World, nonce};

#[test]
fn a_build_and_a_failure_are_told_in_events() {
    let world = World::new();
    let _images = Images("told");
    world.tiny("told", "RUN printf 'a\\033[2Jb\\n' && echo more\n");
    let run = || -> (Output, Vec<Value>, String) {
        // What the engine has from an earlier run of this test would print nothing.
        let output = world.pib("told", &["build", "--json", "--no-cache", "mine"]).output().unwrap();
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        (output, checked(&text), text)
    };
    let (output, events, text) = run();
    assert!(output.status.success(), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
    let finished = kinds(&events, "step-finished");
    for id in ["stage:__init__", "stage:mine", "stage:__cleanup__", "image"] {
        assert!(finished.iter().any(|event| event["id"] == id), "no end of {id}: {text}");
    }
    assert!(kinds(&events, "log").iter().any(|event| event["line"] == "ab"), "{text}");
    let log = kinds(&events, "log-file")[0]["path"].as_str().unwrap().to_owned();
    assert!(world.path("told").join(&log).is_file(), "{log}");
    record("build.jsonl", &text);

    std::fs::write(
        world.path("told/stages/mine/Dockerfile.part"),
        "RUN echo more\nRUN echo last && exit 9\n",
    )
    .unwrap();
    let (output, events, text) = run();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(6), &b""[..]), "{text}");
    let error = events.last().unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("stage mine, line 2 of its part") && message.contains("exit code 9"),
        "{message}"
    );
    assert!(error["help"].as_str().unwrap().ends_with("last"), "{error}");
    assert!(world.path("told").join(error["logs"][0].as_str().unwrap()).is_file(), "{error}");
    assert_eq!(kinds(&events, "step-failed")[0]["id"], "stage:mine", "{text}");
    record("failure.jsonl", &text);
}

/// What builds before a command or an export is told and logged as a build is; what has nothing to build leaves no log.
#[test]
fn what_a_command_and_an_export_build_is_told_and_logged() {
    let world = World::new();
    let _images = Images("inside");
    // What the engine has from an earlier run of this test would print nothing.
    let nonce = nonce();
    world.tiny("inside", &format!("RUN echo from the part # {nonce}\n"));
    let part = |text: &str| {
        std::fs::write(world.path("inside/stages/mine/Dockerfile.part"), text).unwrap();
    };
    let run = |args: &[&str]| -> (Output, Vec<Value>) {
        let output = world.pib("inside", args).output().unwrap();
        // What the command prints on standard error is its own business: these print nothing there.
        let events = checked(&String::from_utf8(output.stderr.clone()).unwrap());
        (output, events)
    };
    let logs = || std::fs::read_dir(world.path("inside/target/logs")).map_or(0, Iterator::count);
    let (output, events) = run(&["run", "--json", "--at", "mine", "--", "sh", "-c", "echo out; exit 3"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"out\n"[..]), "{events:?}");
    let printed = kinds(&events, "log");
    assert!(printed.iter().any(|event| event["line"] == "from the part"), "{events:?}");
    let log = kinds(&events, "log-file")[0]["path"].as_str().unwrap().to_owned();
    let log = std::fs::read_to_string(world.path("inside").join(log)).unwrap();
    assert!(log.contains("stage:mine| from the part") && log.trim_end().ends_with("done"), "{log}");
    assert_eq!(logs(), 2, "a log, and the link to the newest");

    // A shell whose input is no terminal reads commands.
    let mut shell = world.pib("inside", &["shell", "--json", "--at", "mine"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input"), "echo typed; exit 5\n").unwrap();
    let output = shell.stdin(std::fs::File::open(folder.path().join("input")).unwrap()).output().unwrap();
    let events = checked(&String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), &b"typed\n"[..]), "{events:?}");
    assert!(kinds(&events, "log-file").is_empty(), "{events:?}");
    let (output, events) = run(&["export", "--json", "--at", "mine", "--tar", "out.tar"]);
    assert!(output.status.success() && !kinds(&events, "step-finished").is_empty(), "{events:?}");
    assert_eq!(logs(), 2, "nothing was built");

    part(&format!("RUN echo another # {nonce}\n"));
    let (output, events) = run(&["export", "--json", "--at", "mine"]);
    assert!(output.status.success(), "{events:?}");
    assert_eq!((kinds(&events, "log-file").len(), logs()), (1, 3));

    part("RUN echo last && exit 9\n");
    let (output, events) = run(&["run", "--json", "--", "true"]);
    let error = events.last().unwrap();
    assert_eq!((output.status.code(), error["exit-code"].as_i64()), (Some(6), Some(6)), "{error}");
    let log = std::fs::read_to_string(world.path("inside").join(error["logs"][0].as_str().unwrap())).unwrap();
    assert!(log.contains("stage:mine: failed") && log.contains("exit code 9"), "{log}");
}

/// What is judged is what is built: a file is not read again after something was decided by it.
#[test]
fn a_build_reads_each_file_of_the_project_once() {
    let project = Scratch::new("readonce", "unix:///var/run/docker.sock");
    project.part("mine", "COPY stages/mine/some /etc/some\nRUN true\n");
    let stage = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n\n[config.text]\ntype = \"paths\"\n";
    std::fs::write(project.path("stages/mine/stage.toml"), stage).unwrap();
    std::fs::write(project.path("stages/mine/some"), "some").unwrap();
    std::fs::write(project.path("text"), "text").unwrap();
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let with = "path = \"stages/mine\", config = { text = [\"text\"] }";
    std::fs::write(project.path("pib.toml"), manifest.replace("path = \"stages/mine\"", with)).unwrap();
    let mut expected: Vec<&str> = vec![
        "base.tar",
        "pib.toml",
        "stages/__cleanup__/Dockerfile.part",
        "stages/__init__/Dockerfile.part",
        "stages/mine/Dockerfile.part",
        "stages/mine/some",
        "stages/mine/stage.toml",
        "text",
    ];
    // The first build writes the lock, the second has it; then nothing is to be done.
    for _ in 0..3 {
        let output = project.pib(&["build", "--json", "--verbose"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let events = checked(&text);
        let mut read: Vec<&str> =
            kinds(&events, "file-read").iter().map(|event| event["path"].as_str().unwrap()).collect();
        // The cache of this project is in its folder.
        read.retain(|path| !path.starts_with("cache/"));
        read.sort_unstable();
        assert_eq!(read, expected);
        expected.retain(|path| *path != "base.tar");
        if !expected.contains(&"pib.lock") {
            expected.insert(0, "pib.lock");
        }
    }
}
