//! The rows of the options of `pib build`.

use super::Effect::{Build, From, Nothing, Refused};
use super::sample::{Sample, TARGET};
use super::{Effect, Row};

fn option(field: &'static str, options: &'static [&'static str], effect: Effect) -> Row {
    Row::new(field, effect, move |sample: &mut Sample| sample.options.extend(options))
}

/// An option that `pib plan` does not have.
fn of_build(field: &'static str, options: &'static [&'static str], effect: Effect) -> Row {
    Row::new(field, effect, move |sample: &mut Sample| sample.build_options.extend(options))
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        option("pib build: --build-arg", &["--build-arg", "LEVEL=2"], From("late")),
        option("pib build: --build-arg", &["--build-arg", "LEVEL=3"], From("late")),
        option("pib build: --build-arg", &["--build-arg", "NOTHING=2"], Refused("NOTHING")),
        option("pib build: --build-arg", &["--build-arg", "TEXT=2"], Refused("TEXT")),
        option(
            "pib build: --build-arg",
            &["--build-arg", "HTTP_PROXY=http://p.example"],
            Nothing("how the network is reached is not what is built"),
        ),
        Row::new("pib build: --build-arg", From("late"), |sample| {
            sample.options.extend(["--build-arg", "LEVEL"]);
            sample.give("LEVEL", "4");
        }),
        Row::new("pib build: --secret", From("late"), |sample| {
            sample.options.extend(["--secret", "id=late.secret,env=OTHER"]);
            sample.give("OTHER", "a-third-token");
        }),
        Row::new("pib build: --secret", Nothing("the value is the same"), |sample| {
            sample.options.extend(["--secret", "id=late.secret,src=token"]);
            sample.write("token", "a-long-token");
        }),
        option("pib build: --secret", &["--secret", "id=late.none,env=TOKEN"], Refused("late.none")),
        option(
            "pib build: --no-native",
            &["--no-native"],
            Nothing("the same comes of a build without native tools"),
        ),
        option(
            "pib build: --emulator",
            &["--emulator", "handlers"],
            Nothing("the same comes of it, whatever emulates"),
        ),
        option("pib build: --locked", &["--locked"], Nothing("the lock fits")),
        option("pib build: --offline", &["--offline"], Nothing("everything is here")),
        option("pib build: --frozen", &["--frozen"], Nothing("the lock fits, and everything is here")),
        Row::new("pib build: --locked", Refused("adds `watchdog`"), |sample| {
            sample.options.push("--locked");
            sample.set("pib.toml", "stages.watchdog", "\"1\"");
        }),
        of_build("pib build: --until", &["--until", "early"], Build),
        of_build("pib build: --no-cache", &["--no-cache"], Build),
        of_build("pib build: --no-cache", &["--no-cache=late"], Build),
        of_build("pib build: --check", &["--check"], Build),
        // A report is of the image that a build leaves, and what stands in for one here cannot be read.
        of_build("pib build: --report", &["--no-cache", "--report"], Build),
        // The project records nothing, so that no image of it will do.
        of_build("pib build: --strict", &["--strict"], Build),
        of_build("pib build: --all", &["--all"], Build),
        of_build("pib build: --target", &["--target", TARGET], Build),
        of_build("pib build: --json", &["--json"], Nothing("it is about what is shown")),
        option("pib build: --quiet", &["--quiet"], Nothing("it is about what is shown")),
        option("pib build: --verbose", &["--verbose"], Nothing("it is about what is shown")),
        of_build("pib build: --help", &["--help"], Nothing("nothing is built")),
        option(
            "pib build: --engine",
            &["--engine", "unix:///nonexistent/other.sock"],
            Nothing("what differs between engines is a loss"),
        ),
        option("pib build: --project", &["--project", "."], Nothing("it is the same project")),
    ]
}
