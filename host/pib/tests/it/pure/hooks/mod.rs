//! Hooks that do what they should, and hooks that do what strangers' code can do, in the real binary.

mod cache;
mod compile;
mod hostile;
mod manifest;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Ran};
use crate::guests;

const PROJECT: &str = r#"[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

# A base that is not made here, so that a context can be written without it.
[base]
image = "debian@sha256:0000000000000000000000000000000000000000000000000000000000000000"

[stages]
mine = { path = "stages/mine", config = { timeout = 10 } }
"#;

const MANIFEST: &str = "[config.timeout]\ntype = \"integer\"\n\n[hook]\ncomponent = \"hook.wasm\"\n";

/// What a run with a hook may take: the time of one call, and as much again for a loaded machine to start and compile.
const TIME: Duration = Duration::from_secs(60);
/// The most memory that a run may have, in MiB: a hook's 256, and pib's own with the compiler at work in it.
const MEMORY: u64 = 400;

/// A run, and what it took.
pub(super) struct Measured {
    pub(super) ran: Ran,
    pub(super) time: Duration,
    /// The most memory that it had, in MiB.
    pub(super) memory: u64,
}

impl Measured {
    /// Prints what it took, and checks that this is no more than the limits of hooks allow.
    #[track_caller]
    pub(super) fn is_bounded(&self, case: &str) {
        eprintln!("{case:<40} {:>7.2} s {:>5} MiB", self.time.as_secs_f64(), self.memory);
        assert!(self.time < TIME, "{case} took {:?}", self.time);
        assert!(self.memory < MEMORY, "{case} had {} MiB", self.memory);
    }
}

/// Returns a project with one stage, whose hook is this.
pub(super) fn bench(component: &[u8]) -> Bench {
    let bench = Bench::new(PROJECT);
    bench.stage("mine", MANIFEST, Some("RUN echo own\n"));
    bench.write("stages/mine/hook.wasm", component);
    bench
}

/// Sets the user's limits.
pub(super) fn limits(bench: &Bench, text: &str) {
    bench.write("../.config/pib/config.toml", &format!("[hooks]\n{text}\n"));
}

/// Runs the program and watches its memory.
pub(super) fn measure(bench: &Bench, args: &[&str]) -> Measured {
    let started = Instant::now();
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pib.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut out, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        errors.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut memory = 0;
    let status = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        memory = memory.max(peak.unwrap_or(0) >> 10);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let (stdout, stderr) = (stdout.join().unwrap().unwrap(), stderr.join().unwrap().unwrap());
    let ran = bench.ran(&std::process::Output { status, stdout, stderr });
    Measured { ran, time: started.elapsed(), memory }
}

/// Returns a text without the line breaks and marks that messages are wrapped with.
pub(super) fn flat(text: &str) -> String {
    let words =
        text.split_whitespace().filter(|word| !["│", "|", "`-->", "|->", "╰─▶", "├─▶"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the files that the stage has in the context, by their path below its folder.
pub(super) fn context(bench: &Bench) -> BTreeMap<String, String> {
    let folder = bench.path("../context");
    let _ = std::fs::remove_dir_all(&folder);
    let ran = bench.run(&["plan", "--context", "../context"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    written(bench)
}

/// Returns the files of the context as [`context`] does; making it must not take more than hooks may.
#[track_caller]
pub(super) fn bounded_context(bench: &Bench, case: &str) -> BTreeMap<String, String> {
    let _ = std::fs::remove_dir_all(bench.path("../context"));
    let measured = measure(bench, &["plan", "--context", "../context"]);
    assert_eq!(measured.ran.code, Some(0), "{case}: {}", measured.ran.errors);
    measured.is_bounded(case);
    written(bench)
}

/// Returns the files of the context that was written last.
fn written(bench: &Bench) -> BTreeMap<String, String> {
    let folder = bench.path("../context");
    let files = walkdir::WalkDir::new(&folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let path = entry.path().strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
            (path, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_hooks_part_and_files_are_what_is_built() {
    let bench = bench(&guests::writer("etc/motd", "hello"));
    let files = context(&bench);
    assert_eq!(files["stages/mine/etc/motd"], "hello");
    assert!(!files.contains_key("stages/mine/hook.wasm"), "the component is no part of the system");
    assert!(files["Dockerfile"].contains("AS mine\n# stage mine 1.0.0\nARG TIMEOUT=\"10\"\nRUN echo own\n"));
    // Another file is another key, and so is another part.
    let key = || {
        let plan: serde_json::Value = serde_json::from_str(&bench.run(&["plan", "--json"]).out).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == "mine").unwrap()["key"].as_str().unwrap().to_owned()
    };
    let mut keys = vec![key()];
    for component in [guests::writer("etc/motd", "hullo"), guests::part("RUN echo rendered\n")] {
        bench.write("stages/mine/hook.wasm", &component);
        keys.push(key());
    }
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
    let dockerfile = bench.run(&["plan", "--dockerfile"]).out;
    assert!(dockerfile.contains("echo rendered\n") && !dockerfile.contains("echo own"), "{dockerfile}");
}

#[test]
fn the_lock_holds_the_hooks_digest_and_interface() {
    let bench = bench(&guests::harmless());
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    let lock = std::fs::read_to_string(bench.path("pib.lock")).unwrap();
    let digest = pib_plan::id::Digest::of(&guests::harmless()).to_string();
    assert!(lock.contains(&digest) && lock.contains("pib:stage@0.1.0"), "{lock}");
    bench.write("stages/mine/hook.wasm", &guests::part("RUN true\n"));
    bench.fails(&["plan", "--locked"], 3, &["pib.lock would change", "mine"]);
}

#[test]
fn read_file_gives_the_packages_files_and_those_of_the_config_and_nothing_else() {
    let read = |path: &str| {
        let bench = Bench::new(&PROJECT.replace("timeout = 10", "motd = \"texts/motd\""));
        let manifest = MANIFEST.replace("timeout", "motd").replace("integer", "path");
        bench.stage("mine", &manifest, Some("RUN true\n"));
        bench.write("stages/mine/template", "of the package");
        bench.write("texts/motd", "of the project");
        bench.write("texts/other", "not named");
        bench.write("stages/mine/hook.wasm", &guests::reader(path));
        context(&bench)["stages/mine/read"].clone()
    };
    assert_eq!(read("template"), "of the package");
    assert_eq!(read("texts/motd"), "of the project");
    let refused = "it is no file of the stage's package, nor one that the stage's config names";
    for other in ["texts/other", "pib.toml", "../mine/template", "/etc/hostname", "stages/mine/template", ""]
    {
        assert_eq!(read(other), refused, "{other}");
    }
}

#[test]
fn two_hundred_stages_with_hooks_are_asked_together() {
    let count = 200;
    let stages: String =
        (0..count).map(|number| format!("s{number} = {{ path = \"stages/s{number}\" }}\n")).collect();
    let bench = Bench::new(
        &PROJECT.replace("mine = { path = \"stages/mine\", config = { timeout = 10 } }\n", &stages),
    );
    for number in 0..count {
        let name = format!("s{number}");
        bench.stage(&name, "[hook]\ncomponent = \"hook.wasm\"\n", Some("ARG A=b\n"));
        bench.write(&format!("stages/{name}/hook.wasm"), &guests::writer("motd", &name));
    }
    let files = context(&bench);
    for number in 0..count {
        assert_eq!(files[&format!("stages/s{number}/motd")], format!("s{number}"));
    }
}
