//! One file for each command; each reads as a list of named steps.
//!
//! An operation gets a [`Session`] and its options, reports events, and returns a result for `cli` to show.

pub mod add;
pub mod binfmt;
pub mod boot;
pub mod browse;
pub mod build;
pub mod cache;
pub mod card_settings;
mod checked_stream;
pub mod clean;
pub mod devices;
pub mod diff;
pub mod doctor;
mod download;
pub mod export;
pub mod fetch;
pub mod flash;
pub mod format;
pub mod import;
pub mod inspect;
pub mod lock;
pub mod new;
pub mod newer_packages;
pub mod pack;
pub mod plan;
pub mod publish;
mod publish_destination;
pub mod push;
pub mod registry_admin;
mod registry_files;
mod registry_pages;
pub mod registry_server;
pub mod registry_tokens;
pub mod report_page;
mod repository;
pub mod run;
pub mod sbom;
pub mod scan;
mod signature;
mod startup;
pub mod targets;
pub mod test;
pub mod tree;
mod trial_build;
pub mod trust;
pub mod update;
pub mod vendor;
pub mod verify;
pub mod why;
pub mod yank;

pub use crate::engine::Streams;
pub use crate::pipeline::{EmulatorChoice, NoCache, StageOptions};
pub use crate::project::{Error, LockMode, Placed, Session};
pub use startup::remove_boot_folders;
