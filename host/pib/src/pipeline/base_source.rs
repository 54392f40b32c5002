//! The base of a build: which one, and getting it.

use std::collections::BTreeMap;

use pib_debian::{Folders, has_packages};
use pib_plan::assemble::{BuildPlan, ContextFile, FileSource, PlannedStage};
use pib_plan::base::{BaseSource, Bootstrap, Location, WantedBase};
use pib_plan::emulation::Emulation;
use pib_plan::id::{Arch, Digest, KeyHasher};
use pib_plan::lockfile::LockedBase;
use pib_plan::manifest::project::{BaseRequest, Project, ProjectManifest};
use pib_plan::manifest::stage::{self, BaseRecipe, StageManifest};
use pib_plan::mode::Mode;
use pib_plan::native::Native;
use pib_plan::record::Ingredients;
use pib_plan::signed_tarball::{LockedTarball, SignedTarball};
use pib_plan::snapshot::BaseSnapshot;
use pib_plan::suggest;

use super::labels::LABEL;
use super::mirrors::host_apt;
use super::options::ToolOptions;
use super::{connection, emulators, native, stores};
use crate::bases::{self, BaseCache, BaseError, CacheLock, StoredBase};
use crate::engine::{BuildRequest, Engine};
use crate::project::{Error, LockMode, Session, blocking, cache_lock, files};
use crate::source::Package;
use pib_event::ReporterExt as _;
use pib_recorder::RemoteStore;

/// Returns where the project's base comes from: its own `[base]`, or what its init stage asks for.
pub(crate) fn source(
    manifest: &ProjectManifest,
    dir: &std::path::Path,
    init: &Package,
) -> Result<BaseSource, Error> {
    if let Some(own) = own_source(manifest, dir) {
        return own;
    }
    let project = &manifest.project;
    let recipe = recipe(&init.manifest, manifest)?;
    if recipe.bootstrap == stage::Bootstrap::Tarball {
        return signed(init, recipe, project);
    }
    let archives = recipe.archives(&project.release, project.arch);
    if archives.is_empty() && recipe.names_archives() {
        let (name, version, os, arch) = (&init.name, &init.manifest.version, &project.os, project.arch);
        return Err(Error::Stage {
            message: format!("stage `{name}` {version} names no archives of {os} for {arch}"),
            help: Some("Choose another arch, or give the project a [base] of its own.".to_owned()),
        });
    }
    Ok(BaseSource::Bootstrap(Bootstrap {
        os: project.os.clone(),
        release: project.release.clone(),
        arch: project.arch,
        mirror: project.mirror.clone(),
        security_mirror: project.security_mirror.clone(),
        include: recipe.include.clone(),
        archives,
    }))
}

/// Returns the signed tarball of a project.
fn signed(init: &Package, recipe: &BaseRecipe, project: &Project) -> Result<BaseSource, Error> {
    let (os, arch) = (&project.os, project.arch);
    let found = recipe.tarball((os, &project.release), arch);
    found.map(BaseSource::Signed).ok_or_else(|| Error::Stage {
        message: format!(
            "stage `{}` {} names no tarball of {os} for {arch}",
            init.name, init.manifest.version
        ),
        help: Some("Choose another arch, or give the project a [base] of its own.".to_owned()),
    })
}

/// Returns where the project's base comes from, where the manifest says that.
pub(super) fn own_source(
    manifest: &ProjectManifest,
    dir: &std::path::Path,
) -> Option<Result<BaseSource, Error>> {
    Some(match manifest.base.as_ref()? {
        BaseRequest::Url { url, digest } => match url.parse() {
            Ok(url) => Ok(BaseSource::Tarball { location: Location::Url(url), digest: *digest }),
            Err(error) => Err(Error::Stage {
                message: format!("the base's address `{url}` is not a URL: {error}"),
                help: None,
            }),
        },
        BaseRequest::Path { path, digest } => {
            Ok(BaseSource::Tarball { location: Location::Path(dir.join(path)), digest: *digest })
        }
        BaseRequest::Image(reference) => Ok(BaseSource::ContainerImage { reference: reference.clone() }),
    })
}

