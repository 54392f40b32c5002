//! What authors of stages need: a new stage, its hook as a component, a look at what the hook does, a check.

mod cargo;
pub mod check;
pub mod component;
pub mod preview;
pub mod scaffold;
mod sdk;
pub mod trial;

use std::path::{Path, PathBuf};

use crate::project::{Error, Session};

/// The folder of a stage that holds its hook's source; it is no part of the package.
pub(crate) const HOOK_FOLDER: &str = "hook";

/// Returns the folder of the stage that the command line names, or the current one, and how messages call it.
fn folder(session: &Session, named: Option<&Path>) -> Result<(PathBuf, String), Error> {
    let folder = named.map_or_else(|| session.cwd.clone(), |named| session.cwd.join(named));
    let shown = named.map(|named| named.display().to_string()).unwrap_or_default();
    if folder.is_dir() {
        return Ok((folder, shown));
    }
    let message = format!("there is no folder `{}`", session.show(&folder).display());
    Err(Error::usage(message, "Name the stage's folder, or start one with `pib stage new NAME`."))
}
