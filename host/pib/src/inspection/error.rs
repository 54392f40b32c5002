//! Why an image could not be looked into.

use std::path::PathBuf;

use pib_disk::ReadingError;
use pib_plan::size::ByteSize;

/// Says why an image could not be looked into.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum InspectionError {
    /// The file cannot be opened.
    #[error("could not open the image `{}`", path.display())]
    #[diagnostic(code(pib::inspect::open))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The compressed file cannot be unpacked.
    #[error("could not unpack the image `{}`", path.display())]
    #[diagnostic(code(pib::inspect::unpack))]
    #[diagnostic(help(
        "Its file is damaged or cut short, or the folder for temporary files is full: unpacked, the image takes its full size \
         there."
    ))]
    Unpack {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The compressed file is larger than any card.
    #[error("the image `{}` has more than {} when unpacked", path.display(), ByteSize(*limit))]
    #[diagnostic(code(pib::inspect::too_large))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is unpacked.
        limit: u64,
    },
    /// The card that was asked for is smaller than the image.
    #[error(
        "the image `{}` has {}, and a card of {} is too small for it", path.display(), ByteSize(*image), ByteSize(*card)
    )]
    #[diagnostic(code(pib::inspect::small_card))]
    #[diagnostic(help("Give --card a larger size, or leave it out."))]
    SmallCard {
        /// The file.
        path: PathBuf,
        /// The image's size in bytes.
        image: u64,
        /// The card's.
        card: u64,
    },
    /// The image cannot be read.
    #[error("could not read the image `{}`", path.display())]
    #[diagnostic(code(pib::inspect::reading))]
    Reading {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadingError,
    },
    /// No partition has a system, but for one that cannot be read.
    #[error(
        "no partition of the image `{}` has a system, and partition {number} ({filesystem}) cannot be read: {fault}",
        path.display()
    )]
    #[diagnostic(code(pib::inspect::unreadable))]
    #[diagnostic(help(
        "It may hold the system. Get or build the image again, or mount it on a system that can."
    ))]
    Unreadable {
        /// The image.
        path: PathBuf,
        /// The partition's number.
        number: u32,
        /// What is in it, e.g. `squashfs`.
        filesystem: &'static str,
        /// Why it cannot be read, as the end of a sentence.
        fault: String,
    },
    /// A text in it is not what it should be.
    #[error("the image `{}` has a file `{file}` that cannot be read", path.display())]
    #[diagnostic(code(pib::inspect::content))]
    Content {
        /// The image.
        path: PathBuf,
        /// The file in it.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