fn recipe<'a>(init: &'a StageManifest, manifest: &ProjectManifest) -> Result<&'a BaseRecipe, Error> {
    let Project { os, release, places, .. } = &manifest.project;
    let Some(recipe) = init.base.get(os) else {
        return Err(Error::Stage {
            message: format!(
                "stage `{}` {} does not say how to make a base of {os}",
                init.name, init.version
            ),
            help: Some("Give the project a [base] with a tarball or a container image.".to_owned()),
        });
    };
    if recipe.releases.is_empty() || recipe.releases.iter().any(|known| known == release) {
        return Ok(recipe);
    }
    let known = || recipe.releases.iter().map(String::as_str);
    let help = match suggest::nearest(release, known()) {
        Some(near) => format!("Did you mean `{near}`? It supports {}.", suggest::list(known())),
        None => format!("It supports {}.", suggest::list(known())),
    };
    let message = format!("stage `{}` {} does not support {os} {release}", init.name, init.version);
    Err(manifest.source.error(places.release.clone(), message, "this release").with_help(help).into())
}

/// Returns the name of the base in the engine; the digest in it is what makes the name trustworthy.
pub(crate) fn tag(manifest: &ProjectManifest, digest: Option<&Digest>) -> String {
    let project = &manifest.project;
    let start = format!("pib-base:{}-{}-{}", project.os, project.release, project.arch);
    match digest {
        Some(digest) => format!("{start}-{}", &digest.hex()[..16]),
        None => start,
    }
}

/// Returns the base, from the cache where it is there, else by making or fetching it.
///
/// Where the lock holds a base, the result is that one or an error.
pub(crate) async fn ensure(
    session: &Session,
    mode: LockMode,
    source: &BaseSource,
    locked: Option<&LockedBase>,
    (dir, manifest): (&std::path::Path, &ProjectManifest),
    options: ToolOptions,
) -> Result<StoredBase, Error> {
    let cache = BaseCache::new(&session.cache);
    if let Some(found) = find(&cache, source, locked) {
        cache_lock::used(&found.path);
        return Ok(found);
    }
    if let (BaseSource::Bootstrap(_), Some(snapshot)) = (source, snapshot(locked)) {
        let places = stores::places(session, dir, manifest)?;
        stores::fill(session, mode, &places, &cache.debs(), snapshot).await?;
    }
    if mode.offline && !is_here(&cache, source, locked) {
        return Err(Error::BaseOffline);
    }
    let tools = match source {
        // Minutes of downloads are not spent before it is known that the engine can finish the work.
        BaseSource::Bootstrap(_) => Some(tools(session, manifest, options, mode.offline).await?),
        _ => None,
    };
    let reporter = session.reporter.clone();
    reporter.started(bases::STEP, "Making the base");
    let lock = base_lock(&cache, session).await?;
    // Another pib may have made it while this one waited.
    let made = match (find(&cache, source, locked), source) {
        (Some(found), _) => found,
        (None, BaseSource::Bootstrap(recipe)) => {
            bootstrap(session, &cache, lock, (recipe, snapshot(locked)), tools.as_ref()).await?
        }
        (None, BaseSource::Signed(wanted)) => match tarball(locked) {
            Some(held) => bases::signed::fetch_locked(&cache, &lock, (wanted, held), &reporter).await?,
            None => bases::signed::fetch(&cache, &lock, wanted, &reporter).await?.base,
        },
        (None, BaseSource::Tarball { location, digest }) => {
            bases::tarball::fetch(&cache, &lock, location, *digest, &reporter).await?
        }
        (None, BaseSource::ContainerImage { reference }) => {
            return Err(Error::Stage {
                message: format!("the base `{reference}` is a container image and has no tarball"),
                help: None,
            });
        }
    };
    reporter.finished(bases::STEP, false);
    match locked {
        Some(locked) => compare(locked, made),
        None => Ok(made),
    }
}

/// Returns the base that was made where it is the one that the lock holds; a lock that does not say its digest yet holds what
/// its packages make.
fn compare(locked: &LockedBase, made: StoredBase) -> Result<StoredBase, Error> {
    let (found, listed) = (made.digest, locked.snapshot.is_some());
    let locked = locked.digest().unwrap_or(found);
    match (found == locked, listed) {
        (true, _) => Ok(made),
        (false, true) => Err(Error::BaseDiffers { locked, found }),
        (false, false) => Err(Error::BaseMoved { locked, found }),
    }
}

