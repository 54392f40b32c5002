//! Chooses versions and what bases are made of, and writes the lock.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve_all::resolve_all;
use crate::pipeline::{Resolved, edition};
use crate::project::{Error, LockMode, Project, Session};
use pib_event::ReporterExt as _;

/// What the lock holds.
#[derive(Debug, Clone, Serialize)]
pub struct LockSummary {
    /// The stages, as `name version`, sorted.
    pub stages: Vec<String>,
    /// Those of each target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Vec<String>>,
    /// Whether the file changed.
    pub changed: bool,
}

/// Resolves the stages of the project and of its targets, chooses what their bases are made of, and writes `pib.lock`, where it changes.
///
/// # Errors
/// When the stages cannot be resolved or ordered, or `mode` forbids the change, or wants a recording that is not there.
pub async fn lock(session: &Session, mode: LockMode) -> Result<LockSummary, Error> {
    let dir = crate::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let mut all = resolve_all(session, &project, mode).await?;
    for reason in lock_bases(session, &mut all, mode, PackageChoice::Made).await {
        session.reporter.note(reason);
    }
    let changed = all.write_lock(mode)?;
    if mode.locked
        && let Some(first) = all.parts.first()
    {
        edition::read(session, &project, &first.lock)?;
    }
    let stages = |part: &Resolved| -> Vec<String> {
        part.resolution.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect()
    };
    let mut summary = LockSummary { stages: Vec::new(), targets: BTreeMap::new(), changed };
    for part in &all.parts {
        match part.project.target_name() {
            Some(target) => drop(summary.targets.insert(target.to_owned(), stages(part))),
            None => summary.stages = stages(part),
        }
    }
    Ok(summary)
}
