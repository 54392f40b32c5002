//! Where what builds leave is kept: `target` in the project, or the folder that the user names by `PIB_TARGET_DIR`.

use std::path::{Path, PathBuf};

use pib_file::{Folder, Kind};

use super::error::TARGET;
use super::{Error, Session};

/// The folder of logs.
pub(crate) const LOGS: &str = "logs";
/// What the names of files that a build leaves have after the project's name, board and architecture.
pub(crate) const OUTPUTS: [&str; 15] = [
    ".img",
    ".img.xz",
    ".img.zst",
    ".img.sha256",
    ".img.xz.sha256",
    ".img.zst.sha256",
    ".img.bmap",
    ".json",
    ".rpi-imager-manifest",
    ".spdx.json",
    ".cdx.json",
    ".provenance.json",
    ".stages.json",
    ".console.log",
    ".journal.log",
];

/// The folder for what builds leave. A project may be a stranger's, so that it is reached from the project's folder
/// without links; the one that the user names may be anywhere.
#[derive(Debug, Clone)]
pub(crate) struct TargetFolder {
    /// What may be reached through links.
    root: PathBuf,
    /// What may not.
    below: &'static str,
}

impl TargetFolder {
    /// Returns the folder of the project in `dir`.
    pub(crate) fn new(session: &Session, dir: &Path) -> Self {
        match &session.target_dir {
            Some(named) => Self { root: named.clone(), below: "" },
            None => Self::inside(dir),
        }
    }

    /// Returns the folder in `dir`, whatever the environment says.
    pub(crate) fn inside(dir: &Path) -> Self {
        Self { root: dir.to_owned(), below: TARGET }
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> PathBuf {
        if self.below.is_empty() { self.root.clone() } else { self.root.join(self.below) }
    }

    /// Opens it, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be made, or the project has a link or something else in its place.
    pub(crate) fn make(&self) -> Result<Folder, Error> {
        let root = if self.below.is_empty() { Folder::make(&self.root) } else { Folder::open(&self.root) };
        let made = root.and_then(|root| root.make_folder(self.below));
        made.map_err(|error| Error::io("create the folder", self.path(), error))
    }

    /// Opens it; nothing where it is not there, or not what it should be.
    pub(crate) fn open(&self) -> Option<Folder> {
        Folder::open(&self.root).and_then(|root| root.folder(self.below)).ok()
    }

    /// Checks that a build can leave there what it makes, before it takes its time.
    ///
    /// # Errors
    /// When a link, or what is no regular file, is in the place of a file that is to be written or of the logs.
    pub(crate) fn check(&self, stem: &str) -> Result<(), Error> {
        let folder = self.make()?;
        for end in OUTPUTS {
            let name = format!("{stem}{end}");
            let checked = folder.output(&name).and_then(|output| output.check());
            checked.map_err(|error| Error::io("write", folder.path().join(name), error))?;
        }
        let logs = match folder.kind(LOGS) {
            Ok(None | Some(Kind::Directory)) => Ok(()),
            _ => folder.folder(LOGS).map(drop),
        };
        logs.map_err(|error| Error::io("write logs to", folder.path().join(LOGS), error))
    }
}
