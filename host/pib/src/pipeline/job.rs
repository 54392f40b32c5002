//! The work for the engine: one Dockerfile and its context, and having the engine build it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pib_file::Folder;
use pib_plan::assemble::{BaseRef, BuildPlan, Extras, PlannedStage, Rerun};
use pib_plan::id::StageName;
use pib_plan::packages::{self, CacheOwner, PackageCache};
use pib_plan::record::BuildRecord;
use pib_plan::recording::Recording;

use super::based::Based;
use super::edition::Edition;
use super::labels::{KEY_LABEL, LABEL, labels};
use super::recording::{self, Given, RecordedNetwork};
use super::records::Records;
use super::render::Rendered;
use super::shared_cache::{self, SharedCache};
use super::transfer::TransferFile;
use super::{NoCache, StageOptions, Trial, emulators, native};
use crate::bases::StoredBase;
use crate::engine::{Base, BuildRequest, Engine};
use crate::project::{Error, LockMode, Project, Session, files};
use pib_event::ReporterExt as _;

/// A build that an engine can begin: it has what the first stage starts from.
pub(crate) struct Job {
    based: Based,
    engine: Engine,
    plan: BuildPlan,
    /// What the engine calls the result.
    tag: String,
    /// Whose the caches are that its parts mount.
    caches: CacheOwner,
    /// Whether the engine has the result already.
    is_built: bool,
    /// What its parts reach, where that is recorded.
    network: Option<RecordedNetwork>,
    /// What its parts were given before.
    recording: Recording,
    /// The shared cache, where there is one and something is to be built.
    shared: Option<SharedCache>,
    /// The root file system of all stages, where that came from the shared cache and the engine did not get it.
    archive: Option<TransferFile>,
}

/// Stages that an engine has built.
pub(crate) struct Built {
    pub(crate) based: Based,
    pub(crate) engine: Engine,
    pub(crate) plan: BuildPlan,
    /// What the engine calls the result.
    pub(crate) tag: String,
    /// Which of two builds that are compared this is, where it is one.
    pub(crate) trial: Option<Trial>,
    /// Whose the caches are that its parts mounted.
    caches: CacheOwner,
    /// What its parts were given, where that is recorded.
    pub(crate) given: Given,
    /// What its parts reach, where that is recorded.
    pub(super) network: Option<RecordedNetwork>,
    /// The index of the last stage that came from a shared cache.
    pub(crate) pulled: Option<usize>,
    /// The root file system, where that came from a shared cache and the engine does not have it.
    pub(crate) archive: Option<TransferFile>,
}

/// Assembles the stages for an engine, and gives it what the first of them starts from, where it does not have the
/// result already.
///
/// # Errors
/// When the base cannot be made, fetched or loaded.
pub(crate) async fn job(
    session: &Session,
    engine: Engine,
    based: Based,
    options: &StageOptions,
) -> Result<Job, Error> {
    let rendered = &based.rendered;
    let manifest = &rendered.packages.project().manifest;
    let edition = Edition::of(session, &based, options.lock)?;
    let of_edition = edition.as_ref().map(Edition::tag_suffix).unwrap_or_default();
    let suffix = options.trial.map_or("", Trial::suffix);
    let tag = format!("pib/{}:{}{of_edition}{suffix}", manifest.project.name, &based.key().hex()[..16]);
    let is_built = is_built(session, &engine, &based, &tag, options).await?;
    let (mut tools, mut emulation, mut network, mut shared) = (None, None, None, None);
    if !is_built {
        let earlier = record(based.rendered.packages.project());
        shared = shared_cache::open(session, &engine, (&based, &earlier), options).await?;
        let start = shared.as_ref().and_then(SharedCache::start);
        let stored = match start {
            None => based.tarball(session, options).await?,
            Some(_) => None,
        };
        if start.is_none_or(|(last, _)| last < based.rendered.last) {
            emulation =
                emulators::get(session, &engine, manifest, options.emulator, options.lock.offline).await?;
            tools = native_tools(session, &engine, &based, options, emulation.is_some()).await?;
        }
        load_base(session, &engine, &based, stored.as_ref()).await?;
    }
    // What the engine has was given to parts as well, and stands in the project's recording.
    if let Some(edition) = edition.as_ref().filter(|_| !is_built || options.lock == LockMode::default()) {
        network = Some(recording::open(session, &engine, &based, edition, options).await?);
    }
    let start = shared.as_ref().and_then(SharedCache::start);
    let (nonce, owner) = (nonce(), based.rendered.packages.project().cache_owner());
    let (first, packages) = (options.no_cache.from(), PackageCache::of(&manifest.project, &owner));
    // What parts keep in their caches would make the second of two builds another than the first, or like it.
    let caches = if options.trial.is_some() { CacheOwner::new(0, nonce.as_bytes()) } else { owner.clone() };
    let mounts = engine.abilities().mounts;
    let rerun = Rerun { from: first.as_ref(), nonce: &nonce };
    let extras = Extras {
        epoch: based.told_epoch(),
        emulation: emulation.as_ref(),
        native: tools.as_ref(),
        relay: network.as_ref().map(|network| &network.relay),
        // Nobody would ask for what is in it already.
        packages: packages.as_ref().filter(|_| mounts && network.is_none()),
        caches: Some(&caches),
        rerun: Some(rerun).filter(|_| mounts && options.no_cache != NoCache::Nothing),
        prebuilt: start.map(|(last, _)| last),
    };
    let from =
        start.map_or_else(|| based.reference.clone(), |(_, image)| BaseRef::ContainerImage(image.to_owned()));
    let plan = based.assemble(&from, &extras)?;
    let recording = edition.map(|edition| edition.recording).unwrap_or_default();
    let archive = shared.as_mut().and_then(SharedCache::take_archive);
    Ok(Job { based, engine, plan, tag, caches, is_built, network, recording, shared, archive })
}

