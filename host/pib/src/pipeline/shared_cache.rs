//! The shared cache of built stages: where a build can start from the result of somebody else's, and what others get of this one.
//!
//! Which cache is used, the user's own config says, or a project with the user's consent: who may write to it decides what is in
//! images. What came from one cache is not used for another. A stage is looked for by a key that covers all that decides it, the deepest first. Nothing that goes wrong with the cache ends a build:
//! what it does not give is built.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use pib_disk::{KnownRecords, OpenedPack};
use pib_event::ReporterExt as _;
use pib_plan::assemble::{self, BaseRef, Extras};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::manifest::cache_table::CacheWrite;
use pib_plan::record::BuildRecord;
use pib_plan::stage_entry::{PackFile, StageEntry, shared_key};

use super::based::Based;
use super::entry_store::{CacheFault, EntryStore};
use super::labels::{LABEL, PROJECT_LABEL, labels, project_id};
use super::records::Records;
use super::transfer::{TransferFile, folder};
use super::{NoCache, StageOptions};
use crate::engine::{Base, Engine};
use crate::project::reach::Reach;
use crate::project::{Error, LockMode, Project, Session, user_config};

/// The step of taking stages out of the cache, and of adding them to it.
pub(super) const STEP: &str = "cache";
/// How long the cache may take to say what it has.
const ANSWER: Duration = Duration::from_secs(8);
/// How many entries are asked for at the same time.
pub(super) const AT_ONCE: usize = 6;

/// The shared cache, as one build uses it.
pub(crate) struct SharedCache {
    pub(super) store: EntryStore,
    /// Whether this build adds to it.
    pub(super) writes: bool,
    /// What the build starts from, where others have built it.
    pub(super) start: Option<StartingPoint>,
}

/// The result of a stage that the engine has and others have built.
pub(crate) struct StartingPoint {
    /// The stage's index.
    pub(super) last: usize,
    /// What the engine calls its files.
    pub(super) image: String,
    /// What it was put together from, where that was now.
    pub(super) pulled: Option<Pulled>,
}

/// What a stage was put together from: the next ones share its packs.
pub(crate) struct Pulled {
    pub(super) packs: Vec<PackFile>,
    pub(super) known: KnownRecords,
    /// The root file system, where the engine did not get it.
    pub(super) archive: Option<TransferFile>,
}

/// Returns the cache that the user's own config names, else the one that the project names, and whether this run adds to it. Resolving
/// has asked whether the project may use its own.
///
/// # Errors
/// When the config cannot be used.
fn configured(session: &Session, project: Option<&Project>) -> Result<Option<(EntryStore, bool)>, Error> {
    let own = user_config::load(session)?.cache;
    let Some(cache) = own.or_else(|| project?.manifest.cache.clone()) else { return Ok(None) };
    let is_ci = || {
        let value = session.variables.get(std::ffi::OsStr::new("CI"));
        value.is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
    };
    let writes = match cache.write {
        CacheWrite::Never => false,
        CacheWrite::Ci => is_ci(),
        CacheWrite::Always => true,
    };
    Ok(Some((EntryStore::new(session, &cache.location), writes)))
}

/// Returns whether builds of the session's project add what they built to a shared cache, where others find it.
///
/// # Errors
/// When the config cannot be used.
pub(crate) fn is_added_to(session: &Session, mode: LockMode) -> Result<bool, Error> {
    let Ok(project) = Project::load(session) else { return Ok(false) };
    let found = configured(session, Some(&project))?;
    Ok(found.is_some_and(|(store, writes)| writes && !(mode.offline && store.is_remote())))
}

/// Returns what the shared cache is called, and why it cannot be used, where it cannot; `None` where there is none, or the
/// project has one that the user does not allow.
///
/// # Errors
/// When the config cannot be used.
pub(crate) async fn check(
    session: &Session,
    project: Option<&Project>,
) -> Result<Option<(String, Option<String>)>, Error> {
    let project = project.filter(|project| {
        let cache = project.manifest.cache.as_ref();
        let reach = cache.map(|cache| Reach::Cache(cache.location.to_string()));
        session.consent.check(&project.dir, reach).is_ok()
    });
    let Some((store, writes)) = configured(session, project)? else { return Ok(None) };
    let asked = tokio::time::timeout(ANSWER, store.entry(Digest::of(b"pib doctor"))).await;
    let fault = asked.map_or_else(|_| Some(silent()), Result::err);
    // The first build that adds to it makes the folder.
    let fault = fault.or_else(|| if writes { None } else { store.is_there().err() });
    Ok(Some((store.to_string(), fault.map(|fault| fault.to_string()))))
}

