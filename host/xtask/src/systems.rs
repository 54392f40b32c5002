//! Every bundled stage on every system that it builds and QEMU starts. `cargo xtask test` has one system of each kind do; this has
//! all of them, which takes hours.

use std::time::{Duration, Instant};

use crate::run::{Outcome, cache, linting_cargo, show};

/// The systems, by the names that the tests know, and the tests that build them.
const SYSTEMS: [(&str, &[&str]); 10] = [
    ("debian-trixie-arm64", &PACKAGES),
    ("debian-trixie-armv7", &PACKAGES),
    ("debian-bookworm-arm64", &PACKAGES),
    ("debian-bookworm-armv7", &PACKAGES),
    ("raspios-trixie-arm64", &PACKAGES),
    ("raspios-trixie-armv7", &PACKAGES),
    ("raspios-bookworm-arm64", &PACKAGES),
    ("raspios-bookworm-armv7", &PACKAGES),
    ("arch-rolling-arm64", &ARCH),
    ("arch-rolling-armv7", &ARCH),
];
/// Together they have each stage that builds systems of Debian's kind.
const PACKAGES: [&str; 3] = ["machine::more_stages", "machine::device_stages", "machine::protected_roots"];
const ARCH: [&str; 1] = ["machine::arch"];

/// Has the tests build the systems named, or all, and says how long each took.
pub(crate) fn systems(named: &[String]) -> Outcome {
    if let Some(unknown) = named.iter().find(|name| !SYSTEMS.iter().any(|(system, _)| system == name)) {
        let all: Vec<&str> = SYSTEMS.iter().map(|(system, _)| *system).collect();
        return Err(format!("unknown system `{unknown}`; the systems are {}", all.join(", ")));
    }
    let tests = || linting_cargo(&["test", "--no-fail-fast", "--test", "it"]);
    show(tests().arg("--no-run"))?;
    let mut results: Vec<(&str, Duration, Outcome)> = Vec::new();
    for (system, filters) in SYSTEMS {
        if !named.is_empty() && !named.iter().any(|name| name == system) {
            continue;
        }
        let since = Instant::now();
        let mut run = tests();
        run.args(["--", "--include-ignored"])
            .args(filters)
            .env("PIB_TEST_SYSTEM", system)
            .env("PIB_TEST_CACHE", cache());
        let result = show(&mut run);
        results.push((system, since.elapsed(), result));
    }
    for (system, time, result) in &results {
        println!(
            "{system:<24} {:>5} s  {}",
            time.as_secs(),
            if result.is_ok() { "passed" } else { "FAILED" }
        );
    }
    let failed: Vec<&str> =
        results.iter().filter(|(_, _, result)| result.is_err()).map(|(system, _, _)| *system).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}
