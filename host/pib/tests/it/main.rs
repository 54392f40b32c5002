//! Integration tests of the real binary and its adapters: one binary, one module per area.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tests set up what the program reads")]

mod base;
mod bench;
mod cli;
mod crowd;
mod daily;
mod engine;
mod events;
mod failures;
mod fitness;
mod git;
mod hooks;
mod hostile;
mod locks;
mod main_job;
mod native;
mod output;
mod registry;
mod rules;
mod sshd;
mod stage;
mod targets;
mod terminal;
mod tls;
mod vendor;
mod web;
mod world;
