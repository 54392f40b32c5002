//! Looks at what registries offer: `pib search`, `pib info`, `pib outdated`.

use std::collections::BTreeMap;

use pib_event::ReporterExt as _;
use pib_plan::id::StageName;
use pib_plan::index::{Candidate, IndexEntry, IndexFile, Offer, SourceId};
use pib_plan::resolve::Update;
use serde::Serialize;

use crate::pipeline::resolve::{self, Moves, places, resolve_moving};
use crate::pipeline::{self, vendored};
use crate::project::{self, Error, LockMode, Project, Session, TargetError};
use crate::source::registry_list::{ListedStage, newest, newest_of};
use crate::source::{SourceError, Sources};
use crate::ui::one_line;

/// A stage that was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: String,
    /// One line on what it adds.
    pub description: String,
    /// The registry that has it.
    pub registry: String,
    /// What the project calls that registry; none for the bundled one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
}

/// All that a registry says of a stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// Its newest version, in full.
    pub newest: IndexEntry,
    /// All versions, the newest first, those that were yanked marked so.
    pub versions: Vec<Version>,
    /// Where it is from.
    pub registry: String,
}

/// A version of a stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// The version.
    pub version: String,
    /// Whether it is hidden from new resolution.
    pub yanked: bool,
    /// Why it is, where its publisher says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
    /// Why this pib cannot use it, if so.
    pub unreadable: Option<String>,
}

/// A stage of which there is a newer version than the locked one, or whose locked version was yanked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outdated {
    /// The stage.
    pub name: String,
    /// The version in the lock.
    pub locked: String,
    /// The newest that the project and the other stages allow; what `pib update` would take.
    pub compatible: String,
    /// The newest of all.
    pub newest: String,
    /// Whether the version in the lock was yanked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// Why it was, where its publisher says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
    /// The target that this is so for, where it is not so for the project itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Returns the sources of the project, and the project; or of nothing but the bundled registry outside of one.
fn sources(session: &Session, offline: bool) -> Result<(Sources, Option<Project>), Error> {
    if project::find(session).is_err() {
        return Ok((Sources::new(&session.cache, &session.cwd, BTreeMap::new()).offline(offline), None));
    }
    let project = Project::load(session)?;
    let mode = LockMode { locked: false, offline };
    // Where the project and a target differ, the project's counts.
    let parts = project.with_targets()?.into_iter();
    let locked: Vec<_> = parts.filter_map(|part| part.lock).flat_map(|lock| lock.stages).collect();
    let sources = resolve::sources(session, &project.dir, &project.manifest, mode)?.locked(&locked);
    Ok((sources, Some(project)))
}

