//! From the manifest and the lock to one version of each stage, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_plan::credential::Credentials;
use pib_plan::id::{INIT, StageName};
use pib_plan::index::{MemoryIndex, SourceId};
use pib_plan::lockfile::{LockedStage, Lockfile};
use pib_plan::manifest::project::{Build, Doubt, ProjectManifest, RequestSource, StageRequest};
use pib_plan::moment::Moment;
use pib_plan::order::BuildOrder;
use pib_plan::resolve::{
    self, Facts, Prefetch, Resolution, ResolveError, ResolveRequest, ResolvedStage, Root, Update,
};

use super::{lock_rules, sort, vendored};
use crate::project::consent::ProjectPermission;
use crate::project::reach::Reach;
use crate::project::{
    Error, LockMode, Project, Session, blocking, cache_lock, locate, reach, slow, user_config,
};
use crate::source::vendor_folder::Vendor;
use crate::source::{self, Package, SourceError, Sources};
use pib_event::Reporter;

/// How many stages are asked for, or fetched, at once.
const AT_ONCE: usize = 32;
/// How long all questions about where stages come from may take together, whatever the servers do.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The resolved and ordered stages of a project.
pub(crate) struct Resolved {
    /// The project, or one of its targets.
    pub(crate) project: Project,
    /// The choices, by name.
    pub(crate) resolution: Resolution,
    /// The stages, in build order.
    pub(crate) order: BuildOrder,
    /// The lock that says so; its bases are those of the lock before.
    pub(crate) lock: Lockfile,
    /// Where the stages come from.
    sources: Sources,
    /// The lock before; empty where there was none.
    before: Lockfile,
    /// The folder of the cache.
    cache_root: PathBuf,
    /// Is told of what takes long.
    reporter: Arc<dyn Reporter>,
    /// Keeps what is used in the cache.
    _cache: Option<File>,
}

/// What may move in a resolution, and what it uses beside the manifest and the lock.
#[derive(Clone, Default)]
pub(crate) struct Moves {
    /// Which stages may get another version than the lock has.
    pub(crate) update: Update,
    /// What git stages move to.
    pub(crate) pins: BTreeMap<StageName, String>,
    /// The stages of which another content is taken for a version or tag that is locked.
    pub(crate) republished: Vec<StageName>,
    /// Whether the packages that parts install may move.
    pub(crate) packages: bool,
    /// The stages that the project holds itself.
    pub(crate) vendor: Option<Vendor>,
}

/// Resolves and orders the project's stages; what the lock holds stays where it fits.
///
/// # Errors
/// When no versions fit together, the order has a cycle, an index cannot be read, or `mode` forbids what is
/// needed.
pub(crate) async fn resolve(session: &Session, project: Project, mode: LockMode) -> Result<Resolved, Error> {
    let vendor = vendored::open(session, &project)?;
    resolve_moving(session, project, mode, Moves { vendor, ..Moves::default() }).await
}

/// Resolves and orders the project's stages, some of which may move.
///
/// # Errors
/// As [`resolve`].
pub(crate) async fn resolve_moving(
    session: &Session,
    project: Project,
    mode: LockMode,
    moves: Moves,
) -> Result<Resolved, Error> {
    let held = cache_lock::hold(session).await;
    let before = lock_rules::kept(&project, &moves.update, moves.packages);
    let sources = sources(session, &project.dir, &project.manifest, mode)?.locked(&before.stages);
    let sources = sources.vendored(moves.vendor).pinned(moves.pins);
    let request = request(&project, moves.update)?;
    let reporter = session.reporter.clone();
    let mut chosen = choose(&*reporter, &project, &sources, &request).await;
    let is_settled = match &chosen {
        Ok(found) => is_locked(found, &before),
        // A stage that is not what was promised is not made good by another answer.
        Err(error) => !error.is_unresolved(),
    };
    // What is kept of an index, or vendored, does for what the lock holds. Anything else is decided on what there is.
    if sources.assumed() && !is_settled {
        chosen = choose(&*reporter, &project, &sources.fresh(), &request).await;
    }
    let resolution = chosen?;
    resolution.stages.iter().try_for_each(source::check_signature)?;
    let is_accepted = |stage: &&ResolvedStage| moves.republished.contains(&stage.name);
    for stage in resolution.stages.iter().filter(|stage| !is_accepted(stage)) {
        // Also where nothing is fetched, and of what may move: else a lock that is written anew would take the change.
        // What a target holds is a promise to the others, too.
        let mut locked = project.locked_stages().filter(|locked| locked.name == stage.name);
        locked.try_for_each(|locked| source::check_locked(stage, locked))?;
    }
    if request.update == Update::None {
        warn_of_unused_patches(session, &project, &resolution);
    }
    check_fitness(session, &project.manifest, &resolution)?;
    let order = sort::sort(session, &project, &resolution)?;
    if !moves.packages {
        lock_rules::check_pair(&project)?;
    }
    let lock = lock_rules::with_options(before.with_stages(&resolution), session, &project);
    if mode.locked {
        lock_rules::unchanged(&project, &lock)?;
    }
    let cache_root = session.cache.clone();
    Ok(Resolved { project, resolution, order, lock, sources, before, cache_root, reporter, _cache: held })
}