/// Opens the cache for a build, and has the engine get the deepest stage that it does not have and the cache has.
///
/// # Errors
/// When the user's config cannot be used, or the engine does not answer.
pub(crate) async fn open(
    session: &Session,
    engine: &Engine,
    (based, record): (&Based, &BuildRecord),
    options: &StageOptions,
) -> Result<Option<SharedCache>, Error> {
    // Two builds that are compared are whole ones. What a container image says beside its files is not in the cache.
    if options.trial.is_some() || !matches!(based.reference, BaseRef::ContainerImage(_)) {
        return Ok(None);
    }
    let project = based.rendered.packages.project();
    let Some((store, writes)) = configured(session, Some(project))? else { return Ok(None) };
    if options.lock.offline && store.is_remote() {
        return Ok(None);
    }
    if !engine.abilities().losses.is_empty() {
        session
            .reporter
            .note("The shared cache is not used: this engine does not keep all that a system has");
        return Ok(None);
    }
    let mut cache = SharedCache { store, writes, start: None };
    if options.no_cache == NoCache::Nothing {
        cache.find(session, engine, (based, record), options).await?;
    }
    Ok(Some(cache))
}

impl SharedCache {
    /// Returns the index of the last stage that the engine has and others have built, and what the engine calls its files.
    pub(crate) fn start(&self) -> Option<(usize, &str)> {
        self.start.as_ref().map(|start| (start.last, start.image.as_str()))
    }

    /// Returns the root file system of all stages, where the cache had it and the engine did not get it.
    pub(crate) fn take_archive(&mut self) -> Option<TransferFile> {
        self.start.as_mut()?.pulled.as_mut()?.archive.take()
    }

    /// Finds what the build can start from.
    async fn find(
        &mut self,
        session: &Session,
        engine: &Engine,
        (based, record): (&Based, &BuildRecord),
        options: &StageOptions,
    ) -> Result<(), Error> {
        let usable = assemble::starting_points(&based.rendered.inputs);
        let points = (0..=based.rendered.last).rev().filter(|point| usable[*point]);
        let points: Vec<(usize, Digest)> =
            points.map(|point| (point, shared_key(&based.keys[point], based.lock.fetch.as_ref()))).collect();
        self.start = self.loaded(session, engine, &points).await?;
        let built = built_here(engine, based, record).await?;
        let known = self.start.as_ref().map(|start| start.last).max(built);
        let mut deeper: Vec<_> = points.into_iter().filter(|(point, _)| Some(*point) > known).collect();
        while !deeper.is_empty() {
            let fault = match self.deepest(&deeper).await {
                Ok(None) => return Ok(()),
                Ok(Some((at, entry))) => {
                    match self.pull(session, engine, based, (at, &entry, options.image_only)).await {
                        Ok(start) => {
                            self.start = Some(start);
                            return Ok(());
                        }
                        Err(fault @ CacheFault::Wrong(_)) => {
                            // What comes before it may be right.
                            deeper.retain(|(point, _)| *point < at);
                            fault
                        }
                        Err(fault) => {
                            deeper.clear();
                            fault
                        }
                    }
                }
                Err(fault) => {
                    deeper.clear();
                    fault
                }
            };
            self.warn(session, &fault);
        }
        Ok(())
    }

    /// Returns the first of these stages that an earlier build took out of the cache and the engine still has.
    async fn loaded(
        &self,
        session: &Session,
        engine: &Engine,
        points: &[(usize, Digest)],
    ) -> Result<Option<StartingPoint>, Error> {
        let (records, place) = (Records::new(session), self.store.to_string());
        for (last, key) in points {
            let loaded = loaded_key(&place, key);
            let image = image_name(&loaded);
            let there = engine.container_image(&image).await?;
            // Any container image can have this name: what counts is the one that this user's pib has loaded.
            if there.is_some_and(|there| records.holds(loaded, &there.id)) {
                return Ok(Some(StartingPoint { last: *last, image, pulled: None }));
            }
        }
        Ok(None)
    }

    /// Says once what is wrong with the cache. One that cannot be used is not written to either.
    pub(super) fn warn(&mut self, session: &Session, fault: &CacheFault) {
        if !matches!(fault, CacheFault::Wrong(_)) {
            self.writes = false;
        }
        session.warn_once(format!("{fault} ({}); stages that it does not give are built", self.store));
    }

