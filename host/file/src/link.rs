//! A symbolic link where pib follows none.

use std::io;
use std::path::PathBuf;

/// A symbolic link is in the way: what is done to a project stays in the project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is a symbolic link to `{}`", path.display(), leads_to.display())]
pub struct LinkError {
    /// The link.
    pub path: PathBuf,
    /// What it says where it leads.
    pub leads_to: PathBuf,
}

impl LinkError {
    /// Returns the link that an error is about, if it is about one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
