//! Shows which stage depends on which.

use std::collections::BTreeMap;

use pib_plan::resolve::Requester;
use serde::Serialize;

use crate::pipeline;
use crate::project::{Error, LockMode, Project, Session};

/// The stages of a build and their dependencies.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tree {
    /// The project's name.
    pub project: String,
    /// Whether below each stage are those that need it, and not those that it needs.
    pub inverted: bool,
    /// The stages that the project or every build asks for.
    pub roots: Vec<String>,
    /// Every stage of the build, by name.
    pub stages: BTreeMap<String, TreeStage>,
}

/// One stage of a tree.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TreeStage {
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub source: String,
    /// The stages that it needs; in an inverted tree those that need it.
    pub dependencies: Vec<String>,
}

/// Returns the project's tree; inverted, below each stage are those that need it.
///
/// # Errors
/// When the stages cannot be resolved.
pub async fn tree(session: &Session, mode: LockMode, invert: bool) -> Result<Tree, Error> {
    let project = Project::load(session)?;
    let resolved = pipeline::resolve(session, project, mode).await?;
    let mut roots = Vec::new();
    let mut stages = BTreeMap::new();
    for stage in &resolved.resolution.stages {
        if stage.requested_by.iter().any(|request| !matches!(request.by, Requester::Stage(_))) {
            roots.push(stage.name.to_string());
        }
        let dependencies = stage.entry.deps.keys().map(ToString::to_string).collect();
        let (version, source) = (stage.version.to_string(), stage.source.describe());
        stages.insert(stage.name.to_string(), TreeStage { version, source, dependencies });
    }
    let tree = Tree { project: resolved.project.manifest.project.name, inverted: false, roots, stages };
    Ok(if invert { tree.inverted() } else { tree })
}

impl Tree {
    /// Returns the tree upside down: it starts from the stages that need no other.
    fn inverted(self) -> Self {
        let mut stages = self.stages.clone();
        for stage in stages.values_mut() {
            stage.dependencies.clear();
        }
        for (name, stage) in &self.stages {
            for needed in &stage.dependencies {
                if let Some(found) = stages.get_mut(needed) {
                    found.dependencies.push(name.clone());
                }
            }
        }
        let leaf = |(name, stage): (&String, &TreeStage)| stage.dependencies.is_empty().then(|| name.clone());
        let roots = self.stages.iter().filter_map(leaf).collect();
        Self { project: self.project, inverted: true, roots, stages }
    }
}
