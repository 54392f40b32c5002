//! What a shell offers while a command is typed: from this program, the project's `pib.toml` and the cache, without a
//! network or an engine.
//!
//! Whatever is wrong with any of them, there is only less to offer. A shell puts what is chosen into a command line, so
//! that nothing is offered but names that mean nothing to a shell.

use std::collections::{BTreeMap, BTreeSet};

use pib_plan::board::BOARDS;
use pib_plan::id::{Arch, INIT, StageName, check_name};
use pib_plan::index::{IndexEntry, Offer, SourceId};
use pib_plan::manifest::project::{FILE_NAME, ProjectManifest};
use pib_plan::redaction::without_login;

use super::project_template;
use crate::pipeline::resolve;
use crate::project::{self, LockMode, Session, user_config};
use crate::source::Sources;

/// A word that may be typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The word.
    pub word: String,
    /// What it is, in one line.
    pub help: String,
}

impl Offered {
    fn new(word: impl Into<String>, help: impl Into<String>) -> Self {
        Self { word: word.into(), help: help.into() }
    }
}

/// Returns the boards.
pub fn boards() -> Vec<Offered> {
    BOARDS.iter().map(|board| Offered::new(board.name, board.title)).collect()
}

/// Returns the templates of projects.
pub fn templates() -> Vec<Offered> {
    project_template::all().map(|(name, help)| Offered::new(name, help)).collect()
}

/// Returns the architectures.
pub fn architectures() -> Vec<Offered> {
    Arch::ALL.iter().map(|arch| Offered::new(arch.as_str(), "")).collect()
}

/// Returns the operating systems that the newest init stage can begin.
pub async fn systems(session: &Session) -> Vec<Offered> {
    let Ok(init) = INIT.parse::<StageName>() else { return Vec::new() };
    let newest = entries(&registries(session), &init).await.into_iter().next();
    let systems = newest.and_then(|entry| entry.support.os).unwrap_or_default();
    systems.into_iter().map(|os| Offered::new(os, "")).collect()
}

/// Returns the registries that the project and the user have names for.
pub fn registry_names(session: &Session) -> Vec<Offered> {
    let of_project = manifest(session).map(|manifest| manifest.registries).unwrap_or_default();
    let of_user = user_config::load(session).map(|config| config.registries).unwrap_or_default();
    let mut all: BTreeMap<String, String> =
        of_user.into_iter().map(|(name, registry)| (name, registry.index)).collect();
    all.extend(of_project);
    let offered = all.into_iter().map(|(name, index)| Offered::new(name, without_login(&index)));
    offered.filter(|offered| check_name(&offered.word).is_ok()).collect()
}

/// Returns the targets of the project.
pub fn targets(session: &Session) -> Vec<Offered> {
    let manifest = manifest(session);
    let targets = manifest.iter().flat_map(|manifest| &manifest.targets);
    let offered = targets.map(|(name, target)| Offered::new(name, format!("for {}", target.project.board)));
    offered.filter(|offered| check_name(&offered.word).is_ok()).collect()
}

/// Returns the stages that the project lists.
pub fn listed_stages(session: &Session) -> Vec<Offered> {
    let manifest = manifest(session);
    manifest
        .iter()
        .flat_map(|manifest| &manifest.stages)
        .map(|stage| Offered::new(stage.name.as_str(), ""))
        .collect()
}

/// Returns the stages of the bundled registry, and of those of the project that the cache has; for `NAME@`, the versions.
pub async fn stages(session: &Session, typed: &str) -> Vec<Offered> {
    let registries = registries(session);
    if let Some((name, _)) = typed.split_once('@') {
        let Ok(name) = name.parse::<StageName>() else { return Vec::new() };
        let entries = entries(&registries, &name).await;
        return entries.iter().map(|entry| Offered::new(format!("{name}@{}", entry.vers), "")).collect();
    }
    let mut found = Vec::new();
    for name in names(&registries) {
        let entries = entries(&registries, &name).await;
        let help = entries.first().map(|newest| newest.description.clone()).unwrap_or_default();
        found.push(Offered::new(name.as_str(), help));
    }
    found
}

/// Returns the config keys of stages as `STAGE.KEY=`; before the dot, only the stages.
pub async fn config_keys(session: &Session, typed: &str) -> Vec<Offered> {
    let registries = registries(session);
    let Some((name, _)) = typed.split_once('.') else {
        let names = names(&registries).into_iter().map(|name| Offered::new(format!("{name}."), ""));
        return names.collect();
    };
    let Ok(name) = name.parse::<StageName>() else { return Vec::new() };
    let entries = entries(&registries, &name).await;
    let keys = entries.first().into_iter().flat_map(|newest| &newest.config);
    let keys = keys.filter(|(key, _)| check_name(key).is_ok());
    keys.map(|(key, schema)| Offered::new(format!("{name}.{key}="), schema.help.clone())).collect()
}

fn manifest(session: &Session) -> Option<ProjectManifest> {
    let text = project::manifest_text(&project::find(session).ok()?).ok()?;
    ProjectManifest::parse(FILE_NAME, &text).ok()
}

/// The registries of a project, without a network.
struct Registries {
    sources: Sources,
    /// The bundled one, and then the project's by name.
    places: Vec<SourceId>,
}

fn registries(session: &Session) -> Registries {
    let of_project = || {
        let (dir, manifest) = (project::find(session).ok()?, manifest(session)?);
        let mode = LockMode { locked: false, offline: true };
        let sources = resolve::sources(session, &dir, &manifest, mode).ok()?;
        Some((sources, manifest.registries.into_keys().collect::<Vec<_>>()))
    };
    let alone = || (Sources::new(&session.cache, &session.cwd, BTreeMap::new()).offline(true), Vec::new());
    let (sources, names) = of_project().unwrap_or_else(alone);
    let names = std::iter::once(None).chain(names.iter().map(|name| Some(name.as_str())));
    let places = names.filter_map(|name| sources.registry_source(name).ok()).collect();
    Registries { sources, places }
}

fn names(registries: &Registries) -> BTreeSet<StageName> {
    registries.places.iter().flat_map(|place| registries.sources.names(place)).collect()
}

/// Returns the versions of a stage that can be chosen, the newest first.
async fn entries(registries: &Registries, name: &StageName) -> Vec<IndexEntry> {
    for place in &registries.places {
        let Ok(file) = registries.sources.candidates(name, place).await else { continue };
        let offers = file.versions.iter().filter_map(|candidate| match &candidate.offer {
            Offer::Entry(entry) if !entry.yanked => Some((**entry).clone()),
            _ => None,
        });
        let mut found: Vec<IndexEntry> = offers.collect();
        found.sort_by(|a, b| b.vers.cmp(&a.vers));
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}
