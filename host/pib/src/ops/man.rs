//! Writes manual pages.

use std::path::Path;

use pib_file::Folder;

use crate::project::{Error, files};

/// Writes pages, each a name and its text, into a folder, which is made where it does not exist.
///
/// # Errors
/// When the folder cannot be made, or a page cannot be written.
pub fn write(folder: &Path, pages: &[(String, String)]) -> Result<(), Error> {
    let made = Folder::make(folder).map_err(|error| Error::io("create the folder", folder, error))?;
    pages.iter().try_for_each(|(name, page)| files::replace_text(&made, name, page))
}
