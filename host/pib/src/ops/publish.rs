//! Packs stages, judges them as the strangers would who use them, and adds them to a registry's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pib_event::ReporterExt as _;
use pib_plan::id::StageName;
use pib_plan::index::IndexEntry;
use pib_plan::manifest::stage;
use pib_plan::registry_snapshot::RegistryKey;
use pib_plan::stage_change::{self, StageChange};
use pib_plan::suggest;
use serde::Serialize;

use super::publish_destination::PublishDestination;
pub use super::publish_server::Allowed;
use super::publish_trial;
use super::registry_signing::{self, Signer};
use super::registry_site_marks::SiteChange;
use super::test::TestReports;
use crate::project::{Error, Session};
use crate::source::git::{UnfitRepository, changed_files, is_never_committed};
use crate::source::registry::CONFIG;
use crate::source::registry_bucket::BucketRegistry;
use crate::source::registry_folder::{self, Outcome, PackedStage, PublishCandidate, PublishedStage};
use crate::source::registry_oci::OciRegistry;
use crate::source::{PackageFile, SourceError};

/// The name that people look for first in a stage's folder.
const README: &str = "README.md";
/// A name this many edits away from another is easily mistaken for it.
const SIMILAR: usize = 1;

/// What is published, and where.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// The stages' folders.
    pub folders: Vec<PathBuf>,
    /// The registry: a folder, an address, or the name of one.
    pub registry: String,
    /// What is allowed.
    pub allowed: Allowed,
    /// The file of the key that signs the registry.
    pub key: Option<PathBuf>,
    /// The file of the publisher's own key.
    pub publisher_key: Option<PathBuf>,
}

/// What was published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    /// The stages that are new in the registry, as `name version`.
    pub published: Vec<String>,
    /// Those that it has already.
    pub unchanged: Vec<String>,
}

/// What would be published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Publication {
    /// The registry: its folder or its address.
    pub registry: String,
    /// The versions that are new.
    pub versions: Vec<NewVersion>,
    #[serde(skip)]
    destination: PublishDestination,
    #[serde(skip)]
    candidates: Vec<PublishCandidate>,
    #[serde(skip)]
    allowed: Allowed,
    #[serde(skip)]
    key: Option<PathBuf>,
    #[serde(skip)]
    publisher_key: Option<PathBuf>,
    #[serde(skip)]
    publisher_changes: Vec<String>,
}

/// A version that would be published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewVersion {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// How many files its archive has.
    pub files: usize,
    /// The archive's size in bytes.
    pub size: u64,
    /// The version that it is compared with, the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What may break projects that use the version before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breaking: Vec<String>,
    /// What else differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Judges stages, and says what publishing them would do. Nothing is written.
///
/// # Errors
/// When a stage is not valid or not fit for others, or the registry cannot be read.
pub async fn prepare(session: &Session, options: &PublishOptions) -> Result<Publication, Error> {
    let destination = PublishDestination::find(session, &options.registry)?;
    let registry = destination.registry(session)?;
    let folders: Vec<PathBuf> = options.folders.iter().map(|folder| session.cwd.join(folder)).collect();
    let candidates = registry_folder::candidates(&folders, &registry).await?;
    let names = match &destination {
        // Its server compares the names itself.
        PublishDestination::Web { .. } => None,
        _ => registry.all_names().await?,
    };
    if names.is_none() && registry.is_oci() && candidates.iter().any(|candidate| candidate.is_new_name) {
        session.warn_once(format!(
            "{} does not list its stages, so it is not known whether another name is similar",
            registry.source().describe()
        ));
    }
    let (mut versions, mut problems) = judge(&candidates, &names.unwrap_or_default(), options.allowed);
    if !options.allowed.dirty {
        let new = candidates.iter().filter(|candidate| !candidate.is_published);
        problems.extend(new.filter_map(|candidate| dirty(session, candidate)));
    }
    let key = options.publisher_key.as_deref();
    let key = key.map(|file| registry_signing::public_key(session, file)).transpose()?;
    let new = candidates.iter().filter(|candidate| !candidate.is_published);
    let mut publisher_changes = Vec::new();
    for (version, candidate) in versions.iter_mut().zip(new) {
        let told = candidate.before.as_ref().and_then(|before| other_publisher(before, key));
        publisher_changes
            .extend(told.iter().map(|told| format!("{} {}: {told}", version.stage, version.version)));
        version.changes.extend(told);
    }
    match problems.is_empty() {
        true => Ok(Publication {
            registry: destination.to_string(),
            versions,
            destination,
            candidates,
            allowed: options.allowed,
            key: options.key.clone(),
            publisher_key: options.publisher_key.clone(),
            publisher_changes,
        }),
        false => Err(SourceError::Unpublishable { problems }.into()),
    }
}

