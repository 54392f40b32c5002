//! Lays results out for people. `--json` shows the same results for machines.

mod author;
mod browse;
mod build;
mod device_tests;
mod graph;
mod inspection;
mod machine;
mod publishing;
mod stages;

pub(super) use browse::{found_text, outdated_text};
pub(super) use machine::list_text;
pub(super) use publishing::logins_text;
