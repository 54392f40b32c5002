//! Formatting, lints and tests.

use crate::run::{Outcome, cache, capture, cargo, command, show};

/// Checks formatting and lints.
pub(crate) fn lint() -> Outcome {
    show(&mut cargo(&["fmt", "--all", "--check"]))?;
    show(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// Checks everything; `filter` goes to the test programs.
pub(crate) fn test(filter: &[String]) -> Outcome {
    lint()?;
    // Tests of hooks use the compilers that this brings; and what is published must be what its source makes.
    crate::hooks::hooks(true)?;
    let mut tests = cargo(&["test", "--workspace", "--locked", "--"]);
    tests.args(filter).env("PIB_TEST_CACHE", cache());
    let before = images()?;
    let outcome = show(&mut tests).and_then(|()| match filter {
        [] => crate::engines::contracts(),
        _ => Ok(()),
    });
    // Tests share the base that the first of them loads, so it is taken away when all have ended.
    for image in images()?.iter().filter(|image| !before.contains(image)) {
        capture(&mut command("docker", &["rmi", "--force", image]))?;
    }
    outcome
}

/// Has the tests of the terminal keep what they see, for the book; and the schema of the events be written.
pub(crate) fn record() -> Outcome {
    show(cargo(&["test", "--locked", "-p", "pib-event", "--", "schema_tests"]).env("PIB_BLESS", "1"))?;
    let mut tests = cargo(&["test", "--locked", "-p", "pib", "--test", "it", "--", "terminal::", "events::"]);
    show(tests.args(["--test-threads", "1"]).env("PIB_RECORD", "1").env("PIB_TEST_CACHE", cache()))
}

/// Returns the ids of the container images that pib has made in the engine.
fn images() -> Outcome<Vec<String>> {
    let list = ["images", "--quiet", "--no-trunc", "--filter", "label=dev.pib"];
    let mut ids: Vec<String> = capture(&mut command("docker", &list))?.lines().map(str::to_owned).collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
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