    /// Returns the first of these stages that the cache has an entry for. What has something wrong there counts as absent.
    async fn deepest(
        &mut self,
        points: &[(usize, Digest)],
    ) -> Result<Option<(usize, StageEntry)>, CacheFault> {
        let store = &self.store;
        let asked = points.iter().map(async |(point, key)| (*point, store.entry(*key).await));
        let mut asked = std::pin::pin!(stream::iter(asked).buffered(AT_ONCE));
        let first = async {
            let mut wrong = None;
            while let Some((point, found)) = asked.next().await {
                match found {
                    Ok(Some(entry)) => return Ok(Some((point, entry))),
                    Ok(None) => {}
                    Err(fault @ CacheFault::Wrong(_)) => wrong = Some(fault),
                    Err(fault) => return Err(fault),
                }
            }
            wrong.map_or(Ok(None), Err)
        };
        tokio::time::timeout(ANSWER, first).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Has the engine get what an entry names.
    async fn pull(
        &self,
        session: &Session,
        engine: &Engine,
        based: &Based,
        (last, entry, image_only): (usize, &StageEntry, bool),
    ) -> Result<StartingPoint, CacheFault> {
        let reporter = &session.reporter;
        let name = &based.rendered.inputs[last].name;
        reporter.started(STEP, format!("Taking the stages up to {name} out of the shared cache"));
        // Of the whole system, an image is made without the engine.
        let keeps = image_only && last == based.rendered.last;
        let pulled = self.pull_files(session, engine, based, (entry, keeps)).await;
        match &pulled {
            Ok(_) => {
                reporter.finished(STEP, false);
                let size = pib_plan::size::rounded(entry.size());
                reporter.note(format!(
                    "The stages up to {name} come from the shared cache {} ({size})",
                    self.store
                ));
            }
            Err(_) => reporter.failed(STEP),
        }
        let pulled = pulled?;
        let image = image_name(&loaded_key(&self.store.to_string(), &entry.key));
        Ok(StartingPoint { last, image, pulled: Some(pulled) })
    }

    async fn pull_files(
        &self,
        session: &Session,
        engine: &Engine,
        based: &Based,
        (entry, keeps): (&StageEntry, bool),
    ) -> Result<Pulled, CacheFault> {
        let folder = folder(session)?;
        let (mut files, mut done) = (Vec::with_capacity(entry.packs.len()), 0);
        for pack in &entry.packs {
            let mut file = folder.unnamed()?;
            self.store.fetch(pack, &mut file).await?;
            done += pack.size;
            session.reporter.progress(STEP, done, Some(entry.size()));
            files.push(file);
        }
        let (wanted, packs) = (entry.rootfs, entry.packs.clone());
        let writes = self.writes;
        let join = move || {
            let wrong = |error: std::io::Error| CacheFault::Wrong(error.to_string());
            let opened = packs.iter().zip(files).map(|(pack, mut file)| {
                use std::io::Seek as _;
                file.rewind()?;
                OpenedPack::open(file, pack.length, folder.unnamed()?).map_err(wrong)
            });
            let opened = opened.collect::<Result<Vec<_>, CacheFault>>()?;
            let archive = TransferFile::new(&folder)?;
            let joined = pib_disk::join(&opened, wanted.size, archive.as_file()).map_err(wrong)?;
            if (joined.digest, joined.size) != (wanted.digest, wanted.size) {
                return Err(CacheFault::Wrong("the packs do not make what their entry says".to_owned()));
            }
            let known = match writes {
                true => KnownRecords::of(&opened, archive.as_file()).map_err(wrong)?,
                false => KnownRecords::default(),
            };
            Ok((archive, known))
        };
        let joined = tokio::task::spawn_blocking(join).await;
        let (archive, known) = joined.map_err(std::io::Error::other)??;
        let packs = entry.packs.clone();
        if keeps {
            return Ok(Pulled { packs, known, archive: Some(archive) });
        }
        let project = based.rendered.packages.project();
        let mut labels: BTreeMap<_, _> = labels(session, &project.dir, "stages");
        labels.insert(LABEL.to_owned(), "stages".to_owned());
        let key = loaded_key(&self.store.to_string(), &entry.key);
        let base = Base {
            rootfs_tar: archive.path(),
            digest: wanted.digest,
            tag: &image_name(&key),
            platform: project.manifest.project.arch.platform(),
            labels: &labels,
        };
        let loaded = engine.load_base(&base, &*session.reporter).await;
        let image = loaded.map_err(|error| CacheFault::Wrong(error.to_string()))?;
        Records::new(session).add(key, &image);
        Ok(Pulled { packs, known, archive: None })
    }
}

fn silent() -> CacheFault {
    CacheFault::Unusable(format!("it did not answer within {} seconds", ANSWER.as_secs()))
}

/// Returns the key by which this user's pib knows which container image it has loaded for an entry of the cache at `place`.
fn loaded_key(place: &str, key: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib loaded stage 1");
    hasher.field(place).field(key.as_bytes());
    hasher.finish()
}

/// Returns what the engine calls these files.
fn image_name(loaded: &Digest) -> String {
    format!("pib-stages:{}", &loaded.hex()[..16])
}

/// Returns the deepest stage that builds of this project have built themselves, where the engine has something of these.
async fn built_here(engine: &Engine, based: &Based, record: &BuildRecord) -> Result<Option<usize>, Error> {
    let plan = based.assemble(&based.reference, &Extras::default())?;
    let built = plan.stages.iter().take(based.rendered.last + 1).rposition(|stage| record.has_run(stage));
    if built.is_none() {
        return Ok(None);
    }
    let label = format!("{PROJECT_LABEL}={}", project_id(&based.rendered.packages.project().dir));
    let images = engine.container_images(&label).await?;
    let has_some = images.iter().any(|image| image.labels.get(LABEL).is_some_and(|what| what == "build"));
    Ok(built.filter(|_| has_some))
}
