//! The main job with the real archives of each system. It needs a network that reaches them.
//!
//! The tests make archives of their own, of the same shape as the real ones. That these are still of that shape, only a build from
//! them can show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::run::{Outcome, cache, capture, cargo, command, root, show};

/// A system to build, for one board.
struct System {
    os: &'static str,
    /// The release; `None` where the system has none.
    release: Option<&'static str>,
    board: &'static str,
    arch: &'static str,
    /// Whether QEMU has a processor of this kind that systems start on.
    boots: bool,
}

const SYSTEMS: [System; 8] = [
    System { os: "debian", release: Some("trixie"), board: "rpi4", arch: "arm64", boots: true },
    System { os: "debian", release: Some("trixie"), board: "rpi2", arch: "armv7", boots: true },
    System { os: "raspios", release: Some("trixie"), board: "rpi5", arch: "arm64", boots: true },
    System { os: "raspios", release: Some("trixie"), board: "rpi2", arch: "armv7", boots: true },
    System { os: "raspios", release: Some("trixie"), board: "zerow", arch: "armv6", boots: false },
    System { os: "raspios", release: Some("bookworm"), board: "rpi4", arch: "arm64", boots: true },
    System { os: "arch", release: None, board: "rpi4", arch: "arm64", boots: true },
    System { os: "arch", release: None, board: "rpi2", arch: "armv7", boots: true },
];

/// The stages beside `os`, which every system has.
const STAGES: [&str; 3] = ["watchdog", "ro", "rootssh"];
const KEY: &str = "keys/live";

/// What became of a system: how long each step took, or where it ended.
struct Attempt {
    name: String,
    steps: Vec<(&'static str, Result<f64, String>)>,
}

/// Builds every system, or those whose names begin with one of `named`; builds each once more to compare, and boots it.
pub(crate) fn live(named: &[String]) -> Outcome {
    let wanted = |system: &&System| {
        named.is_empty() || named.iter().any(|named| system.name().starts_with(named.as_str()))
    };
    let chosen: Vec<&System> = SYSTEMS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<String> = SYSTEMS.iter().map(System::name).collect();
        return Err(format!("no system is called so; the systems are {}", names.join(", ")));
    }
    show(&mut cargo(&["build", "--locked", "-p", "pib"]))?;
    let attempts: Vec<Attempt> = chosen.into_iter().map(System::attempt).collect();
    for Attempt { name, steps } in &attempts {
        let steps = steps.iter().map(|(step, result)| match result {
            Ok(seconds) => format!("{step} {seconds:.0} s"),
            Err(_) => format!("{step} FAILED"),
        });
        println!("{name:<24} {}", steps.collect::<Vec<_>>().join("   "));
    }
    let failures = attempts.iter().flat_map(|attempt| {
        let failed = attempt.steps.iter().filter_map(|(_, result)| result.as_ref().err());
        failed.map(|error| format!("{}: {error}", attempt.name))
    });
    let failures: Vec<String> = failures.collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl System {
    fn name(&self) -> String {
        let release = self.release.map(|release| format!("-{release}")).unwrap_or_default();
        format!("{}{release}-{}", self.os, self.arch)
    }

    /// Goes as far as the system comes.
    fn attempt(&self) -> Attempt {
        let mut attempt = Attempt { name: self.name(), steps: Vec::new() };
        let project = root().join("target/live").join(&attempt.name);
        eprintln!("== {}", attempt.name);
        if !attempt.step("new", || self.start(&project))
            || !attempt.step("build", || pib(&project, &["build"]))
        {
            return attempt;
        }
        attempt.step("build --check", || pib(&project, &["build", "--check"]));
        if self.boots {
            attempt.step("test", || pib(&project, &["test"]));
        }
        attempt
    }

    /// Makes the project, anew.
    fn start(&self, project: &Path) -> Outcome {
        let _ = fs::remove_dir_all(project);
        let parent = project.parent().unwrap_or(project);
        fs::create_dir_all(parent)
            .map_err(|error| format!("could not create {}: {error}", parent.display()))?;
        let name = project.file_name().unwrap_or_default().to_string_lossy();
        let release = self.release.iter().flat_map(|release| ["--release", release]);
        let mut new = program(parent);
        new.args(["new", &name, "--os", self.os, "--board", self.board, "--arch", self.arch]).args(release);
        show(&mut new)?;
        let key = project.join(KEY);
        let folder = key.parent().unwrap_or(project);
        fs::create_dir_all(folder)
            .map_err(|error| format!("could not create {}: {error}", folder.display()))?;
        let path = key.to_string_lossy();
        capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "live", "-f", &path]))?;
        let config = format!("rootssh.authorized-keys={KEY}.pub");
        pib(project, &[&["add"], &STAGES[..], &["--config", &config]].concat())
    }
}

impl Attempt {
    /// Does a step, and returns whether it went well.
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) -> bool {
        let since = Instant::now();
        let result = work().map(|()| since.elapsed().as_secs_f64());
        let is_well = result.is_ok();
        self.steps.push((name, result));
        is_well
    }
}

fn pib(project: &Path, args: &[&str]) -> Outcome {
    show(program(project).args(args))
}

/// Returns pib, to be run in a folder; what it notes of projects is kept apart from the user's.
fn program(folder: &Path) -> Command {
    let pib: PathBuf = root().join("target/debug/pib");
    let mut program = command(&pib.to_string_lossy(), &[]);
    program.current_dir(folder).env("PIB_CACHE_DIR", cache());
    program.env("XDG_CONFIG_HOME", root().join("target/live/config"));
    program
}