async fn choose(
    reporter: &dyn Reporter,
    project: &Project,
    sources: &Sources,
    request: &ResolveRequest,
) -> Result<Resolution, Error> {
    let title = "Asking where the stages come from";
    let index = slow::shown(reporter, "index", title, prefetch(project, sources, request)).await?;
    // It may take long, and is stopped where nobody waits any more.
    let request = request.clone();
    let solve = blocking::run(move |stopped| {
        resolve::resolve_unless(&request, &index, &|| stopped.load(Ordering::Relaxed))
    });
    let title = "Choosing versions";
    let chosen = slow::shown(reporter, "versions", title, solve).await?;
    chosen.map_err(|error| locate::resolution(project, error))
}

/// A patch that changes nothing is most likely one for a name that was mistyped, or for a stage that is gone.
fn warn_of_unused_patches(session: &Session, project: &Project, resolution: &Resolution) {
    use pib_event::ReporterExt as _;
    if project.target_names().next().is_some() {
        return; // It may be meant for another target.
    }
    for patch in project.manifest.patch.iter().filter(|patch| resolution.get(&patch.name).is_none()) {
        let known = resolution.stages.iter().map(|stage| stage.name.as_str());
        let help = match pib_plan::suggest::nearest(patch.name.as_str(), known) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "Remove it, or add a stage that needs it.".to_owned(),
        };
        let message =
            format!("[patch] has `{}`, but no stage of this build is called so. {help}", patch.name);
        session.reporter.warn(message);
    }
}

/// Judges whether the bundled stages can make what the project asks for, before anything is fetched or built.
fn check_fitness(
    session: &Session,
    manifest: &ProjectManifest,
    resolution: &Resolution,
) -> Result<(), Error> {
    use pib_event::ReporterExt as _;
    let stages: Vec<StageName> = resolution.stages.iter().map(|stage| stage.name.clone()).collect();
    let os = resolution.stages.iter().find(|stage| stage.name.as_str() == "os");
    let bundled_os = os.is_some_and(|os| os.source == SourceId::bundled());
    match manifest.check_fitness(&Build { stages: &stages, bundled_os }) {
        Ok(doubts) => doubts.into_iter().for_each(|Doubt(doubt)| session.reporter.warn(doubt)),
        Err(mut errors) => match errors.pop() {
            Some(only) if errors.is_empty() => return Err(only.into()),
            last => return Err(Error::Manifests(errors.into_iter().chain(last).collect())),
        },
    }
    Ok(())
}

/// Returns whether all that comes from a registry is what the lock holds.
fn is_locked(resolution: &Resolution, lock: &Lockfile) -> bool {
    let held = |stage: &ResolvedStage| {
        let locked = lock.stage(&stage.name);
        locked.is_some_and(|locked| (&locked.version, &locked.source) == (&stage.version, &stage.source))
    };
    resolution.stages.iter().filter(|stage| matches!(stage.source, SourceId::Registry(_))).all(held)
}

