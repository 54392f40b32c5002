//! Components that keep the compiler busy: it has so much time and memory, and ends with whoever waits for it.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{bench, flat, limits};
use crate::guests::{FINE, SAME, guest};

/// Nested loops that pass on thousands of variables: the compiler makes one for each of them in each loop.
fn bomb() -> Vec<u8> {
    const VARIABLES: usize = 20_000;
    const DEPTH: usize = 200;
    let mut text = format!("(func $bomb (local {})", "i32 ".repeat(VARIABLES));
    for depth in 0..DEPTH {
        text.push_str("(loop ");
        for number in 0..300 {
            let from = (depth * 300 + number) % VARIABLES;
            let _ = write!(text, "(local.set {} (local.get {from}))", (from * 7 + 1) % VARIABLES);
        }
    }
    for depth in 0..DEPTH {
        let _ = write!(text, "(br_if {depth} (i32.const 0))");
    }
    text.push_str(&")".repeat(DEPTH + 1));
    guest(2, &text, FINE, SAME)
}

#[test]
fn compiling_ends_where_its_time_or_memory_does() {
    let bench = bench(&bomb());
    for (set, say) in [
        ("compile-seconds = 1\ncompile-memory = \"32GiB\"", "more than 1 seconds of the processor"),
        ("compile-memory = \"64MiB\"", "more than 64MiB of memory"),
    ] {
        limits(&bench, set);
        let began = Instant::now();
        let ran = bench.run(&["plan"]);
        let errors = flat(&ran.errors);
        assert_eq!(ran.code, Some(3), "{errors}");
        assert!(
            errors.contains("the hook `hook.wasm` of stage `mine` 1.0.0") && errors.contains(say),
            "{errors}"
        );
        assert!(errors.contains("raise `compile-"), "{errors}");
        assert!(began.elapsed() < Duration::from_secs(120), "{set}: {:?}", began.elapsed());
    }
    assert!(!bench.path("pib.lock").exists(), "what cannot be built is not locked");
}

/// Returns the process that compiles for the process `parent`.
fn compiler_of(parent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.into_iter().find(|&id| is_compiler(id))
}

fn is_compiler(id: u32) -> bool {
    std::fs::read(format!("/proc/{id}/cmdline"))
        .is_ok_and(|line| line.split(|&byte| byte == 0).any(|word| word == b"__compile-hook"))
}

/// Waits until something is so.
fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_compiler_ends_with_whoever_waits_for_it() {
    let bench = bench(&bomb());
    limits(&bench, "compile-seconds = 3600\ncompile-memory = \"32GiB\"");
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        let mut pib = pib.arg("plan").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let compiler = wait("no compiler starts", || compiler_of(pib.id()));
        rustix::process::kill_process(Pid::from_child(&pib), signal).unwrap();
        assert_eq!(pib.wait().unwrap().code(), code, "{signal:?}");
        wait("the compiler lives on", || (!is_compiler(compiler)).then_some(()));
    }
}
