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
//! | `tarball` | a base that someone else made |

mod archive;
mod cache;
mod companion;
mod compress;
mod deb;
mod deb822;
mod error;
mod fetch;
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
mod suites;
pub mod tarball;
mod time;
mod version;

use std::path::PathBuf;

use pib_plan::id::{Arch, Digest};
use url::Url;

pub use cache::{BaseCache, CacheLock, StoredBase};
pub use companion::{CompanionRecipe, companion};
pub use error::BaseError;
pub use mirror::{DEFAULT as DEFAULT_MIRROR, DEFAULT_SECURITY as DEFAULT_SECURITY_MIRROR, HostApt};
pub use prepare::{Prepared, prepare};
pub use release::DatePolicy;

/// The id of the step in the events of this module.
///
/// Whoever calls it starts and finishes the step; a download starts it anew under a title of its own.
pub const STEP: &str = "base";

/// Where a project's base comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseSource {
    /// pib makes it from the distribution's packages.
    Bootstrap(Bootstrap),
    /// A tarball of a root file system, plain or compressed with gzip, xz or zstd.
    Tarball {
        /// Where it is.
        location: Location,
        /// The digest of the file.
        digest: Digest,
    },
    /// A container image that the engine has or can pull, named by digest: `debian@sha256:...`.
    ContainerImage {
        /// The reference.
        reference: String,
    },
}

/// The recipe of a base that pib makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The system; only `debian` can be bootstrapped.
    pub os: String,
    /// The release, e.g. `trixie`.
    pub release: String,
    /// The processor.
    pub arch: Arch,
    /// The project's mirror, if it names one.
    pub mirror: Option<String>,
    /// The project's mirror of the security updates, if it names one.
    pub security_mirror: Option<String>,
    /// Packages on top of the minimal system.
    pub include: Vec<String>,
}

/// An address or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Fetched over http or https.
    Url(Url),
    /// A file of the host.
    Path(PathBuf),
}
