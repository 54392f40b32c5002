//! The events of real runs against their published schema.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::bench::{Bench, PROJECT};
use crate::world::{Images, World, nonce};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Keeps a text for the book, where `cargo xtask record` asks for it.
pub(crate) fn record(name: &str, text: &str) {
    if std::env::var_os("PIB_RECORD").is_some() {
        let folder = docs().join("terminal");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The published schema, as a validator of its own reads it.
struct Schema {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    fn published() -> Self {
        let path = docs().join("events.schema.json");
        let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("events.json", schema).unwrap();
        // This also checks the schema against that of schemas.
        let index = compiler.compile("events.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    fn check(&self, event: &Value) -> Result<(), String> {
        self.schemas.validate(event, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// Checks every line against the schema and returns the events.
fn checked(text: &str) -> Vec<Value> {
    let schema = Schema::published();
    let mut events = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        schema.check(&event).unwrap_or_else(|error| panic!("{line}: {error}"));
        events.push(event);
    }
    // Time never goes back, and what ends has begun.
    let times: Vec<f64> = events.iter().map(|event| event["time"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut running = Vec::new();
    for event in &events {
        let id = || event["id"].as_str().unwrap();
        match event["event"].as_str().unwrap() {
            "step-started" => running.push(id()),
            "step-finished" | "step-failed" => {
                let at = running.iter().position(|known| *known == id());
                running.remove(at.unwrap_or_else(|| panic!("{} ended and had not begun", id())));
            }
            "step-progress" | "step-detail" => assert!(running.contains(&id()), "{event}"),
            _ => {}
        }
    }
    let failed = events.last().is_some_and(|event| event["event"] == "error");
    assert!(running.is_empty() || failed, "{running:?} did not end");
    events
}

fn kinds<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let schema = Schema::published();
    let valid = |text: &str| schema.check(&serde_json::from_str(text).unwrap()).is_ok();
    assert!(valid(r#"{"event": "note", "message": "m", "time": 0.1}"#));
    for wrong in [
        r#"{"event": "note", "message": "m"}"#,
        r#"{"event": "note", "message": 1, "time": 0.1}"#,
        r#"{"event": "note", "message": "m", "time": 0.1, "more": 1}"#,
        r#"{"event": "step-progress", "id": "a", "done": -1, "total": null, "time": 0.1}"#,
        r#"{"event": "unheard-of", "time": 0.1}"#,
        r#"[]"#,
    ] {
        assert!(!valid(wrong), "{wrong}");
    }
}

#[test]
fn errors_without_an_engine_are_events() {
    let bench = Bench::new(&PROJECT.replace("rpi4", "rpi44"));
    let events = checked(&bench.run(&["plan", "--json"]).errors);
    assert_eq!(events.last().unwrap()["exit-code"], 3);
    let bench = Bench::new(PROJECT);
    let events = checked(&bench.run(&["build", "--json"]).errors);
    let error = events.last().unwrap();
    assert_eq!((error["event"].as_str(), error["exit-code"].as_i64()), (Some("error"), Some(5)));
    let quiet = checked(&bench.run(&["build", "--json", "--quiet"]).errors);
    assert_eq!(quiet.len(), 1, "{quiet:?}");
}

/// The recordings in the book are what this version writes.
#[test]
fn the_recorded_events_are_valid() {
    for name in ["build.jsonl", "failure.jsonl"] {
        let path = docs().join("terminal").join(name);
        let events = checked(&std::fs::read_to_string(&path).unwrap());
        assert!(!kinds(&events, "step-started").is_empty(), "{}", path.display());
    }
    for entry in std::fs::read_dir(docs().join("terminal")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("/tmp/"), "a path of the machine that recorded it:\n{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

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
