//! The project's own tasks: `cargo xtask demo`, `test`, `lint`, `record`, `setup`, `bench`, `engines`, `systems`, `hooks`,
//! `index`, `dist`, `live` and `fuzz-registry`.
//!
//! It uses the standard library alone, so that the first command on a fresh machine starts within seconds.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a task talks to the person who runs it, and takes the machine as it is"
)]

mod bench;
mod demo;
mod dist;
mod engines;
mod fuzz_registry;
mod hooks;
mod judge;
mod leftovers;
mod live;
mod run;
mod setup;
mod sshd;
mod systems;
mod test;
mod tiers;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  demo    set up the machine, build pib, build the example project to a checked image, run its tests in QEMU  [armv7: a 32-bit one, too]
  test    set up the machine; formatting, lints, every test  [pure | engine | machine: this tier alone]  [FILTER...]
  lint    formatting and lints alone
  record  build on a terminal and keep what is seen in host/docs/terminal/
  setup   install what is missing and start the container engine
  bench   measure, as ratios to what a user would use instead  [native | engine | resolve | registry: these alone]  [--pib PROGRAM]
  live    build, compare and boot every system from its real archives, which the tests imitate  [SYSTEM...: these alone]
  engines start every other kind of engine, hold it to the contract, have it build  [NAME...: these alone]
  systems have every bundled stage keep its promises on every system that it builds, an hour or more  [SYSTEM...: these alone]
  hooks   build the hooks of stages/  [--check: compare them with what is published]
  index   publish what is new in stages/ to registry-index/  [--check: only compare]
  dist    compile static programs for x86-64 and aarch64 and pack them for a release  [--target T]... [--out DIR]
          [--check: compile once more in another folder, and compare]
  fuzz-registry  have schemathesis send what it makes up to a registry's server, some minutes  [its own options]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let outcome = match args.first().map(String::as_str) {
        Some("demo") => setup::setup().and_then(|()| demo::demo(rest)),
        Some("test") => tiers::test(rest),
        Some("lint") => test::lint(),
        Some("record") => setup::setup().and_then(|()| test::record()),
        Some("setup") => setup::setup(),
        Some("bench") => setup::setup().and_then(|()| bench::bench(rest)),
        Some("live") => setup::setup().and_then(|()| live::live(rest)),
        Some("engines") => setup::setup().and_then(|()| engines::engines(rest)),
        Some("systems") => setup::setup().and_then(|()| systems::systems(rest)),
        Some("hooks") => hooks::hooks(rest.iter().any(|arg| arg == "--check")),
        Some("dist") => dist::dist(rest),
        Some("fuzz-registry") => fuzz_registry::fuzz_registry(rest),
        Some("index") => test::index(rest.iter().any(|arg| arg == "--check")),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
