//! What a project's lock is held to, what `[build]` adds to it, and when it may be written.

use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::Losses;
use pib_plan::recording;
use pib_plan::resolve::Update;

use crate::project::{Error, LockMode, Project, RecordingError, Session, files};

/// Returns the lock with what `[build]` asks for: whether engines that lose something are refused, and the moment that the packages are of
/// which parts install. That is now, where it has none yet. Where nothing is recorded any more, what was recorded stays in the lock:
/// the project may come back to it.
pub(super) fn with_options(lock: Lockfile, session: &Session, project: &Project) -> Lockfile {
    let lock = Lockfile { refuses_losses: project.manifest.build.losses == Losses::Refuse, ..lock };
    match lock.snapshot {
        None if project.is_recorded() => Lockfile { snapshot: Some(session.began), fetch: None, ..lock },
        Some(_) if !project.is_recorded() && lock.fetch.is_none() => Lockfile { snapshot: None, ..lock },
        _ => lock,
    }
}

/// Checks that a recording of the project's has the lock that names it: a build would replace one that nothing names, by what
/// mirrors have now.
///
/// # Errors
/// When the project has a recording, and no lock, or one that names none.
pub(super) fn check_pair(project: &Project) -> Result<(), Error> {
    if project.named_recording().is_some() || !project.is_recorded() {
        return Ok(());
    }
    match files::read_own(&project.folder()?, recording::FILE_NAME)? {
        Some(_) if project.has_lock() => Err(RecordingError::Unnamed.into()),
        Some(_) => Err(RecordingError::LockLost.into()),
        None => Ok(()),
    }
}

/// Returns what of the project's lock is held to, where stages, or the `packages` that parts install, may move. What was recorded stays
/// where nothing is recorded now.
pub(super) fn kept(project: &Project, update: &Update, packages: bool) -> Lockfile {
    let mut lock = project.lock.clone().unwrap_or_default();
    if packages {
        lock.as_of = None;
    }
    if packages && project.is_recorded() {
        (lock.snapshot, lock.fetch) = (None, None);
    }
    match update {
        Update::None => {}
        Update::All => lock.stages.clear(),
        Update::Stages(names) => lock.stages.retain(|stage| !names.contains(&stage.name)),
        Update::Precise(name, _) => lock.stages.retain(|stage| stage.name != *name),
    }
    lock
}

/// Writes `pib.lock` if it changed and `mode` allows that. The caller must hold the lock on the project's folder.
///
/// With a mode that keeps the lock, the digest of a base, which a build only finds out, is not written either.
///
/// # Errors
/// When the lock would change and must not, or cannot be written.
pub(crate) fn write_lock(project: &Project, lock: &Lockfile, mode: LockMode) -> Result<bool, Error> {
    if project.lock.as_ref() == Some(lock) {
        return Ok(false);
    }
    if mode.locked {
        if project.lock.as_ref().is_some_and(|old| old.is_completed_by(lock)) {
            return Ok(false);
        }
        unchanged(project, lock)?;
    }
    project.replace_lock(&project.whole_lock([(project.target_name(), lock.clone())]))
}

/// Checks that the project's lock is this one.
///
/// # Errors
/// When it would change.
pub(super) fn unchanged(project: &Project, lock: &Lockfile) -> Result<(), Error> {
    match &project.lock {
        Some(old) if old == lock => Ok(()),
        Some(old) => Err(Error::Locked(old.diff(lock).changes.iter().map(ToString::to_string).collect())),
        None => Err(Error::Locked(vec!["there is no pib.lock yet".to_owned()])),
    }
}
