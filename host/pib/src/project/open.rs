//! Finds and reads the project: its manifest and its lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_event::Event;
use pib_plan::base::NeededBase;
use pib_plan::lockfile::{self, LockedStage, Lockfile};
use pib_plan::manifest::project::{self, ProjectManifest};

use crate::project::{Error, Session, blocking, files};

/// The folder for what a build leaves.
const TARGET: &str = "target";

/// A project, or one of its targets, as it is on disk.
#[derive(Clone)]
pub(crate) struct Project {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// `pib.toml`; of a target what that comes to.
    pub(crate) manifest: ProjectManifest,
    /// `pib.lock`, where there is one; of a target its part.
    pub(crate) lock: Option<Lockfile>,
    /// Whether the manifest's text is what the file holds, and not what a command is about to write.
    pub(crate) is_saved: bool,
    /// The project's targets.
    targets: BTreeMap<String, ProjectManifest>,
    /// The whole of `pib.lock`.
    whole_lock: Option<Lockfile>,
    /// The bases that the project and its targets ask for.
    needed_bases: Vec<NeededBase>,
}

/// Reports each file of the project that is opened for reading from now on, but not what pib itself keeps in `target`.
pub fn trace_files(session: &Session) {
    let Ok(dir) = find(session) else { return };
    let reporter = Arc::clone(&session.reporter);
    pib_file::trace(move |path| {
        let Ok(path) = path.strip_prefix(&dir) else { return };
        if !path.starts_with(TARGET) {
            reporter.report(Event::FileRead { path: path.display().to_string() });
        }
    });
}

impl Project {
    /// Finds the project and reads its manifest and lock; of the target that the session is about.
    pub(crate) fn load(session: &Session) -> Result<Self, Error> {
        let dir = find(session)?;
        let path = dir.join(project::FILE_NAME);
        let text = files::read_text(&path)?.ok_or_else(|| Error::NoProject(dir.clone()))?;
        let project = Self { is_saved: true, ..Self::with_manifest(session, dir, &text)? };
        project.of(session.target.as_deref())
    }

    /// Reads the lock of the project in `dir`, whose manifest would be `text`.
    pub(crate) fn with_manifest(session: &Session, dir: PathBuf, text: &str) -> Result<Self, Error> {
        let shown = |name: &str| session.show(&dir.join(name)).display().to_string();
        let mut manifest = ProjectManifest::parse(&shown(project::FILE_NAME), text)?;
        let whole_lock = match files::read_text(&dir.join(lockfile::FILE_NAME))? {
            Some(text) => Some(Lockfile::parse(&shown(lockfile::FILE_NAME), &text)?),
            None => None,
        };
        let lock = whole_lock.as_ref().map(|lock| lock.for_target(None));
        let targets = std::mem::take(&mut manifest.targets);
        let needed_bases = std::iter::once(&manifest).chain(targets.values()).map(NeededBase::of).collect();
        Ok(Self { dir, manifest, lock, is_saved: false, targets, whole_lock, needed_bases })
    }

    /// Returns a project that is on no disk: one that is made up to try a stage.
    pub(crate) fn made_up(dir: PathBuf, manifest: ProjectManifest) -> Self {
        let needed_bases = vec![NeededBase::of(&manifest)];
        let targets = BTreeMap::new();
        Self { dir, manifest, lock: None, is_saved: false, targets, whole_lock: None, needed_bases }
    }

    /// Returns the names of the targets, sorted.
    pub(crate) fn target_names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// Returns the project, or the target that is named.
    ///
    /// # Errors
    /// When there is no such target.
    pub(crate) fn of(&self, target: Option<&str>) -> Result<Self, Error> {
        target.map_or_else(|| Ok(self.clone()), |target| self.of_target(target))
    }

