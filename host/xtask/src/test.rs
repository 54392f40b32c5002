//! Formatting, lints, recordings and the bundled registry.

use crate::run::{Outcome, cache, cargo, show};

/// Checks formatting and lints.
pub(crate) fn lint() -> Outcome {
    formatting()?;
    show(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// Checks the formatting.
pub(crate) fn formatting() -> Outcome {
    show(&mut cargo(&["fmt", "--all", "--check"]))
}

/// Has the tests of the terminal keep what they see, for the book; and the schema of the events be written.
pub(crate) fn record() -> Outcome {
    show(cargo(&["test", "--locked", "-p", "pib-event", "--", "schema_tests"]).env("PIB_BLESS", "1"))?;
    let mut tests = cargo(&[
        "test",
        "--locked",
        "-p",
        "pib",
        "--test",
        "it",
        "--",
        "engine::terminal::",
        "engine::events::",
    ]);
    show(tests.args(["--test-threads", "1"]).env("PIB_RECORD", "1").env("PIB_TEST_CACHE", cache()))
}

/// Publishes what is new in `stages/` to the bundled registry, or checks that nothing is.
pub(crate) fn index(check: bool) -> Outcome {
    let mut publish =
        cargo(&["run", "--quiet", "--locked", "-p", "pib", "--", "publish", "--index", "registry-index"]);
    if check {
        publish.arg("--check");
    }
    show(publish.args(stages()?))
}

pub(crate) fn stages() -> Outcome<Vec<String>> {
    let folder = crate::run::root().join("stages");
    let fail = |error| format!("could not list {}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.path().join("stage.toml").is_file() {
            names.push(format!("stages/{}", entry.file_name().to_string_lossy()));
        }
    }
    names.sort();
    Ok(names)
}
