//! Looks into finished images, also those that pib did not make, without mounting them.
//!
//! | module | what it does |
//! |---|---|
//! | `opened` | opens an image, unpacked where it is compressed, and finds the system in it |
//! | `bill` | writes its bill of materials |
//! | `boot_files` | reads what the boot chain's check asks for |
//! | `ramdisk` | opens the file system in a `boot.img` |
//! | `system` | what the system in it consists of |
//! | `page` | writes all of it as a page of HTML |
//! | `content_hasher` | the digests by which files are compared |
//! | `summary` | what is remembered of an image for the next page |
//! | `changes` | what differs between two of them |
//! | `licence` | the licences of a package, by its file `copyright` |
//! | `watch` | who waits for an image to be read |
//! | `error` | why an image could not be looked into |

mod bill;
mod boot_files;
mod changes;
mod content_hasher;
mod error;
mod licence;
mod opened;
mod package_database;
mod page;
mod ramdisk;
mod summary;
mod system;
mod watch;

pub use bill::{BillFormat, BillOfMaterials, BillSubject};
pub use changes::{Change, Changes, PackageChange, changes};
pub use error::InspectionError;
pub use opened::{OpenedImage, as_card, unpacked};
pub use page::{ReportPage, StepTime};
pub use summary::{ImageSummary, ListChange, Summaries};
pub use system::{PackageContent, SpecialFile, SystemContent};
pub use watch::Watch;
