//! Real engines: one contract that each kind holds, how they are reached, and what happens when they break.
//!
//! The base is a static busybox of the target's architecture from the host's Debian mirror, so that what runs
//! here is emulated as in a user's build.

mod as_of;
mod base;
mod binfmt;
mod bootstrap;
mod build;
mod cancel;
mod connect;
mod content;
mod contract;
mod daily;
mod doctor;
mod emulators;
mod events;
mod export;
mod failure;
mod imported;
mod jobs;
pub(crate) mod kind;
mod lab;
mod links;
mod merge;
pub(crate) mod native;
mod opened;
mod output;
mod own_base;
pub(crate) mod project;
mod readers;
mod recorded;
mod recorded_by_port;
mod recorded_pair;
mod recorded_programs;
mod restarted;
mod rootfs;
mod same;
pub(crate) mod shared;
mod spread;
mod targets;
mod terminal;
mod trouble;
mod vendor;
mod verify;

use lab::runs;
