//! The tiers of the tests, by what they take of a machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::leftovers::Run;
use crate::run::{Outcome, cache, linting_cargo, root, show};

/// A tier of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// Needs neither an engine nor a network.
    Pure,
    /// Needs a container engine and Debian's archive.
    Engine,
    /// Boots, kills, compiles, emulates whole systems: takes the machine.
    Machine,
}

const ALL: [Tier; 3] = [Tier::Pure, Tier::Engine, Tier::Machine];

impl Tier {
    /// Returns the name of the tier, which is also its module's in the integration tests.
    fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Engine => "engine",
            Self::Machine => "machine",
        }
    }

    /// Returns the commands that run the tier's tests, as far as the filter names them.
    fn commands(self, filter: &[String]) -> Vec<Command> {
        let mut commands = Vec::new();
        if self == Self::Pure {
            let mut units = linting_cargo(&TEST);
            units.args(["--lib", "--bins"]);
            for name in other_integration_tests() {
                units.args(["--test", &name]);
            }
            units.arg("--").args(filter);
            commands.push(units);
        }
        let mut integration = linting_cargo(&TEST);
        integration.args(["--test", WITH_TIERS, "--"]).args(filter);
        for other in ALL.iter().filter(|other| **other != self) {
            integration.args(["--skip", &format!("{}::", other.name())]);
        }
        // Where one test waits for an engine, a disk or a boot, another may run: two cores are 94 % busy with three of them.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        integration.args(["--test-threads", &(cores + 1).to_string()]);
        commands.push(integration);
        commands
    }
}

/// Returns the names of the integration tests that have no tiers: those of small crates, which are pure.
fn other_integration_tests() -> Vec<String> {
    let folder =
        |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|item| item.path());
    let crates = folder(&root().join("host")).chain([root().join("plugin-sdk")]);
    let files = crates.flat_map(|path| folder(&path.join("tests")).collect::<Vec<_>>());
    let names =
        files.filter(|path| path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists());
    let names = names.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    names.filter(|name| name != WITH_TIERS).collect()
}

/// The integration tests that have a module for each tier.
const WITH_TIERS: &str = "it";

/// The same packages and features for each command, so that everything is compiled once.
const TEST: [&str; 2] = ["test", "--no-fail-fast"];

/// Runs the tiers that are named, or all of them; what else is named filters the tests.
pub(crate) fn test(args: &[String]) -> Outcome {
    let named = args.first().and_then(|first| ALL.into_iter().find(|tier| tier.name() == first));
    let (tiers, filter) = match named {
        Some(tier) => (vec![tier], &args[1..]),
        None => (ALL.to_vec(), args),
    };
    if tiers != [Tier::Pure] {
        crate::setup::setup()?;
    }
    if named.is_none() {
        crate::test::formatting()?;
    }
    let mut times = Vec::new();
    let since = Instant::now();
    // Benchmarks, too, so that each target is linted.
    show(linting_cargo(&TEST).args(["--all-targets", "--no-run"]))?;
    times.push(("compiling", since.elapsed()));
    if tiers.contains(&Tier::Machine) {
        // Tests of hooks use the compilers that this brings; and what is published must be what its source makes. The pib
        // that the tests use does for this: another set of features would have nearly everything compiled once more.
        crate::hooks::compare()?;
    }
    let run = Run::start(tiers != [Tier::Pure])?;
    let mut failures = Vec::new();
    for tier in tiers {
        let since = Instant::now();
        for mut command in tier.commands(filter) {
            run.enter(&mut command);
            failures.extend(show(command.env("PIB_TEST_CACHE", cache())).err());
        }
        if tier == Tier::Engine && filter.is_empty() {
            // The tests themselves have the machine's engines; here are those that people install today.
            failures.extend(crate::engines::contracts().err());
        }
        times.push((tier.name(), since.elapsed()));
    }
    run.finish();
    for (what, time) in times {
        eprintln!("{what:<10} {:>6}", minutes(time));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