/// Returns whether a base that is not in the cache can be made without the network.
fn is_here(cache: &BaseCache, source: &BaseSource, locked: Option<&LockedBase>) -> bool {
    match source {
        BaseSource::Tarball { location, .. } => matches!(location, Location::Path(_)),
        BaseSource::Bootstrap(_) => snapshot(locked).is_some_and(|own| has_packages(&cache.debs(), own)),
        BaseSource::Signed(_) | BaseSource::ContainerImage { .. } => false,
    }
}

/// Returns the tarball that a locked base is.
fn tarball(locked: Option<&LockedBase>) -> Option<&LockedTarball> {
    locked?.tarball.as_ref()
}

/// Returns the packages that a locked base is made of.
fn snapshot(locked: Option<&LockedBase>) -> Option<&BaseSnapshot> {
    locked?.snapshot.as_ref()
}

/// Fetches the packages of a base that the lock names and the cache does not have; returns how many it is made of. None
/// where it is not made of packages: a signed tarball is fetched whole.
pub(crate) async fn fetch_packages(
    session: &Session,
    mode: LockMode,
    places: &[RemoteStore],
    source: &BaseSource,
    locked: Option<&LockedBase>,
) -> Result<Option<usize>, Error> {
    let cache = BaseCache::new(&session.cache);
    if let BaseSource::Signed(wanted) = source
        && find(&cache, source, locked).is_none()
    {
        if mode.offline {
            return Err(Error::BaseOffline);
        }
        let lock = base_lock(&cache, session).await?;
        match tarball(locked) {
            Some(held) => {
                drop(bases::signed::fetch_locked(&cache, &lock, (wanted, held), &session.reporter).await?)
            }
            None => drop(bases::signed::fetch(&cache, &lock, wanted, &session.reporter).await?),
        }
        session.reporter.finished(bases::STEP, false);
    }
    let (BaseSource::Bootstrap(recipe), Some(snapshot)) = (source, snapshot(locked)) else { return Ok(None) };
    if find(&cache, source, locked).is_none() {
        stores::fill(session, mode, places, &cache.debs(), snapshot).await?;
    }
    if find(&cache, source, locked).is_none() && !is_here(&cache, source, locked) {
        if mode.offline {
            return Err(Error::BaseOffline);
        }
        let (debs, host) = (cache.debs(), host_apt(session)?);
        pib_debian::fetch_packages(&debs, recipe, snapshot, &host, &session.reporter).await?;
        session.reporter.finished(bases::STEP, false);
    }
    Ok(Some(snapshot.packages.len()))
}

/// Returns the base, where the cache has it.
pub(super) fn find(
    cache: &BaseCache,
    source: &BaseSource,
    locked: Option<&LockedBase>,
) -> Option<StoredBase> {
    match (locked.and_then(LockedBase::digest), source) {
        (Some(digest), _) => cache.find(digest),
        (None, BaseSource::Bootstrap(recipe)) => match snapshot(locked) {
            Some(packages) => cache.find_made_of(recipe, packages),
            None => cache.find_recipe(recipe),
        },
        (None, BaseSource::Signed(wanted)) => match tarball(locked) {
            Some(held) => bases::signed::find_locked(cache, held),
            None => bases::signed::find(cache, wanted).map(|found| found.base),
        },
        (None, BaseSource::Tarball { digest, .. }) => bases::tarball::find(cache, *digest),
        (None, BaseSource::ContainerImage { .. }) => None,
    }
}

/// Returns what the lock says of a base that is there, and said of it before.
pub(crate) fn locked(
    session: &Session,
    manifest: &ProjectManifest,
    source: &BaseSource,
    stored: &StoredBase,
    before: Option<&LockedBase>,
) -> Result<LockedBase, Error> {
    let wanted = WantedBase { project: &manifest.project, source };
    let snapshot = match source {
        BaseSource::Bootstrap(_) => {
            snapshot(before).cloned().or_else(|| BaseCache::new(&session.cache).snapshot(stored.digest))
        }
        _ => None,
    };
    let signed = match source {
        BaseSource::Signed(wanted) => tarball(before).cloned().or_else(|| fetched(session, wanted, stored)),
        _ => None,
    };
    Ok(LockedBase::new(wanted, stored.digest, newest_file(&stored.path)?, snapshot).with_tarball(signed))
}