/// Returns the stages whose name or description has all the words, by name.
///
/// A registry that does not list its stages, or cannot be read, is not searched; a warning says so.
///
/// # Errors
/// When the project cannot be read.
pub async fn search(session: &Session, words: &[String]) -> Result<Vec<Found>, Error> {
    let (local, project) = sources(session, true)?;
    let registries = project.map(|project| project.manifest.registries).unwrap_or_default();
    // Buckets take their time to list what is in them.
    let lists =
        |index: &String| ["oci://", "https://", "http://"].iter().any(|start| index.starts_with(start));
    let sources = match registries.values().any(lists) {
        true => self::sources(session, false)?.0,
        false => local,
    };
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let mut found = Vec::new();
    for name in std::iter::once(None).chain(registries.keys().map(|name| Some(name.as_str()))) {
        let source = sources.registry_source(name)?;
        let stages = match sources.searchable(&source).await {
            Ok(Some(stages)) => stages,
            Ok(None) => {
                session.reporter.warn(format!(
                    "pib cannot search {}, which does not list its stages; `pib info STAGE` asks it for one stage",
                    source.describe()
                ));
                continue;
            }
            // The others are worth showing.
            Err(error) => {
                session.reporter.warn(format!("pib cannot search {}: {}", source.describe(), causes(&error)));
                continue;
            }
        };
        let fits = |stage: &ListedStage| {
            let text = format!("{} {}", stage.name, stage.description).to_lowercase();
            !stage.yanked && words.iter().all(|word| text.contains(word))
        };
        found.extend(stages.into_iter().filter(fits).map(|stage| Found {
            name: stage.name.to_string(),
            version: stage.version.to_string(),
            description: stage.description,
            registry: source.describe(),
            called: name.map(str::to_owned),
        }));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Returns an error and what caused it, on one line.
fn causes(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    one_line(&text)
}

/// Returns what is known of a stage: at the registry that is named, or where the project has it from, or at the first
/// registry that has it, the bundled one before the project's.
///
/// # Errors
/// When no such stage is there, or what has it cannot be read.
pub async fn info(
    session: &Session,
    stage: &str,
    registry: Option<&str>,
    offline: bool,
) -> Result<Info, Error> {
    let name: StageName = stage.parse().map_err(|error: pib_plan::id::NameError| {
        Error::usage(error.to_string(), "`pib search` lists stages.")
    })?;
    let (sources, project) = sources(session, offline)?;
    let places = match (registry, &project) {
        (None, Some(project)) => places(project, &name)?,
        _ => vec![sources.registry_source(registry)?],
    };
    let (mut source, mut file) =
        (SourceId::bundled(), IndexFile { versions: Vec::new(), skipped: Vec::new(), bytes: 0 });
    for place in places {
        if file.versions.is_empty() {
            file = sources.candidates(&name, &place).await?;
            source = place;
        }
    }
    // Where every version was yanked, the last one is told: a lock may hold it.
    let Some(entry) = newest(&file.versions).or_else(|| newest_of(&file.versions, true)) else {
        let names = sources.names(&source);
        let help = match pib_plan::suggest::nearest(name.as_str(), names.iter().map(StageName::as_str)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "`pib search WORD` looks for stages.".to_owned(),
        };
        let message = format!("{} has no stage `{name}` that this pib can read", source.describe());
        return Err(Error::usage(message, help));
    };
    let mut candidates: Vec<&Candidate> = file.versions.iter().collect();
    candidates.sort_by(|a, b| b.version.cmp(&a.version));
    let versions = candidates.into_iter().map(|candidate| {
        let (yanked, yank_reason, unreadable) = match &candidate.offer {
            Offer::Entry(entry) => (entry.yanked, entry.yank_reason.clone(), None),
            Offer::Unreadable(reason) => (false, None, Some(reason.clone())),
        };
        Version { version: candidate.version.to_string(), yanked, yank_reason, unreadable }
    });
    Ok(Info { newest: entry.clone(), versions: versions.collect(), registry: source.describe() })
}

/// Returns the stages that have a newer version, by name: those of the target that is named, or of the project and
/// then what is otherwise with its targets.
///
/// # Errors
/// When the stages cannot be resolved.
pub async fn outdated(session: &Session, offline: bool) -> Result<Vec<Outdated>, Error> {
    let mode = LockMode { locked: false, offline };
    let project = Project::load(session)?;
    if session.target.is_some() {
        return outdated_in(session, &project, mode).await;
    }
    let parts = project.with_targets()?;
    let (mut list, total) = (Vec::new(), parts.len());
    for part in parts {
        let target = part.target_name();
        let found = outdated_in(session, &part, mode).await;
        let found = found.map_err(|error| match target {
            Some(_) => Error::Targets { failed: vec![TargetError::new(target, error)], total },
            None => error,
        })?;
        let new: Vec<_> = found.into_iter().filter(|stage| !list.contains(stage)).collect();
        list.extend(new.into_iter().map(|stage| Outdated { target: target.map(str::to_owned), ..stage }));
    }
    Ok(list)
}

async fn outdated_in(session: &Session, project: &Project, mode: LockMode) -> Result<Vec<Outdated>, Error> {
    let now = pipeline::resolve(session, project.clone(), mode).await?;
    let sources = resolve::sources(session, &project.dir, &project.manifest, mode)?;
    let mut files = Vec::new();
    for stage in now.resolution.stages.iter().filter(|stage| matches!(stage.source, SourceId::Registry(_))) {
        files.push((stage, sources.candidates(&stage.name, &stage.source).await?));
    }
    let vendor = vendored::open(session, project)?;
    let moves = Moves { update: Update::All, vendor, ..Moves::default() };
    let updated = match resolve_moving(session, project.clone(), mode, moves).await {
        Ok(updated) => Some(updated),
        // Where all that fits was yanked, there is nothing to move to: that is what is told.
        Err(_) if files.iter().any(|(stage, file)| yanked(&file.versions, &stage.version).is_some()) => None,
        Err(error) => return Err(error),
    };
    let mut list = Vec::new();
    for (stage, file) in files {
        let yanked = yanked(&file.versions, &stage.version);
        let newest = newest(&file.versions).map_or(&stage.version, |entry| &entry.vers);
        let compatible = updated.as_ref().and_then(|updated| updated.resolution.get(&stage.name));
        let compatible = compatible.map_or(&stage.version, |found| &found.version);
        if *newest > stage.version || *compatible > stage.version || yanked.is_some() {
            list.push(Outdated {
                name: stage.name.to_string(),
                locked: stage.version.to_string(),
                compatible: compatible.to_string(),
                newest: newest.to_string(),
                yanked: yanked.is_some(),
                yank_reason: yanked.flatten(),
                target: None,
            });
        }
    }
    Ok(list)
}

/// Returns why a version was yanked, as far as its publisher says so; `None` where it was not.
fn yanked(versions: &[Candidate], version: &semver::Version) -> Option<Option<String>> {
    versions.iter().find_map(|candidate| match &candidate.offer {
        Offer::Entry(entry) if entry.yanked && entry.vers == *version => Some(entry.yank_reason.clone()),
        _ => None,
    })
}