/// Returns the places that the project's stages may come from.
///
/// # Errors
/// When one of these is outside of the project's folder and the user has not allowed that, or the user's own config cannot
/// be used.
pub(crate) fn sources(
    session: &Session,
    dir: &Path,
    manifest: &ProjectManifest,
    mode: LockMode,
) -> Result<Sources, Error> {
    if !session.consent.asks_nothing(dir)? {
        let asked = reach::of_manifest(dir, manifest);
        let own = match asked.iter().any(Reach::is_elsewhere) {
            true => reach::named_by_user(&user_config::load(session)?, &asked),
            false => BTreeSet::new(),
        };
        session.consent.check(dir, asked.difference(&own).cloned())?;
    }
    let permission = Arc::new(ProjectPermission::new(&session.consent, dir));
    let sources = Sources::new(&session.cache, dir, manifest.registries.clone())
        .offline(mode.offline)
        .keys(user_config::registry_keys(session, manifest)?)
        .access(session.object_access())
        .git(session.git.clone().permitted_by(permission));
    // Without the network, no token goes anywhere.
    let credentials = match mode.offline {
        true => Credentials::default(),
        false => user_config::credentials(session, &manifest.registries)?,
    };
    let private = manifest.registries.values().filter(|index| credentials.for_registry(index).is_some());
    session.consent.check(dir, private.cloned().map(Reach::Token))?;
    Ok(sources.credentials(credentials))
}

impl Resolved {
    /// Fetches the packages of all stages, checks them against the lock, and returns them in build order.
    pub(crate) async fn packages(&self) -> Result<Vec<Package>, Error> {
        let fetched = self.stages().map(async |stage| {
            let package = self.sources.fetch(stage, self.before.stage(&stage.name)).await?;
            if package.root.starts_with(&self.cache_root) {
                cache_lock::used(&package.root);
            }
            Ok(package)
        });
        let title = format!("Fetching {} stages", self.order.names().len());
        let fetched = stream::iter(fetched).buffered(AT_ONCE).try_collect();
        slow::shown(&*self.reporter, "stages", title, fetched).await
    }

    /// Returns the package of the init stage, checked against the lock; one that is not here is only fetched where it
    /// `may_fetch`.
    pub(crate) async fn init(&self, may_fetch: bool) -> Result<Option<Package>, Error> {
        let Some(stage) = self.resolution.stages.iter().find(|stage| stage.name.as_str() == INIT) else {
            return Ok(None);
        };
        let here = (!may_fetch).then(|| self.sources.clone().offline(true));
        let sources = here.as_ref().unwrap_or(&self.sources);
        Ok(Some(sources.fetch(stage, self.before.stage(&stage.name)).await?))
    }

    /// Returns what the lock says of the init stage.
    pub(crate) fn lock_of_init(&self) -> Option<&LockedStage> {
        init_in(&self.lock)
    }

    /// Returns whether the lock's file has the init stage that was chosen.
    pub(crate) fn keeps_init(&self) -> bool {
        let now = self.lock_of_init();
        now.is_some() && self.project.lock.as_ref().and_then(init_in) == now
    }

    /// Returns the stages, in build order.
    pub(crate) fn stages(&self) -> impl Iterator<Item = &ResolvedStage> {
        self.order.names().iter().filter_map(|name| self.resolution.get(name))
    }

    /// Returns where the stages come from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Has the lock take what archives had at a moment, for the base and for what parts fetch.
    pub(crate) fn begin_as_of(&mut self, moment: Moment) {
        if self.lock.as_of == Some(moment) {
            return;
        }
        let snapshot = self.project.is_recorded().then_some(moment);
        let lock = std::mem::take(&mut self.lock);
        self.lock = Lockfile { as_of: Some(moment), snapshot, fetch: None, ..lock };
        self.drop_bases();
    }

    /// Has the lock take what archives have now for bases; where parts are recorded, they stay at their moment.
    pub(crate) fn end_as_of(&mut self) {
        self.drop_bases();
        if !self.project.is_recorded() {
            self.lock.as_of = None;
        }
    }

    /// Takes the bases of the project's target out of the lock.
    fn drop_bases(&mut self) {
        let project = &self.project.manifest.project;
        self.lock.drop_bases(project.arch, &project.os, &project.release);
    }

    /// Writes the lock, where it changed; `mode` may forbid that. Whoever calls this holds the lock on the project.
    ///
    /// # Errors
    /// When the lock would change and must not, or cannot be written.
    pub(crate) fn write_lock(&self, mode: LockMode) -> Result<bool, Error> {
        lock_rules::write_lock(&self.project, &self.lock, mode)
    }

    /// Checks that the lock is the one that the file has. Writes nothing.
    ///
    /// # Errors
    /// When the lock would change.
    pub(crate) fn check_lock(&self) -> Result<(), Error> {
        lock_rules::unchanged(&self.project, &self.lock)
    }
}

fn init_in(lock: &Lockfile) -> Option<&LockedStage> {
    lock.stages.iter().find(|stage| stage.name.as_str() == INIT)
}

