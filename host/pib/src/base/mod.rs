//! The base: the root file system that a build starts from.
//!
//! pib bootstraps Debian by itself, in two parts. [`prepare`] is the first: it fetches the release's packages
//! from a mirror, believing only what Debian signed, and lays the essential ones over each other. The caller
//! has the container engine run the second, in which the target's own dpkg installs them all, and hands the
//! engine's export to [`BaseCache::store`], which keeps the result by digest. A tarball ([`tarball::fetch`])
//! takes the place of both.
//!
//! Invariants: nothing is used before its digest or signature was checked; nothing is unpacked on the host; a
//! stored base is whole. Deliberately absent: the engine, which is another adapter.
//!
//! | module | what it does |
//! |---|---|
//! | `mirror` | where to fetch from |
//! | `suites`, `archive`, `keyring`, `release` | indexes, and whether Debian signed them |
//! | `deb822`, `packages`, `version`, `resolve` | which packages make a minimal system |
//! | `fetch`, `deb`, `compress` | the packages themselves |
//! | `rootfs`, `second` | the two parts |
//! | `companion`, `native` | native tools for builds on another processor: making them, and which there are |
//! | `cache`, `normalise` | what is kept |
//! | `tarball`, `identify`, `sparse` | a base that someone else made |

mod archive;
mod cache;
mod companion;
mod compress;
mod deb;
mod deb822;
mod error;
mod fetch;
mod identify;
mod keyring;
mod mirror;
mod native;
mod normalise;
mod packages;
mod prepare;
mod release;
mod resolve;
mod rootfs;
mod second;
mod sparse;
mod suites;
pub mod tarball;
mod time;
mod version;

pub use pib_plan::base::{BaseSource, Bootstrap, Location};

pub use cache::{BaseCache, CacheLock, StoredBase};
pub use companion::{CompanionRecipe, companion};
pub use error::BaseError;
pub use identify::Kind as FileKind;
pub use mirror::{DEFAULT as DEFAULT_MIRROR, DEFAULT_SECURITY as DEFAULT_SECURITY_MIRROR, HostApt};
pub use prepare::{Prepared, prepare};
pub use release::DatePolicy;

/// The id of the step in the events of this module.
///
/// Whoever calls it starts and finishes the step; a download starts it anew under a title of its own.
pub const STEP: &str = "base";