/// Returns the versions that are new, and what speaks against publishing them, a sentence each.
pub(super) fn judge(
    candidates: &[PublishCandidate],
    names: &[StageName],
    allowed: Allowed,
) -> (Vec<NewVersion>, Vec<String>) {
    let (mut versions, mut problems) = (Vec::new(), Vec::new());
    for candidate in candidates.iter().filter(|candidate| !candidate.is_published) {
        let changes = match &candidate.before {
            Some(before) => stage_change::compare(before, &candidate.packed.entry),
            None => Vec::new(),
        };
        problems.extend(incomplete(candidate).filter(|_| !allowed.incomplete));
        problems.extend(similar(candidate, names).filter(|_| !allowed.similar));
        problems.extend(breaking(candidate, &changes).filter(|_| !allowed.breaking));
        versions.push(new_version(candidate, changes));
    }
    (versions, problems)
}

impl Publication {
    /// Returns whether a version before differs from one of these in what projects see.
    pub fn has_changes(&self) -> bool {
        self.versions.iter().any(|version| version.before.is_some())
    }

    /// Returns which versions are signed by another key than the ones before, or no more, a sentence each.
    pub fn publisher_changes(&self) -> &[String] {
        &self.publisher_changes
    }

    /// Builds the versions that are new as strangers would, and runs their tests in QEMU; `config` is what a project would set.
    ///
    /// # Errors
    /// When a version cannot be built. Tests that fail are in the reports.
    pub async fn test(&self, session: &Session, config: &[String]) -> Result<TestReports, Error> {
        let registry = match &self.destination {
            PublishDestination::Folder(folder) => {
                let there = folder.join(CONFIG).is_file().then(|| folder.canonicalize().ok()).flatten();
                there.and_then(|folder| url::Url::from_file_path(folder).ok()).map(String::from)
            }
            other => Some(other.to_string()),
        };
        publish_trial::run(session, &self.candidates, registry, config).await
    }

    /// Adds the versions to the registry.
    ///
    /// # Errors
    /// When a version is published with another content, or the registry cannot be written.
    pub async fn write(&mut self, session: &Session) -> Result<Published, Error> {
        if let Some(file) = &self.publisher_key {
            let key = registry_signing::publishers_key(session, file)?;
            let told =
                format!("Signed by {}: tell those who use the stages that this key is yours", key.public());
            session.reporter.note(told);
            for candidate in &mut self.candidates {
                candidate.packed.entry.publisher = key.sign_version(&candidate.packed.entry);
            }
        }
        let signer = match self.destination.signable(self.key.as_deref())? {
            Some(place) => Some(Signer::of(session, place, self.key.as_deref()).await?),
            None => None,
        };
        let names: Vec<_> = self.candidates.iter().map(|stage| stage.packed.package.name.clone()).collect();
        if let Some(signer) = &signer {
            signer.check(&names).await?;
        }
        let change = async {
            let published = self.add(session).await?;
            if let Some(signer) = signer {
                signer.sign(&names).await?;
            }
            Ok(published)
        };
        SiteChange::around(session, &self.destination, &names, change).await
    }

