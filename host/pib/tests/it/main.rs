//! Integration tests of the real binary and its adapters: one binary, one module per tier, in it one per area.
//!
//! `pure` needs neither an engine nor a network, `engine` needs both, and `machine` boots, kills, compiles and takes the
//! whole machine. What they share is beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tests set up what the program reads")]

mod api_description;
mod apt_archive;
mod bench;
mod browser;
mod console;
mod event_log;
mod exported;
mod forge;
mod guests;
mod ledger;
mod peers;
mod secure;
mod signed_root;
mod site;
mod skip;
mod sshd;
mod web;
mod world;

mod engine;
mod machine;
mod pure;
