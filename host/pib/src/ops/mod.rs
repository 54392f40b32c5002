//! One file for each operation; each reads as a list of named steps.
//!
//! An operation gets a [`Session`] and its options, reports events, and returns a result for `cli` to show. It
//! is what puts `pib-plan`'s decisions and the adapters (`source`, `hooks`, `engine`, `base`, `disk`) together; those
//! never see each other.

pub mod add;
mod all;
mod base;
pub mod binfmt;
mod blocking;
pub mod browse;
pub mod build;
mod build_args;
pub mod cache;
pub mod clean;
mod compress;
pub mod doctor;
mod engine;
mod error;
pub mod export;
pub mod fetch;
mod files;
mod graph;
mod hooks;
mod inputs;
pub mod lock;
mod logs;
mod native;
pub mod new;
mod placed;
pub mod plan;
mod project;
pub mod publish;
mod repository;
pub mod run;
mod secrets;
mod session;
mod slow;
pub mod stage;
mod stages;
pub mod targets;
pub mod tree;
pub mod update;
pub mod vendor;
pub mod why;

pub use error::Error;
pub use placed::Placed;
pub use session::{LockMode, Session};
pub use stages::{NoCache, StageOptions};

pub use crate::engine::Streams;
