//! A real engine: both builders, what they keep, and how they stop.
//!
//! The base is a static busybox of the target's architecture from the host's Debian mirror, so that what runs
//! here is emulated as in a user's build.

mod base;
mod binfmt;
mod build;
mod connect;
mod export;
mod failure;
mod lab;
mod rootfs;
