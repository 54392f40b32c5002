use std::path::{Path, PathBuf};

/// Why a release cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistError {
    /// A file or folder cannot be read or written.
    #[error("could not {doing} {}: {error}", path.display())]
    File {
        /// What was being done, as in "could not read".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// What is packed cannot be compressed or laid out.
    #[error("could not write {what}: {error}")]
    Pack {
        /// What was being written.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// What cargo says of the packages is not as expected.
    #[error("could not read what cargo says of the packages: {0}")]
    Cargo(String),
    /// A package says nothing of its terms, or what it says is not an SPDX expression.
    #[error("package {package} has the licence `{license}`, which is not an SPDX expression: {why}")]
    Licence {
        /// The package, with its version.
        package: String,
        /// What its manifest says.
        license: String,
        /// What is wrong with it.
        why: String,
    },
    /// The sources of a library in C do not say their version where they used to.
    #[error("{} does not say the version of {library}: `{marker}` is not in it", path.display())]
    Version {
        /// The library.
        library: &'static str,
        /// The header.
        path: PathBuf,
        /// What stands before the version.
        marker: &'static str,
    },
}

impl DistError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::File { doing, path: path.to_owned(), error }
    }
}
