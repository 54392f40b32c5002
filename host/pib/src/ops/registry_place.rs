//! Finds the folder of the registry that a command line means.

use std::path::PathBuf;

use url::Url;

use crate::project::{self, Error, Project, Session, user_config};

/// Returns the folder of a registry: the one at a path, or that of one of the project's or the user's registries, by its name.
///
/// # Errors
/// When there is no registry of this name, or it is not in a folder.
pub(super) fn folder(session: &Session, named: &str) -> Result<PathBuf, Error> {
    if named.contains("://") {
        return at(named);
    }
    let is_name = !named.contains('/') && !session.path(named).is_dir();
    if !is_name {
        return Ok(session.path(named));
    }
    let index = match project::find(session) {
        Ok(_) => Project::load(session)?.manifest.registries.get(named).cloned(),
        Err(_) => None,
    };
    let index = match index {
        Some(index) => Some(index),
        None => user_config::load(session)?.registries.get(named).map(|registry| registry.index.clone()),
    };
    match index {
        Some(index) => at(&index),
        // A folder that is not there yet.
        None => Ok(session.path(named)),
    }
}

/// Returns the folder of a registry at an address.
fn at(index: &str) -> Result<PathBuf, Error> {
    let folder =
        Url::parse(index).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
    folder.ok_or_else(|| {
        Error::usage(
            format!("pib cannot write to the registry at {index}"),
            "Name the folder that its web server serves, or a clone of it.",
        )
    })
}
