//! A project together with its targets: what locks them all at once.

use pib_plan::resolve::{ResolveError, Update};

use super::graph::{self, Graph, Means};
use super::project::Project;
use super::targets::TargetError;
use super::{Error, LockMode, Session, vendor};

/// The graphs of a project and of its targets; the project's is the first.
pub(super) struct All {
    pub(super) graphs: Vec<(Project, Graph)>,
}

/// Resolves a project and each of its targets.
///
/// What an update names need not be in every one of them.
///
/// # Errors
/// When one of them cannot be resolved; where there are targets, all that cannot are told.
pub(super) async fn resolve(
    session: &Session,
    project: &Project,
    mode: LockMode,
    update: Update,
) -> Result<All, Error> {
    let means = Means { vendor: vendor::open(session, project)?, ..Means::default() };
    resolve_by(session, project, mode, update, means).await
}

/// Does what [`resolve`] does, by other means.
///
/// # Errors
/// As [`resolve`].
pub(super) async fn resolve_by(
    session: &Session,
    project: &Project,
    mode: LockMode,
    update: Update,
    means: Means,
) -> Result<All, Error> {
    let parts = project.with_targets()?;
    let total = parts.len();
    let (mut graphs, mut failed, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let mut resolved = graph::resolve_by(session, &part, mode, update.clone(), means.clone()).await;
        if let Err(Error::Resolve(ResolveError::NotInBuild { .. })) = &resolved {
            absent.extend(resolved.err());
            let still = Means { vendor: means.vendor.clone(), ..Means::default() };
            resolved = graph::resolve_by(session, &part, mode, Update::None, still).await;
        }
        match resolved {
            Ok(graph) => graphs.push((part, graph)),
            Err(error) => failed.push(TargetError::new(part.target_name(), error)),
        }
    }
    match failed.pop() {
        Some(only) if total == 1 => Err(*only.error),
        Some(last) => Err(Error::Targets { failed: failed.into_iter().chain([last]).collect(), total }),
        None if absent.len() == total => Err(absent.swap_remove(0)),
        None => Ok(All { graphs }),
    }
}

impl All {
    /// Returns what changes in the lock, a line each; what changes for the project is not said again of a target.
    pub(super) fn changes(&self) -> Vec<String> {
        let lines = |project: &Project, graph: &Graph| -> Vec<String> {
            let before = project.lock.clone().unwrap_or_default();
            before.diff(&graph.lock).changes.iter().map(ToString::to_string).collect()
        };
        let mut all: Vec<String> = Vec::new();
        for (project, graph) in &self.graphs {
            let lines = lines(project, graph);
            let new = lines.into_iter().filter(|line| !all.contains(line)).collect::<Vec<_>>();
            all.extend(new.into_iter().map(|line| match project.target_name() {
                Some(target) => format!("{line} (target `{target}`)"),
                None => line,
            }));
        }
        all
    }

    /// Writes the lock, where it changed; `mode` may forbid that.
    pub(super) fn write_lock(&self, mode: LockMode) -> Result<bool, Error> {
        let Some((project, _)) = self.graphs.first() else { return Ok(false) };
        let parts = self.graphs.iter().map(|(part, graph)| (part.target_name(), graph.lock.clone()));
        let mut whole = project.whole_lock(parts);
        // A base that one of them has dropped is dropped.
        whole.bases.retain(|base| self.graphs.iter().all(|(_, graph)| graph.lock.bases.contains(base)));
        if mode.locked && !project.holds(&whole) {
            return Err(Error::Locked(vec!["it holds targets that pib.toml does not have".to_owned()]));
        }
        project.replace_lock(&whole)
    }
}
