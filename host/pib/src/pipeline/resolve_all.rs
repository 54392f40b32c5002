//! A project together with its targets: what locks them all at once.

use pib_plan::lockfile::{self, Lockfile};
use pib_plan::resolve::ResolveError;

use super::resolve::{Moves, Resolved, resolve_moving};
use super::vendored;
use crate::project::{Error, LockMode, Project, Session, TargetError};

/// What was resolved for a project and for its targets; the project's own is the first.
pub(crate) struct AllResolved {
    pub(crate) parts: Vec<Resolved>,
}

/// Resolves a project and each of its targets; what the lock holds stays where it fits.
///
/// # Errors
/// When one of them cannot be resolved; where there are targets, all that cannot are told.
pub(crate) async fn resolve_all(
    session: &Session,
    project: &Project,
    mode: LockMode,
) -> Result<AllResolved, Error> {
    let vendor = vendored::open(session, project)?;
    resolve_all_moving(session, project, mode, Moves { vendor, ..Moves::default() }).await
}

/// Resolves a project and each of its targets, in which some stages may move.
///
/// What moves need not be in every one of them.
///
/// # Errors
/// As [`resolve_all`].
pub(crate) async fn resolve_all_moving(
    session: &Session,
    project: &Project,
    mode: LockMode,
    moves: Moves,
) -> Result<AllResolved, Error> {
    let targets = project.with_targets()?;
    let total = targets.len();
    let (mut parts, mut failed, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let name = target.target_name().map(str::to_owned);
        let mut resolved = resolve_moving(session, target.clone(), mode, moves.clone()).await;
        if let Err(Error::Resolve(ResolveError::NotInBuild { .. })) = &resolved {
            absent.extend(resolved.err());
            let still = Moves { vendor: moves.vendor.clone(), packages: moves.packages, ..Moves::default() };
            resolved = resolve_moving(session, target, mode, still).await;
        }
        match resolved {
            Ok(part) => parts.push(part),
            Err(error) => failed.push(TargetError::new(name.as_deref(), error)),
        }
    }
    match failed.pop() {
        Some(only) if total == 1 => Err(*only.error),
        Some(last) => Err(Error::Targets { failed: failed.into_iter().chain([last]).collect(), total }),
        None if absent.len() == total => Err(absent.swap_remove(0)),
        None => Ok(AllResolved { parts }),
    }
}

impl AllResolved {
    /// Returns what changes in the lock, a line each; what changes for the project is not said again of a target.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for part in &self.parts {
            let before = part.project.lock.clone().unwrap_or_default();
            let lines: Vec<String> =
                before.diff(&part.lock).changes.iter().map(ToString::to_string).collect();
            let new: Vec<String> = lines.into_iter().filter(|line| !all.contains(line)).collect();
            all.extend(new.into_iter().map(|line| match part.project.target_name() {
                Some(target) => format!("{line} (target `{target}`)"),
                None => line,
            }));
        }
        all
    }

    /// Writes the lock, where it changed; `mode` may forbid that.
    ///
    /// # Errors
    /// When the lock would change and must not, or cannot be written.
    pub(crate) fn write_lock(&self, mode: LockMode) -> Result<bool, Error> {
        match (self.parts.first(), self.changed_lock(mode)?) {
            (Some(first), Some(whole)) => first.project.replace_lock(&whole),
            _ => Ok(false),
        }
    }

    /// Returns the lock's name and text, where it changes; `mode` may forbid that. It names the recording that the project has, which a
    /// new snapshot alone puts an end to.
    ///
    /// # Errors
    /// When the lock would change and must not.
    pub(crate) fn lock_text(&self, mode: LockMode) -> Result<Option<(&'static str, String)>, Error> {
        Ok(self.changed_lock(mode)?.map(|whole| (lockfile::FILE_NAME, whole.to_text())))
    }

    /// Returns the whole lock, where it changes; `mode` may forbid that.
    fn changed_lock(&self, mode: LockMode) -> Result<Option<Lockfile>, Error> {
        let Some(first) = self.parts.first() else { return Ok(None) };
        let parts = self.parts.iter().map(|part| (part.project.target_name(), part.lock.clone()));
        let mut whole = first.project.whole_lock(parts);
        // A base that one of them has dropped is dropped.
        whole.bases.retain(|base| self.parts.iter().all(|part| part.lock.bases.contains(base)));
        if mode.locked && !first.project.holds(&whole) {
            return Err(Error::Locked(vec!["it holds targets that pib.toml does not have".to_owned()]));
        }
        Ok(Some(whole).filter(|whole| !first.project.holds(whole)))
    }
}