/// Returns the tarball that a base was unpacked from, where it was fetched for what is asked for.
fn fetched(session: &Session, wanted: &SignedTarball, stored: &StoredBase) -> Option<LockedTarball> {
    let found = bases::signed::find(&BaseCache::new(&session.cache), wanted)?;
    (found.base == *stored).then_some(found.tarball)
}

/// Fetches the tarball that its owner has at the address now, if it is another than the one that was fetched last.
///
/// # Errors
/// When it cannot be fetched, or its signature does not count.
pub(super) async fn fetch_signed(
    session: &Session,
    mode: LockMode,
    wanted: &SignedTarball,
) -> Result<LockedTarball, Error> {
    if mode.offline {
        return Err(Error::BaseOffline);
    }
    let cache = BaseCache::new(&session.cache);
    let lock = base_lock(&cache, session).await?;
    let found = bases::signed::fetch(&cache, &lock, wanted, &session.reporter).await?;
    session.reporter.finished(bases::STEP, false);
    Ok(found.tarball)
}

/// Waits until no other process makes a base.
async fn base_lock(cache: &BaseCache, session: &Session) -> Result<CacheLock, Error> {
    let (cache, reporter) = (cache.clone(), session.reporter.clone());
    let lock = tokio::task::spawn_blocking(move || cache.lock(&*reporter)).await;
    Ok(lock.map_err(blocking::worker)??)
}

/// Returns the time of the newest file of a base, in seconds since 1970: what the image's times are clamped to.
fn newest_file(tarball: &std::path::Path) -> Result<u64, Error> {
    let fail = |error| Error::io("read the base", tarball, error);
    let mut archive = tar::Archive::new(pib_file::open(tarball).map_err(fail)?);
    let mut newest = 0;
    for entry in archive.entries_with_seek().map_err(fail)? {
        newest = newest.max(entry.and_then(|entry| entry.header().mtime()).map_err(fail)?);
    }
    Ok(newest)
}

/// The engine, and what stands in for the target's processor in it.
struct Tools {
    engine: Engine,
    native: Option<Native>,
    emulation: Option<Emulation>,
}

/// Connects to the engine, and gets emulators, and native tools where they are wanted.
async fn tools(
    session: &Session,
    manifest: &ProjectManifest,
    options: ToolOptions,
    offline: bool,
) -> Result<Tools, Error> {
    let engine = connection::connect(session).await?;
    let emulation = emulators::get(session, &engine, manifest, options.emulator, offline).await?;
    let native = match options.native {
        // Why there are none is told once, by the build that follows.
        true => native::get(session, &engine, manifest, (offline, emulation.is_some()), |_| ()).await?,
        false => None,
    };
    Ok(Tools { engine, native, emulation })
}

/// Runs both parts of a bootstrap: the packages are laid out here, and installed in the engine. They are those of the
/// snapshot, else what the mirrors have now.
async fn bootstrap(
    session: &Session,
    cache: &BaseCache,
    lock: CacheLock,
    (recipe, snapshot): (&Bootstrap, Option<&BaseSnapshot>),
    tools: Option<&Tools>,
) -> Result<StoredBase, Error> {
    let Some(Tools { engine, native, emulation }) = tools else {
        return Err(Error::Stage { message: "a bootstrap needs a container engine".to_owned(), help: None });
    };
    let host = host_apt(session)?;
    let (debs, temp) = (cache.debs(), cache.work_folder(&lock));
    let folders = Folders { debs: &debs, temp: &temp };
    let prepared = match snapshot {
        Some(snapshot) => {
            pib_debian::bootstrap_again(folders, recipe, snapshot, &host, &session.reporter).await?
        }
        None => pib_debian::bootstrap(folders, recipe, &host, &session.reporter).await?,
    };
    let plan = first_plan(&prepared, recipe.arch, prepared.dockerfile(native.as_ref(), emulation.as_ref()))?;
    let tag = format!("pib-bootstrap:{}", &plan.key.hex()[..16]);
    let mut request = BuildRequest::new(&plan, &tag);
    request.labels = BTreeMap::from([(LABEL.to_owned(), "bootstrap".to_owned())]);
    engine.build(&request, &*session.reporter).await?;
    let tree = engine.export(&tag).await?;
    let fault = tree.fault();
    // What a lock names may be a stranger's choice, and is no other project's base.
    let is_own = snapshot.is_none_or(|packages| cache.is_chosen(recipe, packages));
    let (cache, recipe, made_of) = (cache.clone(), recipe.clone(), prepared.snapshot.clone());
    let store = move |tree: blocking::Stoppable<_>| cache.store(&lock, tree, &made_of, &recipe, is_own);
    let stored = blocking::read(tree, store).await;
    // The container image has served; what builds start from is loaded from the stored tarball.
    let removed = engine.remove_image(&tag).await;
    let stored = stored?.map_err(|error| fault.take().map_or_else(|| error.into(), Error::from))?;
    removed?;
    Ok(stored)
}

