//! A Debian archive as a client sees it, and the first part of making a system of its packages.
//!
//! [`bootstrap()`] fetches a release's packages from mirrors, believing only what the archive's keys signed, and lays the essential
//! ones over each other; [`bootstrap_again()`] does so with packages that a lock names. The caller has the target's own
//! dpkg install them all, in a container engine: a Dockerfile and a script say how. [`choose_packages()`] only chooses them,
//! which needs no engine. [`companion()`] takes programs of the
//! building machine's own processor out of the same packages.
//!
//! Invariants: nothing is used before its digest or signature was checked; a key is believed by its fingerprint; nothing is unpacked on the host. Deliberately
//! absent: the engine, and keeping what was made of packages.
//!
//! | module | what it does |
//! |---|---|
//! | `mirror` | where to fetch from |
//! | `distribution`, `suite`, `keyring`, `signer`, `release` | indexes, and whether those signed them who may |
//! | `detached` | whether the signature beside a file is by a key that may sign it |
//! | `suite_name` | under which of its names a mirror has a suite whose files fit each other |
//! | `list_cache` | what is kept of indexes, so that choosing packages again takes a moment |
//! | `deb822`, `package_list`, `version`, `date`, `selection` | which packages make a minimal system |
//! | `download`, `deb`, `decompress` | the packages themselves |
//! | `installed` | the packages that a system has |
//! | `bootstrap`, `rootfs`, `sources`, `second` | the first part, and what the engine is to do in the second |
//! | `relay` | what is beside the program that starts commands where pib records what they fetch |
//! | `emulators` | the emulators that run the target's programs on another processor |
//! | `companion`, `twins` | native tools for builds on another processor: making them, and which there are |

mod bootstrap;
mod companion;
mod date;
mod deb;
mod deb822;
pub mod decompress;
mod detached;
mod distribution;
mod download;
mod emulators;
mod error;
mod installed;
mod keyring;
mod list_cache;
mod mirror;
mod package_list;
mod relay;
mod release;
mod rootfs;
mod second;
mod selection;
mod signer;
mod sources;
mod suite;
mod suite_name;
mod twins;
mod version;

use std::path::Path;

use pib_plan::base::Bootstrap;

pub use bootstrap::{
    Prepared, bootstrap, bootstrap_again, choose_packages, fetch_packages, has_package, has_packages,
    is_newer, newest_versions, package_path, title,
};
pub use companion::{CompanionRecipe, WorkFile, companion};
pub use detached::{DetachedKeys, FileSignature};
pub use emulators::{EmulatorRecipe, emulators};
pub use error::DebianError;
pub use installed::{InstalledPackage, STATUS, installed};
pub use mirror::{DEFAULT as DEFAULT_MIRROR, DEFAULT_SECURITY as DEFAULT_SECURITY_MIRROR, HostApt};
pub use relay::{RECORD_VARIABLES, REPLAY_VARIABLE, RelayForm, past_archives, relay_key, write_relay};
pub use release::{DatePolicy, ListedIndex, listed_index, release_paths};
pub use second::FOLDER as SECOND_PART;
pub use suite_name::SuiteNames;

/// The id of the step in the events of this crate.
///
/// The caller starts and finishes the step; a download starts it anew under a title of its own.
pub const STEP: &str = "base";

/// The folders that are worked in.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// Where packages are kept, each named by its digest; several processes may use it.
    pub debs: &'a Path,
    /// For work in progress; it exists, and is this process's alone until what was made there has been used.
    pub temp: &'a Path,
}
