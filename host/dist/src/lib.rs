//! Makes what is released of pib out of its compiled program: an archive for any Linux, a Debian package, the licences of
//! everything that is linked into the program, its bill of materials, and the list of digests.
//!
//! The same input gives the same bytes: names are sorted, times are the release's, owners are root, and nothing is read
//! from the machine but the sources of the packages. `cargo xtask dist` compiles the program and calls this one.

mod bill;
mod bundled;
mod copyright;
mod deb;
mod error;
mod files;
mod licences;
mod links;
mod moment;
mod packages;
mod release;
mod sums;

pub use bill::bill;
pub use bundled::bundled;
pub use deb::{REVISION, deb};
pub use error::DistError;
pub use files::FileTree;
pub use licences::{Texts, third_party};
pub use links::relinked;
pub use packages::{Package, linked};
pub use release::{Documents, Release, Target};
pub use sums::sums;
