//! Finds and reads the project: its manifest and its lock.

use std::path::{Path, PathBuf};

use pib_plan::lockfile::{self, Lockfile};
use pib_plan::manifest::project::{self, ProjectManifest};

use super::{Error, Session, blocking, files};

/// A project, as it is on disk.
pub(super) struct Project {
    /// Its folder.
    pub(super) dir: PathBuf,
    /// `pib.toml`.
    pub(super) manifest: ProjectManifest,
    /// `pib.lock`, where there is one.
    pub(super) lock: Option<Lockfile>,
}

impl Project {
    /// Finds the project and reads its manifest and lock.
    pub(super) fn load(session: &Session) -> Result<Self, Error> {
        let dir = find(session)?;
        let path = dir.join(project::FILE_NAME);
        let text = files::read_text(&path)?.ok_or_else(|| Error::NoProject(dir.clone()))?;
        Self::with_manifest(session, dir, &text)
    }

    /// Reads the lock of the project in `dir`, whose manifest would be `text`.
    pub(super) fn with_manifest(session: &Session, dir: PathBuf, text: &str) -> Result<Self, Error> {
        let shown = |name: &str| session.show(&dir.join(name)).display().to_string();
        let manifest = ProjectManifest::parse(&shown(project::FILE_NAME), text)?;
        let lock = match files::read_text(&dir.join(lockfile::FILE_NAME))? {
            Some(text) => Some(Lockfile::parse(&shown(lockfile::FILE_NAME), &text)?),
            None => None,
        };
        Ok(Self { dir, manifest, lock })
    }

    /// Returns the folder for what a build leaves.
    pub(super) fn target(&self) -> PathBuf {
        self.dir.join("target")
    }

    /// Holds a lock on the project, so that two commands that change it run one after the other.
    ///
    /// The lock ends when the returned file is closed, also when the process is killed.
    pub(super) async fn exclusive(session: &Session, dir: &Path) -> Result<std::fs::File, Error> {
        use crate::event::ReporterExt as _;
        let target = dir.join("target");
        std::fs::create_dir_all(&target).map_err(|error| Error::io("create the folder", &target, error))?;
        let path = target.join(".pib-lock");
        let fail = |error| Error::io("lock the project by", &path, error);
        let file =
            std::fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
        let file = match file.try_lock() {
            Ok(()) => file,
            Err(std::fs::TryLockError::WouldBlock) => {
                session.reporter.note("Waiting for another pib that works on this project");
                blocking::wait(file, std::fs::File::lock).await.map_err(fail)?
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(fail(error)),
        };
        for folder in [dir, &target] {
            files::remove_left(folder);
        }
        Ok(file)
    }
}

/// Returns the project's folder: the one that the command line names, or the nearest one upwards.
pub(super) fn find(session: &Session) -> Result<PathBuf, Error> {
    if let Some(dir) = &session.project {
        return if dir.join(project::FILE_NAME).is_file() {
            Ok(dir.clone())
        } else {
            Err(Error::NoProject(dir.clone()))
        };
    }
    session
        .cwd
        .ancestors()
        .find(|dir| dir.join(project::FILE_NAME).is_file())
        .map(Path::to_owned)
        .ok_or_else(|| Error::NoProject(session.cwd.clone()))
}