/// Returns the time of the newest file of a container image that a project starts from, in seconds since 1970: what the
/// image's times are clamped to. It is in the lock then.
pub(crate) async fn container_image_epoch(
    session: &Session,
    engine: &Engine,
    reference: &str,
    arch: Arch,
) -> Result<u64, Error> {
    session.reporter.started(bases::STEP, format!("Looking at the base {reference}"));
    let dockerfile = format!("FROM {reference}\n");
    let mut hasher = KeyHasher::new("pib base time 1");
    hasher.field(&dockerfile).field(arch.as_str());
    let plan = one_stage(dockerfile, Vec::new(), hasher.finish(), arch)?;
    let tag = format!("pib-base-time:{}", &plan.key.hex()[..16]);
    let mut request = BuildRequest::new(&plan, &tag);
    request.labels = BTreeMap::from([(LABEL.to_owned(), "base".to_owned())]);
    // A name of pib's own: where the engine keeps what it has pulled for a build differs.
    engine.build(&request, &*session.reporter).await?;
    let newest = newest_exported(engine, &tag).await;
    let removed = engine.remove_image(&tag).await;
    let newest = newest?;
    removed?;
    session.reporter.finished(bases::STEP, false);
    Ok(newest)
}

/// Returns the time of the newest file of a container image that the engine has.
async fn newest_exported(engine: &Engine, tag: &str) -> Result<u64, Error> {
    let tree = engine.export(tag).await?;
    let fault = tree.fault();
    let newest = blocking::read(tree, bases::newest_file).await?;
    newest.map_err(|error| fault.take().map_or_else(|| BaseError::Stream(error).into(), Error::from))
}

/// Returns the plan of the second part of a bootstrap; it is a build of one stage, called `base`.
fn first_plan(prepared: &pib_debian::Prepared, arch: Arch, dockerfile: String) -> Result<BuildPlan, Error> {
    let mut hasher = KeyHasher::new("pib bootstrap 1");
    let mut context = Vec::new();
    hasher.field(&dockerfile);
    for path in prepared.files() {
        let full = prepared.context().join(&path);
        let size = std::fs::metadata(&full).map_err(|error| Error::io("read", &full, error))?.len();
        let digest = files::digest(&full)?;
        hasher.field(digest.as_bytes());
        let path = path.to_string_lossy().into_owned();
        context.push(ContextFile { path, source: FileSource::File(full), digest, size, mode: Mode::FILE });
    }
    one_stage(dockerfile, context, hasher.finish(), arch)
}

/// Returns the plan of a build of one stage, called `base`.
fn one_stage(
    dockerfile: String,
    context: Vec<ContextFile>,
    key: Digest,
    arch: Arch,
) -> Result<BuildPlan, Error> {
    let name =
        "base".parse().map_err(|error: pib_plan::id::NameError| Error::usage(error.to_string(), ""))?;
    let stage = PlannedStage {
        name,
        version: semver::Version::new(0, 0, 0),
        target: "base".to_owned(),
        key,
        form: key,
        ingredients: Ingredients::default(),
        unpinned: vec![],
    };
    Ok(BuildPlan {
        dockerfile,
        context,
        stages: vec![stage],
        steps: vec![],
        secrets: vec![],
        merged: vec![],
        base: key,
        key,
        arch,
    })
}
