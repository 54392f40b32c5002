//! What can go wrong when an image is read.

use std::io;

use pib_plan::size::ByteSize;

/// Says why an image, or something in it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The file cannot be read there.
    #[error("could not read {length} bytes at {at}")]
    Io {
        /// Where, in bytes from the image's start.
        at: u64,
        /// How many bytes were to be read.
        length: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is read contradicts itself, or ends early.
    #[error("{what} is damaged: {found}")]
    Damaged {
        /// What is read, e.g. `the ext4 file system`.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// It is sound, and nothing here reads it.
    #[error("{what} uses {feature}, which pib does not read")]
    Unsupported {
        /// What is read.
        what: &'static str,
        /// What is used.
        feature: String,
    },
    /// Something is wrong with a file in it.
    #[error("could not read `{path}` in it")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<Self>,
    },
    /// There is no such file.
    #[error("there is no `{path}`")]
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// A file is larger than the limit that the caller set.
    #[error("a file has {}, and at most {} are read", ByteSize(*size), ByteSize(*most))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that is read.
        most: u64,
    },
    /// What was read could not be passed on.
    #[error("could not write what was read")]
    Write(#[source] io::Error),
}

impl ReadingError {
    /// Says which file in the image it is about, where that is not said yet.
    #[must_use]
    pub fn of_file(self, path: &str) -> Self {
        match self {
            Self::File { .. } | Self::NotFound { .. } | Self::Write(_) => self,
            error => Self::File { path: path.to_owned(), source: Box::new(error) },
        }
    }
}