    async fn add(&self, session: &Session) -> Result<Published, Error> {
        match &self.destination {
            PublishDestination::Folder(folder) => {
                let stages: Vec<&PackedStage> = self.candidates.iter().map(|stage| &stage.packed).collect();
                Ok(Published::of(registry_folder::add(&stages, folder)?))
            }
            PublishDestination::Bucket { address, bucket } => {
                let address = address.to_string();
                let registry = BucketRegistry { bucket: bucket.as_ref(), address: &address };
                let (mut published, mut unchanged) = (Vec::new(), Vec::new());
                for PublishCandidate { packed: stage, .. } in &self.candidates {
                    let text = format!("{} {}", stage.package.name, stage.package.version);
                    match registry.publish(stage).await? {
                        true => published.push(text),
                        false => unchanged.push(text),
                    }
                }
                Ok(Published { published, unchanged })
            }
            PublishDestination::Oci(registry) => self.write_oci(session, registry).await,
            PublishDestination::Web { url, .. } => {
                let server = self.destination.server(session, url)?;
                let (mut published, mut unchanged) = (Vec::new(), Vec::new());
                for PublishCandidate { packed: stage, .. } in &self.candidates {
                    let text = format!("{} {}", stage.package.name, stage.package.version);
                    match server.publish(stage.archive.clone(), self.allowed, stage.entry.publisher).await? {
                        true => published.push(text),
                        false => unchanged.push(text),
                    }
                }
                Ok(Published { published, unchanged })
            }
        }
    }

    async fn write_oci(&self, session: &Session, registry: &OciRegistry) -> Result<Published, Error> {
        let is_new = registry.publish(&self.candidates).await?;
        let mut touched: BTreeMap<&StageName, Vec<semver::Version>> = BTreeMap::new();
        let (mut published, mut unchanged) = (Vec::new(), Vec::new());
        for (stage, is_new) in self.candidates.iter().zip(is_new) {
            let (name, version) = (&stage.packed.package.name, &stage.packed.package.version);
            touched.entry(name).or_default().push(version.clone());
            if is_new { &mut published } else { &mut unchanged }.push(format!("{name} {version}"));
        }
        let reader = self.destination.registry(session)?;
        for (name, versions) in touched {
            registry.move_tags(name, &versions, &reader.versions(name).await?).await?;
        }
        Ok(Published { published, unchanged })
    }
}

/// Checks that the stages are published as they are.
///
/// # Errors
/// When one is not published, differs from its published version, or the registry cannot be read.
pub fn check(session: &Session, options: &PublishOptions) -> Result<Published, Error> {
    let registry = PublishDestination::folder(session, &options.registry)?;
    let folders: Vec<PathBuf> = options.folders.iter().map(|folder| session.cwd.join(folder)).collect();
    Ok(Published::of(registry_folder::publish(&folders, &registry, true)?))
}

impl Published {
    fn of(stages: Vec<PublishedStage>) -> Self {
        let (new, unchanged): (Vec<_>, Vec<_>) =
            stages.into_iter().partition(|stage| stage.outcome == Outcome::New);
        let names = |stages: Vec<PublishedStage>| {
            stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect()
        };
        Self { published: names(new), unchanged: names(unchanged) }
    }
}

/// Says that a version is signed by another key than the one before, or no more; `key` is that of the publisher, where they sign, and
/// `None` in it one that will be made.
fn other_publisher(before: &IndexEntry, key: Option<Option<RegistryKey>>) -> Option<String> {
    let old = before.publisher.map(|publisher| publisher.key);
    let new = key.map(|key| key.map_or("a new key".to_owned(), |key| key.to_string()));
    match (old, new) {
        (Some(old), Some(new)) if old.to_string() != new => {
            Some(format!("its publisher's key is {new}, and was {old}"))
        }
        (Some(old), None) => Some(format!("it is not signed, and was signed by {old}")),
        (None, Some(new)) => Some(format!("it is signed by {new}")),
        _ => None,
    }
}

