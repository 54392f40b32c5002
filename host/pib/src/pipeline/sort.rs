//! Sorts the resolved stages, by what they and the project ask for.

use pib_event::ReporterExt as _;
use pib_plan::id::StageName;
use pib_plan::order::{self, BuildOrder, OrderInput};
use pib_plan::resolve::{Resolution, ResolvedStage};

use crate::project::{Error, Project, Session, locate};

/// Sorts the stages, and warns of what the project's `[order]` asks for in vain.
///
/// # Errors
/// When what is asked for contradicts itself.
pub(super) fn sort(
    session: &Session,
    project: &Project,
    resolution: &Resolution,
) -> Result<BuildOrder, Error> {
    let inputs: Vec<OrderInput> = resolution.stages.iter().map(|stage| input(project, stage)).collect();
    let order = order::order(&inputs).map_err(|error| locate::order(project, error))?;
    let asked = &project.manifest.order;
    let list = asked.names();
    for (first, second, why) in order.overruled(&list) {
        session.reporter.warn(format!(
            "[order] lists `{first}` before `{second}`, but `{second}` comes first: {why}. The list decides only where \
             nothing else does."
        ));
    }
    warn_of_unknown(session, project, resolution);
    Ok(order)
}

fn input(project: &Project, stage: &ResolvedStage) -> OrderInput {
    let (asked, stages) = (&project.manifest.order, &project.manifest.stages);
    let in_list = asked.list.iter().position(|listed| listed.name == stage.name);
    let in_stages = || stages.iter().position(|listed| listed.name == stage.name);
    let rules = asked.rules.iter().filter(|rule| rule.second == stage.name);
    OrderInput {
        name: stage.name.clone(),
        phase: stage.entry.phase,
        dependencies: stage.entry.deps.keys().cloned().collect(),
        after: stage.entry.order.after.clone(),
        before: stage.entry.order.before.clone(),
        project_after: rules.map(|rule| rule.first.clone()).collect(),
        listed: in_list.or_else(|| in_stages().map(|at| asked.list.len() + at)),
    }
}

fn warn_of_unknown(session: &Session, project: &Project, resolution: &Resolution) {
    let has_targets = project.target_names().next().is_some();
    let mut unknown: Vec<&StageName> = project.manifest.order.named().collect();
    unknown.retain(|name| resolution.get(name).is_none() && !(has_targets && project.asks_for(name)));
    unknown.sort();
    unknown.dedup();
    for name in unknown {
        let known = resolution.stages.iter().map(|stage| stage.name.as_str());
        let help = match pib_plan::suggest::nearest(name.as_str(), known) {
            Some(near) => format!("Did you mean `{near}`?"),
            // Another target may need it.
            None if has_targets => continue,
            None => "Remove it, or add the stage.".to_owned(),
        };
        session
            .reporter
            .warn(format!("[order] names `{name}`, but no stage of this build is called so. {help}"));
    }
}
