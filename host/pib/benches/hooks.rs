//! What hooks cost: compiling, loading, calling, and many stages at once.
//!
//! `cargo xtask bench hooks` runs it. It prints the table that `host/docs/explanations/hooks.md` has. The hook is that of the stage
//! watchdog: as the component that is published, and its source, compiled into this program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement fails by panicking, and prints"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pib::hooks::{Call, Context, HookName, Host, Limits, Project, StageRef, Value};
use pib_plan::board;
use pib_plugin_sdk as sdk;
use pib_plugin_sdk::Hook as _;

#[allow(unreachable_pub, dead_code, reason = "it is the root of a crate of its own, with tests")]
#[path = "../../../stages/watchdog/hook/src/lib.rs"]
mod watchdog;

/// How many stages the large project has.
const STAGES: usize = 200;

const PROJECT: &str = r#"[project]
name = "many"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
"#;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("stages/watchdog/hook.wasm");
    let component = std::fs::read(&path).unwrap_or_else(|error| {
        panic!("could not read {}: {error}; run `cargo xtask hooks` first", path.display())
    });
    println!("| the hook of watchdog, {} KiB | |\n|---|---|", component.len() >> 10);
    loads(&component);
    calls(&component);
    many(&root, &component);
}

/// A fresh folder for a cache.
fn cache() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A host that has the real program compile.
fn host(cache: &Path) -> Host {
    Host::of_program(Path::new(env!("CARGO_BIN_EXE_pib")), cache, Limits::default())
}

fn name() -> HookName {
    HookName { stage: "watchdog".to_owned(), version: "1.0.0".to_owned(), component: "hook.wasm".to_owned() }
}

/// The first load, and that of every later process.
fn loads(component: &[u8]) {
    let first = median(9, || {
        let folder = cache();
        timed(|| host(folder.path()).load(&name(), component, &AtomicBool::new(false)).unwrap())
    });
    let folder = cache();
    host(folder.path()).load(&name(), component, &AtomicBool::new(false)).unwrap();
    let cached = median(50, || {
        timed(|| {
            let hook = host(folder.path()).load(&name(), component, &AtomicBool::new(false)).unwrap();
            assert!(hook.is_cached());
            hook
        })
    });
    row("first load: engine, compile", first);
    row("cached load: engine, seal checked, code loaded", cached);
}

/// One validate and one render.
fn calls(component: &[u8]) {
    let folder = cache();
    let host = host(folder.path());
    let hook = host.load(&name(), component, &AtomicBool::new(false)).unwrap();
    let context = context();
    let sandbox = median(2_000, || {
        timed(|| {
            let call = Call::new(&context);
            let found = hook.validate(&call).unwrap();
            let rendered = hook.render(&call, "RUN true\n").unwrap();
            (found, rendered)
        })
    });
    row("two calls: instantiate and validate, instantiate and render", sandbox);
    let native = native(&context);
    row("the same functions, called natively", native);
    println!("| ratio | {:.0} |", sandbox.as_secs_f64() / native.as_secs_f64());
}

/// The same two calls of the same source, without a sandbox.
fn native(context: &Context) -> Duration {
    /// Too short for the clock one by one.
    const TIMES: u32 = 1_000;
    // What the hook does not look at is left out.
    let context = sdk::Context {
        project: sdk::Project { board: context.project.board.clone(), ..sdk::Project::default() },
        board_traits: context.board_traits.clone(),
        settings: vec![
            ("max-load".to_owned(), sdk::Value::Integer(24)),
            ("timeout".to_owned(), sdk::Value::Integer(15)),
        ],
        ..sdk::Context::default()
    };
    let time = median(101, || {
        timed(|| {
            for _ in 0..TIMES {
                let context = black_box(&context);
                black_box(watchdog::Watchdog::validate(context));
                black_box(watchdog::Watchdog::render(context, "RUN true\n").unwrap());
            }
        })
    });
    time / TIMES
}

/// A project of many stages, each with a component of its own: `pib plan`.
fn many(root: &Path, component: &[u8]) {
    let folder = cache();
    let project = folder.path().join("project");
    let mut manifest = PROJECT.to_owned();
    for number in 0..STAGES {
        let stage = project.join(format!("stages/s{number}"));
        std::fs::create_dir_all(&stage).unwrap();
        let text = std::fs::read_to_string(root.join("stages/watchdog/stage.toml")).unwrap();
        std::fs::write(stage.join("stage.toml"), text.replace("\"watchdog\"", &format!("\"s{number}\"")))
            .unwrap();
        // So many parts with layers of their own are more than engines take.
        std::fs::write(stage.join("Dockerfile.part"), "ARG A=b\n").unwrap();
        // A custom section makes each component another one.
        let mut other = component.to_vec();
        let text = number.to_string();
        other.extend([0, text.len() as u8 + 2, 1, b'n']);
        other.extend(text.as_bytes());
        std::fs::write(stage.join("hook.wasm"), other).unwrap();
        let _ = writeln!(manifest, "s{number} = {{ path = \"stages/s{number}\" }}");
    }
    std::fs::write(project.join("pib.toml"), manifest).unwrap();
    let cache = folder.path().join("cache");
    let first = plan(&project, &cache);
    let loaded = median(7, || {
        forget(&cache, "answer-");
        plan(&project, &cache)
    });
    let known = median(15, || plan(&project, &cache));
    for number in 0..STAGES {
        let path = project.join(format!("stages/s{number}/stage.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.split("[hook]").next().unwrap()).unwrap();
    }
    let without = median(15, || plan(&project, &cache));
    row(&format!("`pib plan`, {STAGES} stages with a component each: all compiled"), first);
    row("the same, code cached, hooks run", loaded);
    row("the same, nothing changed: answers cached", known);
    row("the same stages without hooks", without);
}

fn plan(project: &Path, cache: &Path) -> Duration {
    timed(|| {
        let mut pib = Command::new(env!("CARGO_BIN_EXE_pib"));
        let output =
            pib.args(["plan", "--quiet"]).current_dir(project).env("PIB_CACHE_DIR", cache).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Removes the cached files of one kind.
fn forget(cache: &Path, prefix: &str) {
    for entry in cache.join(pib::hooks::CACHE_FOLDER).read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(prefix) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn context() -> Context {
    let stage = |name: &str| StageRef { name: name.to_owned(), version: "1.0.0".to_owned() };
    Context {
        project: Project {
            name: "router".to_owned(),
            os: "debian".to_owned(),
            release: "trixie".to_owned(),
            board: "rpi4".to_owned(),
            arch: "arm64".to_owned(),
            hostname: "router".to_owned(),
            locale: "en_US.UTF-8".to_owned(),
            timezone: "UTC".to_owned(),
        },
        board_traits: board::find("rpi4").unwrap().traits(),
        stages: ["__init__", "os", "watchdog", "__cleanup__"].map(stage).to_vec(),
        this: stage("watchdog"),
        config: vec![("max-load".to_owned(), Value::Integer(24)), ("timeout".to_owned(), Value::Integer(15))],
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn median(runs: usize, work: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = std::iter::repeat_with(work).take(runs).collect();
    times.sort();
    times[runs / 2]
}

fn row(what: &str, time: Duration) {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => println!("| {what} | {micros:.1} µs |"),
        _ => println!("| {what} | {:.1} ms |", micros / 1e3),
    }
}
