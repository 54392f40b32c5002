//! Fetches what a build needs of stages, so that it needs no network for them.

use pib_plan::resolve::Update;
use serde::Serialize;

use super::project::Project;
use super::{Error, LockMode, Session, graph};

/// What is in the cache now.
#[derive(Debug, Clone, Serialize)]
pub struct FetchSummary {
    /// The stages, as `name version`, in build order.
    pub stages: Vec<String>,
}

/// Resolves the project's stages, fetches them, and writes the lock where it changes.
///
/// # Errors
/// When the stages cannot be resolved or fetched, or `mode` forbids what is needed.
pub async fn fetch(session: &Session, mode: LockMode) -> Result<FetchSummary, Error> {
    let dir = super::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let graph = graph::resolve(session, &project, mode, Update::None).await?;
    let packages = graph.packages().await?;
    graph.write_lock(&project, mode)?;
    let stages = packages.iter().map(|package| format!("{} {}", package.name, package.version));
    Ok(FetchSummary { stages: stages.collect() })
}

impl FetchSummary {
    /// Returns the summary for people.
    pub fn to_text(&self) -> String {
        format!("{} stages are in the cache", self.stages.len())
    }
}