/// Returns where a stage of the project, or else of one of its targets, may come from: the first of these that has it.
pub(crate) fn places(project: &Project, name: &StageName) -> Result<Vec<SourceId>, Error> {
    let mut unlisted = Vec::new();
    for part in project.with_targets()? {
        let request = request(&part, Update::None)?;
        match request.roots.iter().find(|root| root.name == *name) {
            Some(root) => return Ok(request.places_of(name, Some(root))),
            None if unlisted.is_empty() => unlisted = request.places_of(name, None),
            None => {}
        }
    }
    Ok(unlisted)
}

fn request(project: &Project, update: Update) -> Result<ResolveRequest, Error> {
    let manifest = &project.manifest;
    let roots = manifest.stages.iter().map(|stage| root(manifest, stage)).collect::<Result<_, _>>()?;
    let mut patches = BTreeMap::new();
    for patch in &manifest.patch {
        if let Some(source) = root(manifest, patch)?.source {
            patches.insert(patch.name.clone(), source);
        }
    }
    let facts = Facts {
        os: manifest.project.os.clone(),
        arch: manifest.project.arch,
        board: manifest.project.board.clone(),
        pib: own_version(),
    };
    let locked = project.lock.as_ref().map(Lockfile::versions).unwrap_or_default();
    let blame = |error: pib_plan::index::SourceIdError| Error::from(SourceError::from(error));
    let registries = manifest.registries.values().map(|url| SourceId::registry(url).map_err(blame));
    Ok(ResolveRequest {
        roots,
        patches,
        default_source: SourceId::bundled(),
        further_sources: registries.collect::<Result<_, _>>()?,
        facts,
        locked,
        update,
    })
}

/// Returns the version of this pib.
fn own_version() -> semver::Version {
    semver::Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(semver::Version::new(0, 0, 0))
}

fn root(manifest: &ProjectManifest, stage: &StageRequest) -> Result<Root, Error> {
    let blame =
        |message: String| Error::from(manifest.source.error(stage.span.clone(), message, "this stage"));
    let (requirement, source) = match &stage.source {
        RequestSource::Registry { version, registry: None } => (Some(version.clone()), None),
        RequestSource::Registry { version, registry: Some(name) } => {
            let url = manifest.registries.get(name).map(String::as_str).unwrap_or_default();
            let source = SourceId::registry(url).map_err(|error| blame(error.to_string()))?;
            (Some(version.clone()), Some(source))
        }
        RequestSource::Path(path) => {
            (None, Some(SourceId::path(path).map_err(|error| blame(error.to_string()))?))
        }
        RequestSource::Git(git) => (None, Some(git.clone().into())),
    };
    Ok(Root { name: stage.name.clone(), requirement, source })
}

/// Fetches all that the resolver can ask for, so that it need not wait for anything.
///
/// Each answer has its bounds, and so has their number; a server that goes to each of them has a bound on the whole.
async fn prefetch(
    project: &Project,
    sources: &Sources,
    request: &ResolveRequest,
) -> Result<MemoryIndex, Error> {
    match tokio::time::timeout(PATIENCE, prefetch_all(project, sources, request)).await {
        Ok(index) => index,
        Err(_) => Err(SourceError::Slow { minutes: PATIENCE.as_secs() / 60 }.into()),
    }
}

async fn prefetch_all(
    project: &Project,
    sources: &Sources,
    request: &ResolveRequest,
) -> Result<MemoryIndex, Error> {
    let mut index = MemoryIndex::new();
    let mut prefetch = Prefetch::new(request);
    let mut asked = BTreeSet::new();
    loop {
        let wanted = prefetch.take();
        if wanted.is_empty() {
            break;
        }
        sources.read_ahead(&wanted).await;
        let questions = wanted.into_iter().map(async |(name, source)| {
            let file = sources.candidates(&name, &source).await;
            (name, source, file)
        });
        let mut answers = stream::iter(questions).buffered(AT_ONCE);
        while let Some((name, source, file)) = answers.next().await {
            let file = file.map_err(|error| locate::source(project, &name, error))?;
            prefetch
                .answer(&name, &source, &file)
                .map_err(|excess| locate::resolution(project, ResolveError::from(excess)))?;
            asked.insert(source.clone());
            index.insert(name, source, file.versions);
        }
    }
    // Listing a folder takes longer than reading a file of it, so that is done once.
    for source in asked {
        index.suggest(source.clone(), sources.names(&source));
    }
    Ok(index)
}
