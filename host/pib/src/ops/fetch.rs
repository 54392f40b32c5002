//! Fetches what a build needs of stages, so that it needs no network for them.

use serde::Serialize;

use crate::pipeline::resolve_all::resolve_all;
use crate::project::{Error, LockMode, Project, Session};

/// What is in the cache now.
#[derive(Debug, Clone, Serialize)]
pub struct FetchSummary {
    /// The stages of the project and its targets, as `name version`, in build order.
    pub stages: Vec<String>,
}

/// Resolves the stages of the project and of its targets, fetches them, and writes the lock where it changes.
///
/// # Errors
/// When the stages cannot be resolved or fetched, or `mode` forbids what is needed.
pub async fn fetch(session: &Session, mode: LockMode) -> Result<FetchSummary, Error> {
    let dir = crate::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let all = resolve_all(session, &project, mode).await?;
    let mut stages: Vec<String> = Vec::new();
    for part in &all.parts {
        for package in part.packages().await? {
            let stage = format!("{} {}", package.name, package.version);
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
    }
    all.write_lock(mode)?;
    Ok(FetchSummary { stages })
}