    /// Returns one of the project's targets.
    ///
    /// # Errors
    /// When there is no such target.
    pub(crate) fn of_target(&self, name: &str) -> Result<Self, Error> {
        let Some(manifest) = self.targets.get(name) else {
            let help = match pib_plan::suggest::nearest(name, self.target_names()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None if self.targets.is_empty() => {
                    format!(
                        "Describe one in pib.toml: [target.{name}], with the keys that differ from the project's."
                    )
                }
                None => format!("It has {}.", pib_plan::suggest::list(self.target_names())),
            };
            return Err(Error::usage(format!("the project has no target `{name}`"), help));
        };
        let lock = self.whole_lock.as_ref().map(|lock| lock.for_target(Some(name)));
        Ok(Self { manifest: manifest.clone(), lock, ..self.clone() })
    }

    /// Returns the project itself and its targets, in the order of their names.
    pub(crate) fn with_targets(&self) -> Result<Vec<Self>, Error> {
        let targets = self.target_names().map(|name| self.of_target(name));
        std::iter::once(Ok(self.clone())).chain(targets).collect()
    }

    /// Returns the name of the target that this is.
    pub(crate) fn target_name(&self) -> Option<&str> {
        self.manifest.project.target.as_deref()
    }

    /// Returns every stage that the lock holds, for the project or any target.
    pub(crate) fn locked_stages(&self) -> impl Iterator<Item = &LockedStage> {
        let whole = self.whole_lock.iter();
        whole.flat_map(|lock| lock.targets.values().chain([&lock.stages]).flatten())
    }

    /// Returns the whole lock with these parts in it, and without those of targets that are gone.
    pub(crate) fn whole_lock<'a>(
        &self,
        parts: impl IntoIterator<Item = (Option<&'a str>, Lockfile)>,
    ) -> Lockfile {
        let mut whole = self.whole_lock.clone().unwrap_or_default();
        for (target, part) in parts {
            whole.set_target(target, part);
        }
        whole.tidy_targets(|target| self.targets.contains_key(target));
        whole.tidy_bases(&self.needed_bases, &self.whole_lock.clone().unwrap_or_default());
        whole
    }

    /// Returns whether this is what the lock's file holds.
    pub(crate) fn holds(&self, whole: &Lockfile) -> bool {
        self.whole_lock.as_ref() == Some(whole)
    }

    /// Returns the path of the lock.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(lockfile::FILE_NAME)
    }

    /// Writes the whole lock, where that changes the file; returns whether it did.
    pub(crate) fn replace_lock(&self, whole: &Lockfile) -> Result<bool, Error> {
        if self.holds(whole) {
            return Ok(false);
        }
        files::replace_bytes(&self.lock_path(), whole.to_text().as_bytes())?;
        Ok(true)
    }

    /// Returns the folder for what a build leaves.
    pub(crate) fn target(&self) -> PathBuf {
        self.dir.join(TARGET)
    }

    /// Holds a lock on the project, so that two commands that change it run one after the other.
    ///
    /// The lock ends when the returned file is closed, also when the process is killed.
    pub(crate) async fn exclusive(session: &Session, dir: &Path) -> Result<std::fs::File, Error> {
        use pib_event::ReporterExt as _;
        let target = dir.join(TARGET);
        std::fs::create_dir_all(&target).map_err(|error| Error::io("create the folder", &target, error))?;
        let path = target.join(".pib-lock");
        let fail = |error| Error::io("lock the project by", &path, error);
        let file = pib_file::open_or_create(&path).map_err(fail)?;
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
pub(crate) fn find(session: &Session) -> Result<PathBuf, Error> {
    if let Some(dir) = &session.project {
        if !dir.is_dir() {
            let message = format!("`{}` is no folder", session.show(dir).display());
            return Err(Error::usage(message, "-C names the folder that the project's pib.toml is in."));
        }
        return if is_there(dir) { Ok(dir.clone()) } else { Err(Error::NoProject(dir.clone())) };
    }
    session
        .cwd
        .ancestors()
        .find(|dir| is_there(dir))
        .map(Path::to_owned)
        .ok_or_else(|| Error::NoProject(session.cwd.clone()))
}

/// Returns whether a folder has a manifest. What is none, e.g. a named pipe, is told when it is read; a project above is
/// not meant then.
fn is_there(dir: &Path) -> bool {
    dir.join(project::FILE_NAME).symlink_metadata().is_ok()
}