/// Has the engine run the parts, where it has not, and notes what was built.
///
/// # Errors
/// When a part fails.
pub(crate) async fn run(session: &Session, mut job: Job, options: &StageOptions) -> Result<Built, Error> {
    let is_there = job.is_built || job.archive.is_some();
    let outcome = if is_there { Ok(()) } else { job.run_parts(session, options).await };
    let finish = |network: &RecordedNetwork| network.finish(session, outcome.is_err());
    let given = job.network.as_ref().map(finish).transpose()?;
    if job.network.as_ref().is_some_and(RecordedNetwork::is_spoilt) {
        forget_records(job.based.rendered.packages.project());
    }
    outcome.map_err(|error| match &job.network {
        Some(network) => network.explain(error),
        None => error,
    })?;
    // A part may go on without what it asked for, and would then make something else than it did when that was recorded.
    if let Some(network) = &job.network {
        network.check()?;
    }
    let named = job.based.lock.fetch;
    let earlier = || Given { recording: std::mem::take(&mut job.recording), named, without: Vec::new() };
    let given = given.unwrap_or_else(earlier);
    // Another build would not be given the same, or not make the same of it.
    let is_whole = given.without.is_empty();
    if let Some(mut shared) = job.shared.take() {
        if is_whole {
            let request = job.request(session, options);
            shared.push(session, &job.engine, (&job.based, given.named), &request).await;
        }
        job.shared = Some(shared);
    }
    let Job { based, engine, plan, tag, caches, is_built, network, recording: _, shared, archive } = job;
    let pulled = shared.as_ref().and_then(SharedCache::start).map(|(last, _)| last);
    let built =
        Built { based, engine, plan, tag, trial: options.trial, caches, given, network, pulled, archive };
    if built.trial.is_some() || !is_whole {
        return Ok(built);
    }
    let project = built.based.rendered.packages.project();
    let mut record = record(project);
    record.note(&built.plan, Some(&built.stage().name));
    if !is_built {
        record.note_pulled(&built.plan, built.based.rendered.last + 1, pulled);
    }
    files::replace_text(&project.target.make()?, &record_name(project), &record.to_text())?;
    Ok(built)
}

impl Built {
    /// Returns the folder for what builds leave.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn target(&self) -> Result<Folder, Error> {
        self.based.rendered.packages.project().target.make()
    }

    /// Removes what the engine has of one of two builds that were compared. What it does not remove now goes with the
    /// project's other container images.
    pub(crate) fn leftovers(&self) -> impl Future<Output = ()> + use<> {
        let (engine, tag, prefix) =
            (self.engine.clone(), self.tag.clone(), packages::part_caches(&self.caches));
        async move {
            let _ = engine.remove_image(&tag).await;
            let _ = engine.forget_kept(&prefix).await;
        }
    }

    /// Returns the last stage that was wanted.
    pub(crate) fn stage(&self) -> &PlannedStage {
        &self.plan.stages[self.based.rendered.last]
    }
}

impl Job {
    async fn run_parts(&self, session: &Session, options: &StageOptions) -> Result<(), Error> {
        if self.is_classic_rerun(options) && matches!(options.no_cache, NoCache::From(_)) {
            session
                .reporter
                .warn("this engine's builder cannot start in the middle: every stage is built again");
        }
        let last = self.based.rendered.last;
        self.plan.unpinned(last).into_iter().for_each(|told| session.reporter.warn(told));
        if let Some(merged) = self.plan.merged_text() {
            session.reporter.note(merged);
        }
        let request = self.request(session, options);
        if options.trial.is_some() {
            // What an interrupted one has left would stay without its name.
            let _ = self.engine.remove_image(&self.tag).await;
        }
        let image = self.engine.build(&request, &*session.reporter).await?;
        if options.trial.is_none() {
            Records::new(session).add(self.plan.stages[last].key, &image);
        }
        Ok(())
    }

