//! The bases that builds start from: made of a distribution's packages, or fetched as a tarball; kept by digest.
//!
//! A bootstrap ([`pib_debian`]) has a second part, in which the target's own dpkg works in the container engine. The caller
//! sees to that and hands the engine's export to [`BaseCache::store`]. A tarball ([`tarball::fetch`], [`signed::fetch`]) takes
//! the place of both.
//!
//! Invariants: nothing is used before its digest was checked; a stored base is whole. Deliberately absent: the engine,
//! which is another adapter.
//!
//! | module | what it does |
//! |---|---|
//! | `base_cache` | what is kept |
//! | `canonical` | makes an export the same on every run |
//! | `tarball`, `identify`, `sparse` | a base that someone else made |
//! | `signed` | one that its maker signs and replaces by newer ones |

mod base_cache;
mod canonical;
mod error;
mod identify;
pub mod signed;
mod sparse;
pub mod tarball;

pub(crate) use base_cache::LISTS;
pub use base_cache::{BaseCache, CacheLock, StoredBase};
pub use canonical::newest_file;
pub use error::BaseError;
pub use identify::Kind as FileKind;

pub use pib_debian::STEP;
