//! Chooses versions and what bases are made of, and writes the lock.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve_all::{AllResolved, resolve_all};
use crate::pipeline::{Resolved, edition};
use crate::project::{Error, LockMode, Project, Session};
use pib_plan::moment::Moment;

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
    /// Why it does not hold some of the bases, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_base: Vec<String>,
}

/// Returns the moment that a text names: a day, of which the first moment counts, or a moment.
fn past_moment(text: &str, now: Moment) -> Result<Moment, Error> {
    let day = || format!("{text}T00:00:00Z").parse();
    let moment: Result<Moment, _> = text.parse().or_else(|_| day());
    let help =
        "Name a day, such as --as-of 2026-03-01, or a moment (UTC), such as --as-of 2026-03-01T12:00:00Z.";
    match moment {
        Err(_) => Err(Error::usage(format!("`{text}` is not a day or a moment"), help)),
        Ok(moment) if moment > now => {
            Err(Error::usage(format!("{moment} is in the future: it is {now} now"), help))
        }
        Ok(moment) => Ok(moment),
    }
}

/// Checks that something of the project comes from archives of which a day of the past can be asked for.
fn check_as_of(session: &Session, all: &AllResolved) -> Result<(), Error> {
    let Some(first) = all.parts.first().map(|part| &part.project) else { return Ok(()) };
    if first.is_recorded() {
        return Ok(());
    }
    if all.parts.iter().all(|part| part.project.manifest.base.is_some()) {
        let message =
            "--as-of changes nothing: the base is what [base] names, and what parts fetch is not recorded";
        let help =
            "Leave --as-of out, or have pib record what parts fetch: `network = \"recorded\"` in [build].";
        return Err(Error::usage(message.to_owned(), help));
    }
    session.warn_once(
        "--as-of decides the base alone: parts fetch what mirrors have on the day of the build. For both of one day, say \
         `network = \"recorded\"` in [build] of pib.toml"
            .to_owned(),
    );
    Ok(())
}

/// Resolves the stages of the project and of its targets, chooses what their bases are made of, and writes `pib.lock`, where it changes.
///
/// With `as_of`, a day or moment of the past, bases and what parts fetch are what Debian's archive had then.
///
/// # Errors
/// When the stages cannot be resolved or ordered, or `mode` forbids the change, or wants a recording that is not there.
pub async fn lock(session: &Session, mode: LockMode, as_of: Option<&str>) -> Result<LockSummary, Error> {
    let as_of = as_of.map(|text| past_moment(text, session.began)).transpose()?;
    let dir = crate::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let mut all = resolve_all(session, &project, mode).await?;
    let mut choice = PackageChoice::Made;
    if let Some(moment) = as_of {
        check_as_of(session, &all)?;
        all.parts.iter_mut().for_each(|part| part.begin_as_of(moment));
        choice = PackageChoice::AsOf;
    }
    let without_base = lock_bases(session, &mut all, mode, choice).await?;
    if let Some(first) = all.parts.first() {
        edition::read(session, &project, &first.lock)?;
        if mode.locked {
            edition::tell_if_empty(session, &project, &first.lock);
        }
    }
    let changed = all.write_lock(mode)?;
    let stages = |part: &Resolved| -> Vec<String> {
        part.resolution.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect()
    };
    let mut summary = LockSummary { stages: Vec::new(), targets: BTreeMap::new(), changed, without_base };
    for part in &all.parts {
        match part.project.target_name() {
            Some(target) => drop(summary.targets.insert(target.to_owned(), stages(part))),
            None => summary.stages = stages(part),
        }
    }
    Ok(summary)
}
