//! Tests that cannot run here: they say so, where a person sees it and `cargo xtask test` counts it.

use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};

/// The folder that `cargo xtask test` makes for one run.
const RUN: &str = "PIB_TEST_RUN";

/// Says that a test, or a part of it, cannot run here and why; the test then ends.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let place = Location::caller();
    let line = match thread.name().filter(|name| *name != "main") {
        Some(test) => format!("{test}: {reason}"),
        None => format!("{}:{}: {reason}", place.file(), place.line()),
    };
    // Not by the macros, whose output is shown only where a test fails.
    _ = writeln!(std::io::stderr(), "skipped: {line}");
    append("skipped", &line);
}

/// Returns whether one of these programs is missing, which is then said.
#[track_caller]
pub(crate) fn lacks(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(system).collect();
    let missing = programs.iter().find(|name| !folders.iter().any(|folder| folder.join(name).is_file()));
    if let Some(name) = missing {
        skip(&format!("there is no program `{name}`; `cargo xtask setup` installs it"));
    }
    missing.is_some()
}

/// Adds a line to a file of the run, where there is one.
pub(crate) fn append(file: &str, line: &str) {
    let Some(folder) = std::env::var_os(RUN) else { return };
    let path = Path::new(&folder).join(file);
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