fn new_version(candidate: &PublishCandidate, changes: Vec<StageChange>) -> NewVersion {
    let (breaking, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.breaking);
    let text = |changes: Vec<StageChange>| changes.into_iter().map(|change| change.text).collect();
    NewVersion {
        stage: candidate.packed.package.name.to_string(),
        version: candidate.packed.package.version.to_string(),
        files: candidate.packed.package.files.len(),
        size: candidate.packed.archive.len() as u64,
        before: candidate.before.as_ref().map(|before| before.vers.to_string()),
        breaking: text(breaking),
        changes: text(others),
    }
}

/// Says what a stranger would look for in a stage, and would not find.
fn incomplete(candidate: &PublishCandidate) -> Option<String> {
    let manifest = &candidate.packed.package.manifest;
    let missing = [
        (manifest.license.is_empty(), "`license` in stage.toml"),
        (manifest.description.is_empty(), "`description` in stage.toml"),
        (candidate.packed.package.file(README).is_none(), "README.md"),
    ];
    let missing: Vec<&str> = missing.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "stage `{}` has no {} (--allow-incomplete)",
            candidate.packed.package.name,
            missing.join(", no ")
        )
    })
}

/// Says that the name of a new stage is easily mistaken for another one's.
fn similar(candidate: &PublishCandidate, names: &[StageName]) -> Option<String> {
    let name = &candidate.packed.package.name;
    let other = names
        .iter()
        .find(|other| *other != name && suggest::distance(name.as_str(), other.as_str()) <= SIMILAR);
    other.filter(|_| candidate.is_new_name).map(|other| {
        format!(
            "the new stage `{name}` is easily mistaken for `{other}`, which is another one (--allow-similar)"
        )
    })
}

/// Says that a version may break projects although its number does not say so.
fn breaking(candidate: &PublishCandidate, changes: &[StageChange]) -> Option<String> {
    let before = candidate.before.as_ref()?;
    let after = &candidate.packed.package.version;
    let broken: Vec<&str> =
        changes.iter().filter(|change| change.breaking).map(|change| change.text.as_str()).collect();
    let may = stage_change::may_break(&before.vers, after);
    (!may && !broken.is_empty()).then(|| {
        format!(
            "stage `{}` {after} may break projects that use {}, and its number does not say so: {} (--allow-breaking)",
            candidate.packed.package.name,
            before.vers,
            broken.join("; ")
        )
    })
}

/// Says which files of a stage are not as the last commit has them; nothing where the stage is in no repository.
fn dirty(session: &Session, candidate: &PublishCandidate) -> Option<String> {
    let folder = &candidate.packed.folder;
    let unfit = |unfit: UnfitRepository| {
        session.warn_once(format!("{unfit}; so it is not known whether the stage is committed"));
    };
    let changed = |names: &[&str]| {
        changed_files(folder, names).unwrap_or_else(|error| {
            unfit(error);
            None
        })
    };
    if changed(&[stage::FILE_NAME]).is_none() {
        // It is in no repository, or the last commit has nothing of it.
        let never = is_never_committed(folder).unwrap_or_else(|error| {
            unfit(error);
            false
        });
        let text =
            || format!("stage `{}` was never committed (--allow-dirty)", candidate.packed.package.name);
        return never.then(text);
    }
    let first = |file: &PackageFile| file.path.split('/').next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = candidate.packed.package.files.iter().map(first).collect();
    let mut files: BTreeMap<String, ()> = BTreeMap::new();
    for name in &names {
        match changed(&[name]) {
            Some(changed) => files.extend(changed.into_iter().map(|path| (path.display().to_string(), ()))),
            // The commit does not have it.
            None => drop(files.insert(name.clone(), ())),
        }
    }
    // What is left out of the archive does not count.
    let packed = |path: &str| candidate.packed.package.has(path) || !folder.join(path).exists();
    let files: Vec<&str> = files.keys().map(String::as_str).filter(|path| packed(path)).collect();
    (!files.is_empty()).then(|| {
        let list = suggest::list(files.iter().copied());
        format!("stage `{}` is not committed as it is: {list} (--allow-dirty)", candidate.packed.package.name)
    })
}
