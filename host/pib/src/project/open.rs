//! Finds and reads the project: its manifest and its lock.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use pib_event::Event;
use pib_plan::base::NeededBase;
use pib_plan::id::{Arch, Digest, StageName};
use pib_plan::lockfile::{self, LockedStage, Lockfile};
use pib_plan::manifest::project::{self, Network, ProjectManifest};
use pib_plan::packages::CacheOwner;

use pib_file::{Folder, Output};

use crate::project::error::TARGET;
use crate::project::{Error, Session, TargetFolder, blocking, files, pair};

/// A project, or one of its targets, as it is on disk.
#[derive(Clone)]
pub(crate) struct Project {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// `pib.toml`; of a target what that comes to.
    pub(crate) manifest: ProjectManifest,
    /// `pib.lock`, where there is one; of a target its part.
    pub(crate) lock: Option<Lockfile>,
    /// The folder for what builds leave.
    pub(crate) target: TargetFolder,
    /// Whether the manifest's text is what the file holds, and not what a command is about to write.
    pub(crate) is_saved: bool,
    /// The project's targets.
    targets: BTreeMap<String, ProjectManifest>,
    /// The whole of `pib.lock`.
    whole_lock: Option<Lockfile>,
    /// The bases that the project and its targets ask for.
    needed_bases: Vec<NeededBase>,
    /// The processors of the project and its targets.
    architectures: Vec<Arch>,
    /// Whether pib records what parts fetch, of the project or of one of its targets.
    is_recorded: bool,
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
        let text = manifest_text(&dir)?;
        let project = Self { is_saved: true, ..Self::with_manifest(session, dir, &text)? };
        project.of(session.target.as_deref())
    }

    /// Reads the lock of the project in `dir`, whose manifest would be `text`.
    pub(crate) fn with_manifest(session: &Session, dir: PathBuf, text: &str) -> Result<Self, Error> {
        let shown = |name: &str| session.show(&dir.join(name)).display().to_string();
        let mut manifest = ProjectManifest::parse(&shown(project::FILE_NAME), text)?;
        let whole_lock = read_lock(session, &dir)?;
        let lock = whole_lock.as_ref().map(|lock| lock.for_target(None));
        let targets = std::mem::take(&mut manifest.targets);
        let all = || std::iter::once(&manifest).chain(targets.values());
        let needed_bases = all().map(NeededBase::of).collect();
        let architectures = all().map(|manifest| manifest.project.arch).collect();
        let is_recorded = all().any(|manifest| manifest.build.network == Network::Recorded);
        let target = TargetFolder::new(session, &dir);
        Ok(Self {
            dir,
            manifest,
            lock,
            target,
            is_saved: false,
            targets,
            whole_lock,
            needed_bases,
            architectures,
            is_recorded,
        })
    }

    /// Returns a project that is on no disk: one that is made up to try a stage.
    pub(crate) fn made_up(dir: PathBuf, manifest: ProjectManifest) -> Self {
        let needed_bases = vec![NeededBase::of(&manifest)];
        let architectures = vec![manifest.project.arch];
        let (targets, target) = (BTreeMap::new(), TargetFolder::inside(&dir));
        let is_recorded = manifest.build.network == Network::Recorded;
        Self {
            dir,
            manifest,
            lock: None,
            target,
            is_saved: false,
            targets,
            whole_lock: None,
            needed_bases,
            architectures,
            is_recorded,
        }
    }

    /// Returns the processors of the project and its targets, which share one recording.
    pub(crate) fn architectures(&self) -> &[Arch] {
        &self.architectures
    }

    /// Returns the names of the targets, sorted.
    pub(crate) fn target_names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// Returns whether the project or one of its targets asks for a stage.
    pub(crate) fn asks_for(&self, stage: &StageName) -> bool {
        let manifests = self.targets.values().chain([&self.manifest]);
        manifests.flat_map(|manifest| &manifest.stages).any(|request| request.name == *stage)
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

    /// Returns whether pib records what parts fetch, of the project or of one of its targets.
    pub(crate) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// Returns the whole lock as its file holds it now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn lock_now(&self, session: &Session) -> Result<Lockfile, Error> {
        Ok(read_lock(session, &self.dir)?.unwrap_or_default())
    }

    /// Returns whether the project has a lock.
    pub(crate) fn has_lock(&self) -> bool {
        self.whole_lock.is_some()
    }

    /// Returns whether this is what the lock's file holds.
    pub(crate) fn holds(&self, whole: &Lockfile) -> bool {
        self.whole_lock.as_ref() == Some(whole)
    }

    /// Opens its folder, to write in it.
    ///
    /// # Errors
    /// When it is not there any more.
    pub(crate) fn folder(&self) -> Result<Folder, Error> {
        folder(&self.dir)
    }

    /// Returns whose the project's caches in an engine are.
    pub(crate) fn cache_owner(&self) -> CacheOwner {
        let dir = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        CacheOwner::new(rustix::process::geteuid().as_raw(), dir.as_os_str().as_encoded_bytes())
    }

    /// Returns the recording that the lock's file names.
    pub(crate) fn named_recording(&self) -> Option<Digest> {
        self.whole_lock.as_ref().and_then(|lock| lock.fetch)
    }

    /// Writes the whole lock, where that changes the file; returns whether it did. A recording that it does not name any more
    /// goes.
    pub(crate) fn replace_lock(&self, whole: &Lockfile) -> Result<bool, Error> {
        if self.holds(whole) {
            return Ok(false);
        }
        let folder = self.folder()?;
        if whole.fetch.is_none() && (self.is_recorded || self.named_recording().is_some()) {
            let target = self.target.make()?;
            pair::forget((&folder, &target), self.named_recording(), whole)?;
        } else {
            files::replace_bytes(&folder, lockfile::FILE_NAME, whole.to_text().as_bytes())?;
        }
        Ok(true)
    }

    /// Holds a lock on the project, so that two commands that change it run one after the other.
    ///
    /// The lock ends when what is returned is dropped, also when the process is killed.
    pub(crate) async fn exclusive(session: &Session, dir: &Path) -> Result<Held, Error> {
        let (folder, target) = (folder(dir)?, TargetFolder::new(session, dir).make()?);
        // What builds leave may be kept elsewhere by one of the two: the project's folder is what they share. Not every
        // file system has locks on folders.
        let folder_lock = match folder.to_lock() {
            Ok(file) => locked(session, file).await.ok(),
            Err(_) => None,
        };
        let path = target.path().join(LOCK);
        let fail = |error| Error::io("lock the project by", &path, error);
        let file = target.open_or_create(LOCK).map_err(fail)?;
        let file = locked(session, file).await.map_err(fail)?;
        for folder in [&folder, &target] {
            files::remove_left(folder);
        }
        pair::complete(&folder, &target)?;
        Ok(Held { _folder: folder_lock, _file: file })
    }
}

