//! What the writers of file systems share.

use std::fs::File;

use crate::identity::Identity;

/// What every file system's writer gets.
pub(crate) struct Job<'a> {
    pub(crate) image: &'a File,
    pub(crate) spool: &'a File,
    pub(crate) identity: &'a Identity,
}
