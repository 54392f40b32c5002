//! A program that pib starts to end with it does so, however pib ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A number of seconds to sleep that no other process has in its command line.
fn seconds() -> String {
    format!("{}", 1_000_000 + std::process::id())
}

/// Returns how many processes sleep for so long.
fn sleepers(seconds: &str) -> usize {
    let line = format!("sleep\0{seconds}\0");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|text| text == line.as_bytes()))
        .count()
}

fn wait_for(count: usize, seconds: &str) {
    let began = Instant::now();
    while sleepers(seconds) != count {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{} processes instead of {count}",
            sleepers(seconds)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The parent is killed as pib may be; a shell stands for it, since QEMU needs an image.
#[test]
fn a_tied_program_ends_with_the_one_that_started_it() {
    let seconds = seconds();
    let script = format!("'{}' __become $$ sleep {seconds} & wait", env!("CARGO_BIN_EXE_pib"));
    let mut parent = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    wait_for(1, &seconds);
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for(0, &seconds);
}

#[test]
fn a_program_that_cannot_be_tied_is_told() {
    let own = std::process::id().to_string();
    for (parent, program, code, says) in [
        (&*own, "no-such-program", 127, "No such file"),
        (&*own, "/", 126, "ermission denied"),
        // Its parent is another one: the one that it means has ended.
        ("1", "true", 126, "broken pipe"),
        ("x", "true", 126, ""),
    ] {
        let ran =
            Command::new(env!("CARGO_BIN_EXE_pib")).args(["__become", parent, program]).output().unwrap();
        let words = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(
            ran.status.code() == Some(code) && words.contains(says),
            "{program}: {:?} {words}",
            ran.status
        );
    }
}