/// The file in the folder for what builds leave by which a project is locked.
const LOCK: &str = ".pib-lock";

/// The lock on a project.
pub(crate) struct Held {
    _folder: Option<std::fs::File>,
    _file: std::fs::File,
}

/// Locks a file, and says so where that takes waiting.
async fn locked(session: &Session, file: std::fs::File) -> std::io::Result<std::fs::File> {
    use pib_event::ReporterExt as _;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            session.reporter.note("Waiting for another pib that works on this project");
            blocking::wait(file, std::fs::File::lock).await
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the whole lock of the project in `dir`, if it has one.
fn read_lock(session: &Session, dir: &Path) -> Result<Option<Lockfile>, Error> {
    let Some(text) = files::read_own(&folder(dir)?, lockfile::FILE_NAME)? else { return Ok(None) };
    let shown = session.show(&dir.join(lockfile::FILE_NAME)).display().to_string();
    Ok(Some(Lockfile::parse(&shown, &text)?))
}

/// Opens a project's folder, which may be reached through links: the user has named it, or is in it.
fn folder(dir: &Path) -> Result<Folder, Error> {
    Folder::open(dir).map_err(|error| Error::io("open the folder", dir, error))
}

/// Returns the place of a file or folder that the command line names for what is written: in the project it is reached
/// without links, elsewhere by what the user says.
///
/// # Errors
/// When its folder cannot be opened, or a link is on the way to it in the project.
pub(crate) fn output(session: &Session, path: &Path) -> Result<Output, Error> {
    let output = match inside(session, path)? {
        Some((project, inside)) => project.output(inside),
        None => Output::at(path),
    };
    output.map_err(|error| Error::io("write", path, error))
}

/// Opens a folder that the command line names for what is written, as [`output`] reaches it; `None` where there is none.
///
/// # Errors
/// When it is none, or a link is on the way to it in the project.
pub(crate) fn find_folder(session: &Session, path: &Path) -> Result<Option<Folder>, Error> {
    let opened = match inside(session, path)? {
        Some((project, inside)) => project.folder(inside),
        None => Folder::open(path),
    };
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open the folder", path, error)),
    }
}

/// Opens a folder as [`find_folder`] does, and makes it where there is none.
///
/// # Errors
/// When it cannot be made, or a link is on the way to it in the project.
pub(crate) fn make_folder(session: &Session, path: &Path) -> Result<Folder, Error> {
    let made = match inside(session, path)? {
        Some((project, inside)) => project.make_folder(inside),
        None => Folder::make(path),
    };
    made.map_err(|error| Error::io("create the folder", path, error))
}

/// Returns the project that a path is in, and the path relative to it.
fn inside<'a>(session: &Session, path: &'a Path) -> Result<Option<(Folder, &'a Path)>, Error> {
    let is_plain = |path: &&Path| !path.components().any(|part| part == Component::ParentDir);
    let Ok(dir) = find(session) else { return Ok(None) };
    let inside = path.strip_prefix(&dir).ok().filter(is_plain);
    inside.map(|inside| Ok((folder(&dir)?, inside))).transpose()
}

/// Returns the text of the manifest of the project in `dir`.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(crate) fn manifest_text(dir: &Path) -> Result<String, Error> {
    files::read_own(&folder(dir)?, project::FILE_NAME)?.ok_or_else(|| Error::NoProject(dir.to_owned()))
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
