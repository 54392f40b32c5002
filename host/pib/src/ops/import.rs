//! Makes a project of a pi-builder tree.

use std::path::{Path, PathBuf};

use miette::Diagnostic as _;
use pib_file::Folder;
use pib_plan::import::{self, ImportError, ImportOptions, LeftOut};
use pib_plan::manifest::project::FILE_NAME;
use serde::Serialize;

use crate::project::{Error, Session, files};

/// How large a file may be that is read of the tree.
const MAX_FILE: u64 = 1 << 20;

/// A tree that was imported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImportedTree {
    /// The manifest.
    pub manifest: PathBuf,
    /// The other files that were written, within the same folder.
    pub files: Vec<String>,
    /// The stages, in their order.
    pub stages: Vec<String>,
    /// The targets.
    pub targets: Vec<String>,
    /// The variables that look like secrets, and were not copied.
    pub secrets: Vec<String>,
    /// What could not be carried over.
    pub left_out: Vec<LeftOut>,
}

/// Reads the tree in a folder, and writes a `pib.toml` into it.
///
/// # Errors
/// When the folder is no such tree, or a project is there already.
pub fn import(session: &Session, folder: &Path, targets: Vec<String>) -> Result<ImportedTree, Error> {
    let root = session.cwd.join(folder);
    let tree = Folder::open(&root).map_err(|error| Error::io("open the folder", &root, error))?;
    let path = root.join(FILE_NAME);
    if path.symlink_metadata().is_ok() {
        let message = format!("`{}` exists already", session.show(&path).display());
        return Err(Error::usage(message, "Move it away to import the tree again."));
    }
    let name = root.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let mut read = |path: &str| tree.read_text(path, MAX_FILE).ok();
    let imported = import::import(&mut read, &ImportOptions { folder: name, targets })
        .map_err(|error| refused(&error))?;
    for (path, text) in &imported.files {
        let (folder, file) = path.rsplit_once('/').unwrap_or((".", path));
        let folder = tree
            .make_folder(folder)
            .map_err(|error| Error::io("create the folder", root.join(folder), error))?;
        files::replace_text(&folder, file, text)?;
    }
    files::replace_text(&tree, FILE_NAME, &imported.manifest)?;
    Ok(ImportedTree {
        manifest: session.show(&path).to_owned(),
        files: imported.files.into_iter().map(|(path, _)| path).collect(),
        stages: imported.stages,
        targets: imported.targets,
        secrets: imported.secrets.into_iter().collect(),
        left_out: imported.left_out,
    })
}

fn refused(error: &ImportError) -> Error {
    let help = error.help().map(|help| help.to_string());
    match error {
        ImportError::NoTarget { .. } => Error::usage(error.to_string(), help.unwrap_or_default()),
        _ => Error::Stage { message: format!("importing the tree: {error}"), help },
    }
}
