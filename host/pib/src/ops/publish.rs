//! Packs stages and adds them to a registry's folder.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::project::{Error, Session};
use crate::source::registry_folder::{Outcome, publish as publish_all};

/// What was published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    /// The stages that are new in the registry, as `name version`.
    pub published: Vec<String>,
    /// Those that it has already.
    pub unchanged: Vec<String>,
}

/// Publishes the stages in `folders` to the registry in `index`, or only checks that they are.
///
/// # Errors
/// When a stage is not valid, differs from its published version, or the registry cannot be written; with
/// `check` also when one is not published.
pub fn publish(
    session: &Session,
    folders: &[PathBuf],
    index: &Path,
    check: bool,
) -> Result<Published, Error> {
    let folders: Vec<PathBuf> = folders.iter().map(|folder| session.cwd.join(folder)).collect();
    let done = publish_all(&folders, &session.cwd.join(index), check)?;
    let (mut published, mut unchanged) = (Vec::new(), Vec::new());
    for stage in done {
        let text = format!("{} {}", stage.name, stage.version);
        match stage.outcome {
            Outcome::New => published.push(text),
            Outcome::Unchanged => unchanged.push(text),
        }
    }
    Ok(Published { published, unchanged })
}
