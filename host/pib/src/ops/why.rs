//! Tells why a stage is in the build.

use std::collections::BTreeSet;

use pib_plan::id::StageName;
use pib_plan::resolve::{Requester, Resolution};
use serde::Serialize;

use crate::pipeline::{self, Resolved};
use crate::project::{Error, LockMode, Project, Session};

/// Why a stage is in the build.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Why {
    /// The stage.
    pub name: String,
    /// The version that was chosen.
    pub version: String,
    /// Where it comes from.
    pub source: String,
    /// Who asks for it.
    pub asked_by: Vec<Asker>,
}

/// Who asks for a stage, and why that one is there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asker {
    /// `pib.toml`, `every build`, or `stage NAME VERSION`.
    pub by: String,
    /// For which versions; absent for any.
    pub requirement: Option<String>,
    /// Who asks for the asking stage; empty where that was told already.
    pub asked_by: Vec<Self>,
}

/// Returns why the stage is in the project's build.
///
/// # Errors
/// When the stages cannot be resolved, or the stage is not among them.
pub async fn why(session: &Session, mode: LockMode, stage: &str) -> Result<Why, Error> {
    let name: StageName = stage.parse().map_err(|error: pib_plan::id::NameError| {
        Error::usage(error.to_string(), "`pib search` lists stages.")
    })?;
    let project = Project::load(session)?;
    let Resolved { project, resolution, .. } = pipeline::resolve(session, project, mode).await?;
    let found = resolution.get(&name).ok_or_else(|| no_stage(&project, &resolution, &name))?;
    let mut told = BTreeSet::from([name.clone()]);
    Ok(Why {
        name: name.to_string(),
        version: found.version.to_string(),
        source: found.source.describe(),
        asked_by: askers(&resolution, &name, &mut told),
    })
}

/// Returns the error that speaks of a stage which is not in the build.
pub(super) fn no_stage(project: &Project, resolution: &Resolution, name: &StageName) -> Error {
    let known = resolution.stages.iter().map(|stage| stage.name.as_str());
    let near = || pib_plan::suggest::nearest(name.as_str(), known);
    let help = match (target_with(project, name), near()) {
        (Some(target), _) => format!("Target `{target}` has it: say --target {target}."),
        (None, Some(near)) => format!("Did you mean `{near}`?"),
        (None, None) => "`pib tree` shows the stages of the build.".to_owned(),
    };
    Error::usage(format!("there is no stage `{name}` in this build"), help)
}

/// Returns the first of the other targets that asks for the stage, or has it by the lock.
fn target_with(project: &Project, name: &StageName) -> Option<String> {
    let has = |part: &&Project| {
        let asked = part.manifest.stages.iter().any(|stage| stage.name == *name);
        let locked = part.lock.as_ref().is_some_and(|lock| lock.stage(name).is_some());
        part.target_name() != project.target_name() && (asked || locked)
    };
    project.with_targets().ok()?.iter().find(has)?.target_name().map(str::to_owned)
}

fn askers(resolution: &Resolution, name: &StageName, told: &mut BTreeSet<StageName>) -> Vec<Asker> {
    let Some(stage) = resolution.get(name) else { return Vec::new() };
    let asker = |request: &pib_plan::resolve::Request| {
        let (by, asked_by) = match &request.by {
            Requester::Project => ("pib.toml".to_owned(), Vec::new()),
            Requester::EveryBuild => ("every build".to_owned(), Vec::new()),
            Requester::Stage(other) => {
                let version =
                    resolution.get(other).map(|stage| stage.version.to_string()).unwrap_or_default();
                let above =
                    if told.insert(other.clone()) { askers(resolution, other, told) } else { Vec::new() };
                (format!("stage {other} {version}"), above)
            }
        };
        Asker { by, requirement: request.requirement.as_ref().map(ToString::to_string), asked_by }
    };
    stage.requested_by.iter().map(asker).collect()
}