    /// Returns what the engine is asked for.
    fn request<'a>(&'a self, session: &Session, options: &StageOptions) -> BuildRequest<'a> {
        let rendered = &self.based.rendered;
        let last = &self.plan.stages[rendered.last];
        let named = (&self.plan, self.tag.as_str());
        let mut request = request(session, rendered, named, self.network.as_ref(), options.trial);
        request.labels.insert(KEY_LABEL.to_owned(), last.key.to_string());
        request.target = options.until.is_some().then_some(&last.name);
        request.no_cache = self.is_classic_rerun(options);
        request
    }

    /// Returns whether everything is built again: where instructions can mount something, what is run anew is told by that.
    fn is_classic_rerun(&self, options: &StageOptions) -> bool {
        !self.engine.abilities().mounts && options.no_cache != NoCache::Nothing
    }
}

/// Returns what an engine is asked for to build a plan, and what its instructions reach; `tag` is what the result is called.
pub(super) fn request<'a>(
    session: &Session,
    rendered: &Rendered,
    (plan, tag): (&'a BuildPlan, &'a str),
    network: Option<&RecordedNetwork>,
    trial: Option<Trial>,
) -> BuildRequest<'a> {
    let mut request = BuildRequest::new(plan, tag);
    request.labels = labels(session, &rendered.packages.project().dir, "build");
    request.host_name = trial.and_then(Trial::host_name);
    request.build_args = rendered.build_args.clone();
    request.secrets = rendered.secrets.for_engine(plan);
    request.build_args.extend(network.and_then(RecordedNetwork::build_arg));
    request.socket = network.and_then(RecordedNetwork::socket);
    request.texts = network.map(RecordedNetwork::authority).into_iter().collect();
    request.isolated = network.is_some() && rendered.inputs.iter().all(|stage| stage.recorded);
    request
}

/// Returns whether the engine has the stages' result already.
async fn is_built(
    session: &Session,
    engine: &Engine,
    based: &Based,
    tag: &str,
    options: &StageOptions,
) -> Result<bool, Error> {
    if options.no_cache != NoCache::Nothing {
        return Ok(false);
    }
    let key = based.key().to_string();
    let there = engine.container_image(tag).await?;
    // Any container image can have this tag and label: what counts is the one that this user's pib has built.
    let is_built = there.is_some_and(|image| {
        image.labels.get(KEY_LABEL) == Some(&key) && Records::new(session).holds(based.key(), &image.id)
    });
    if is_built {
        session.reporter.note(format!("{} has built these stages already", engine.info().name));
    }
    Ok(is_built)
}

async fn native_tools(
    session: &Session,
    engine: &Engine,
    based: &Based,
    options: &StageOptions,
    emulated: bool,
) -> Result<Option<pib_plan::native::Native>, Error> {
    let manifest = &based.rendered.packages.project().manifest;
    if !options.wants_native(manifest) {
        return Ok(None);
    }
    let say = |why: &str| session.reporter.warn(format!("native tools are disabled: {why}"));
    native::get(session, engine, manifest, (options.lock.offline, emulated), say).await
}

async fn load_base(
    session: &Session,
    engine: &Engine,
    based: &Based,
    stored: Option<&StoredBase>,
) -> Result<(), Error> {
    let (Some(stored), BaseRef::ContainerImage(tag)) = (stored, &based.reference) else { return Ok(()) };
    let labels = BTreeMap::from([(LABEL.to_owned(), "base".to_owned())]);
    let platform = based.rendered.packages.project().manifest.project.arch.platform();
    let base = Base { rootfs_tar: &stored.path, digest: stored.digest, tag, platform, labels: &labels };
    let image = engine.load_base(&base, &*session.reporter).await?;
    Records::new(session).add_loaded(&image);
    Ok(())
}

/// Returns what no build on this machine had before.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}.{:x}", now.as_nanos(), std::process::id())
}

/// Returns the record of a project's builds.
pub(crate) fn record(project: &Project) -> BuildRecord {
    let text = project.target.open().and_then(|target| files::read_written(&target, &record_name(project)));
    text.map_or_else(BuildRecord::default, |text| BuildRecord::parse(&text))
}

/// Forgets what was built of a project and its targets: the engine's results are not used any more.
fn forget_records(project: &Project) {
    let (Some(target), Ok(all)) = (project.target.open(), project.with_targets()) else { return };
    // One that stays has `pib plan` promise too much, and nothing else.
    all.iter().for_each(|part| _ = target.remove_file(record_name(part)));
}

fn record_name(project: &Project) -> String {
    format!("{}.stages.json", project.manifest.project.file_stem())
}

impl NoCache {
    /// Returns the first stage that is built anew, where that is not the first of all.
    fn from(&self) -> Option<StageName> {
        match self {
            Self::From(name) => name.parse().ok(),
            Self::Nothing | Self::All => None,
        }
    }
}
