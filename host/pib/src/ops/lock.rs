//! Chooses versions and writes the lock.

use pib_plan::resolve::Update;
use serde::Serialize;

use super::project::Project;
use super::{Error, LockMode, Session, graph};

/// What the lock holds.
#[derive(Debug, Clone, Serialize)]
pub struct LockSummary {
    /// The stages, as `name version`, sorted.
    pub stages: Vec<String>,
    /// Whether the file changed.
    pub changed: bool,
}

/// Resolves the project's stages and writes `pib.lock`, where it changes.
///
/// # Errors
/// When the stages cannot be resolved or ordered, or `mode` forbids the change.
pub async fn lock(session: &Session, mode: LockMode) -> Result<LockSummary, Error> {
    let dir = super::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let graph = graph::resolve(session, &project, mode, Update::None).await?;
    let changed = graph.write_lock(&project, mode)?;
    let stages = graph.resolution.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version));
    Ok(LockSummary { stages: stages.collect(), changed })
}

impl LockSummary {
    /// Returns the summary for people.
    pub fn to_text(&self) -> String {
        let what = if self.changed { "Locked" } else { "pib.lock is up to date:" };
        format!("{what} {} stages", self.stages.len())
    }
}
