//! Fetches what a build needs of stages, so that it needs no network for them.

use std::collections::{BTreeMap, BTreeSet};

use pib_event::ReporterExt as _;
use pib_plan::base::WantedBase;
use pib_plan::id::INIT;
use pib_plan::manifest::project::ProjectManifest;
use serde::Serialize;

use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve_all::{AllResolved, resolve_all};
use crate::pipeline::{Resolved, base_source, edition, emulators, native, recording, stores};
use crate::project::{Error, LockMode, Project, Session};
use crate::source::Package;

/// What is in the cache now.
#[derive(Debug, Clone, Serialize)]
pub struct FetchSummary {
    /// The stages of the project and its targets, as `name version`, in build order.
    pub stages: Vec<String>,
    /// The bases whose packages the lock names, as `arch packages`: those of each architecture are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, usize>,
    /// The programs that builds on this machine need beside them: `emulators`, `native tools`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tools: BTreeSet<&'static str>,
    /// How many of the files that parts fetch.
    #[serde(skip_serializing_if = "is_none")]
    pub recorded: usize,
    /// Why the lock does not hold some of the bases, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_base: Vec<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Resolves the stages of the project and of its targets and chooses what their bases are made of; fetches the stages, the packages
/// of the bases that the lock names, emulators and native tools, and what parts were recorded to fetch; writes the lock where it
/// changes.
///
/// # Errors
/// When the stages cannot be resolved or fetched, or `mode` forbids what is needed.
pub async fn fetch(session: &Session, mode: LockMode) -> Result<FetchSummary, Error> {
    let dir = crate::project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let mut all = resolve_all(session, &project, mode).await?;
    let without_base = match mode.locked {
        true => Vec::new(),
        false => lock_bases(session, &mut all, mode, PackageChoice::Made).await?,
    };
    let (mut stages, mut packages, mut tools) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for part in &all.parts {
        let fetched = part.packages().await?;
        if let Some((arch, count)) = fetch_base(session, mode, part, &fetched).await? {
            packages.insert(arch, count);
            tools.extend(fetch_tools(session, mode, &part.project.manifest).await);
        }
        for package in fetched {
            let stage = format!("{} {}", package.name, package.version);
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
    }
    all.write_lock(mode)?;
    let recorded = fetch_recorded(session, mode, &all).await?;
    Ok(FetchSummary { stages, packages, tools, recorded, without_base })
}

/// Makes the programs that a build on this machine runs a part's commands with, and returns what there is of them. Without them the
/// engine's kernel may do it, so that a failure is no more than a warning.
async fn fetch_tools(session: &Session, mode: LockMode, manifest: &ProjectManifest) -> Vec<&'static str> {
    if mode.offline {
        return Vec::new();
    }
    let made = [
        ("emulators", emulators::prepare(session, manifest).await),
        ("native tools", native::prepare(session, manifest).await),
    ];
    let there = made.into_iter().filter_map(|(name, outcome)| match outcome {
        Ok(is_there) => is_there.then_some(name),
        Err(error) => {
            session.reporter.warn(format!("the {name} for builds on this machine cannot be made: {error}"));
            None
        }
    });
    there.collect()
}

/// Fetches the packages of the bases of a project and its targets, and what their parts were recorded to fetch.
///
/// # Errors
/// When some of it is not available.
pub(super) async fn fetch_contents(
    session: &Session,
    mode: LockMode,
    all: &AllResolved,
) -> Result<(), Error> {
    for part in &all.parts {
        fetch_base(session, mode, part, &part.packages().await?).await?;
    }
    fetch_recorded(session, mode, all).await.map(drop)
}

/// Fetches what parts were recorded to fetch; returns how many files that is.
async fn fetch_recorded(session: &Session, mode: LockMode, all: &AllResolved) -> Result<usize, Error> {
    match all.parts.first() {
        Some(part) => {
            edition::tell_if_empty(session, &part.project, &part.lock);
            recording::fill(session, &part.project, mode).await
        }
        None => Ok(0),
    }
}

/// Fetches the packages of a part's base; returns its architecture and their number, where the lock names them.
async fn fetch_base(
    session: &Session,
    mode: LockMode,
    part: &Resolved,
    packages: &[Package],
) -> Result<Option<(String, usize)>, Error> {
    let Project { manifest, dir, .. } = &part.project;
    let Some(init) = packages.iter().find(|package| package.name.as_str() == INIT) else { return Ok(None) };
    // What cannot be built has no base; a build says why.
    let Ok(source) = base_source::source(manifest, dir, init) else { return Ok(None) };
    let locked = part.lock.base(WantedBase { project: &manifest.project, source: &source });
    let places = stores::places(session, dir, manifest)?;
    let count = base_source::fetch_packages(session, mode, &places, &source, locked).await?;
    Ok(count.map(|count| (manifest.project.arch.to_string(), count)))
}
