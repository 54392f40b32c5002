//! Real engines: one contract that each kind holds, how they are reached, and what happens when they break.
//!
//! The base is a static busybox of the target's architecture from the host's Debian mirror, so that what runs
//! here is emulated as in a user's build.

mod base;
mod binfmt;
mod build;
mod cancel;
mod connect;
mod contract;
mod doctor;
mod export;
mod failure;
mod kills;
mod kind;
mod lab;
mod merge;
mod own_base;
mod project;
mod rootfs;
mod same;
mod trouble;

pub(crate) use lab::runs;
