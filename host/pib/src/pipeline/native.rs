//! Native tools for a build: whether there can be any, and getting them to the engine.

use std::collections::BTreeMap;

use pib_plan::id::Digest;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::native::{Machine, Native, SetId};

use super::labels::LABEL;
use super::records::Records;
use crate::bases::{self, BaseCache, StoredBase};
use crate::engine::{Base, Engine};
use crate::project::{Error, RecordingError, Session, blocking, cache_lock};
use pib_debian::{CompanionRecipe, Folders, HostApt};
use pib_event::ReporterExt as _;
use pib_plan::base::Bootstrap;

/// The program that starts commands. Empty where this pib was compiled for a processor for which there is none.
const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/native-run"));

/// Returns the recipe of a project's companion on a machine, where there can be one.
fn recipe(manifest: &ProjectManifest, arch: &str) -> Option<CompanionRecipe> {
    let project = &manifest.project;
    let base = Bootstrap {
        os: project.os.clone(),
        release: project.release.clone(),
        arch: project.arch,
        mirror: project.mirror.clone(),
        security_mirror: project.security_mirror.clone(),
        include: Vec::new(),
        archives: Vec::new(),
    };
    // The program is for this machine's processor, so an engine elsewhere must have the same.
    let machine =
        Machine::of(arch).filter(|machine| Machine::of(std::env::consts::ARCH) == Some(*machine))?;
    CompanionRecipe::of(&base, machine, RUNNER)
}

/// Returns what a build would use, for a plan: nothing is made, and no engine is asked.
pub(crate) fn planned(session: &Session, manifest: &ProjectManifest) -> Option<Native> {
    let recipe = recipe(manifest, std::env::consts::ARCH).filter(|_| manifest.build.native)?;
    let stored = BaseCache::new(&session.cache).find_companion(&recipe);
    Some(named(&recipe, stored.map(|stored| stored.digest).as_ref(), SetId::Ignored))
}

/// Makes the companion where it is not in the cache, and loads it into the engine. Where there can be none, `say` hears
/// why, and nothing is returned: the same comes of a build without, only later.
pub(crate) async fn get(
    session: &Session,
    engine: &Engine,
    manifest: &ProjectManifest,
    offline: bool,
    say: impl Fn(&str),
) -> Result<Option<Native>, Error> {
    let (info, project) = (engine.info(), &manifest.project);
    let Some(recipe) = recipe(manifest, &info.arch) else {
        let (os, release) = (&project.os, &project.release);
        say(&format!("there are no native tools for {os} {release} on {}", info.arch));
        return Ok(None);
    };
    if !engine.abilities().mounts {
        say(&format!("{} {} has no BuildKit, which native tools need", info.name, info.version));
        return Ok(None);
    }
    let stored = match BaseCache::new(&session.cache).find_companion(&recipe) {
        Some(stored) => {
            cache_lock::used(&stored.path);
            stored
        }
        None if offline => {
            say("native tools are not in the cache, and the network is not to be used");
            return Ok(None);
        }
        None => match make(session, &recipe).await {
            Ok(stored) => stored,
            Err(error) => {
                say(&format!("native tools cannot be made: {error}"));
                return Ok(None);
            }
        },
    };
    load(session, engine, &recipe, &stored).await.map(Some)
}

/// Returns the machine that the program is for which starts commands in an engine, and relays what they ask for.
///
/// # Errors
/// When the engine cannot have it.
pub(crate) fn runner_machine(engine: &Engine) -> Result<Machine, Error> {
    let info = engine.info();
    let cannot = |why: String| Err(RecordingError::Impossible { why }.into());
    if !engine.abilities().mounts {
        return cannot(format!("{} {} has no BuildKit", info.name, info.version));
    }
    let known =
        Machine::of(&info.arch).filter(|machine| Machine::of(std::env::consts::ARCH) == Some(*machine));
    let known = known.filter(|_| !RUNNER.is_empty());
    known.map_or_else(|| cannot(format!("pib has no program for {}", info.arch)), Ok)
}

/// Loads the program that starts commands into the engine, without tools; returns the machine that it is for and what the
/// engine calls it.
///
/// # Errors
/// When the engine cannot have it, or does not take it.
pub(crate) async fn load_runner(session: &Session, engine: &Engine) -> Result<(Machine, String), Error> {
    let machine = runner_machine(engine)?;
    let stored = BaseCache::new(&session.cache).relay(RUNNER)?;
    cache_lock::used(&stored.path);
    let image = format!("pib-relay:{}", &stored.digest.hex()[..16]);
    let labels = BTreeMap::from([(LABEL.to_owned(), "native".to_owned())]);
    let base = Base {
        rootfs_tar: &stored.path,
        digest: stored.digest,
        tag: &image,
        platform: machine.platform(),
        labels: &labels,
    };
    let id = engine.load_base(&base, &*session.reporter).await?;
    Records::new(session).add_loaded(&id);
    Ok((machine, image))
}

/// Has the next build make the companion anew: a new base has new versions, and a program stands in only for one of
/// its own version.
pub(crate) fn forget(session: &Session, manifest: &ProjectManifest) -> Result<(), Error> {
    if let Some(recipe) = recipe(manifest, std::env::consts::ARCH) {
        BaseCache::new(&session.cache).forget_companion(&recipe)?;
    }
    Ok(())
}

async fn make(session: &Session, recipe: &CompanionRecipe) -> Result<StoredBase, Error> {
    let (cache, reporter) = (BaseCache::new(&session.cache), session.reporter.clone());
    reporter.started(bases::STEP, "Making native tools");
    let waiting = (cache.clone(), reporter.clone());
    let lock = tokio::task::spawn_blocking(move || waiting.0.lock(&*waiting.1))
        .await
        .map_err(blocking::worker)??;
    let made = match cache.find_companion(recipe) {
        Some(found) => found,
        None => {
            let host = HostApt::read(&session.host_root);
            let (debs, temp) = (cache.debs(), cache.work_folder(&lock));
            let folders = Folders { debs: &debs, temp: &temp };
            let file = pib_debian::companion(folders, recipe, &host, &reporter).await?;
            let (cache, recipe) = (cache.clone(), recipe.clone());
            let store = move || cache.store_companion(&lock, file, &recipe);
            tokio::task::spawn_blocking(store).await.map_err(blocking::worker)??
        }
    };
    reporter.finished(bases::STEP, false);
    Ok(made)
}

async fn load(
    session: &Session,
    engine: &Engine,
    recipe: &CompanionRecipe,
    stored: &StoredBase,
) -> Result<Native, Error> {
    let set_id = match engine.gives_rights(recipe.base.arch) {
        Some(true) => SetId::Given,
        Some(false) => SetId::Ignored,
        None => SetId::Unknown,
    };
    let native = named(recipe, Some(&stored.digest), set_id);
    let labels = BTreeMap::from([(LABEL.to_owned(), "native".to_owned())]);
    let platform = recipe.machine.platform();
    let base = Base {
        rootfs_tar: &stored.path,
        digest: stored.digest,
        tag: &native.image,
        platform,
        labels: &labels,
    };
    let image = engine.load_base(&base, &*session.reporter).await?;
    Records::new(session).add_loaded(&image);
    Ok(native)
}

fn named(recipe: &CompanionRecipe, digest: Option<&Digest>, set_id: SetId) -> Native {
    let Bootstrap { os, release, arch, .. } = &recipe.base;
    let digest = digest.map(|digest| format!("-{}", &digest.hex()[..16])).unwrap_or_default();
    Native { image: format!("pib-native:{os}-{release}-{arch}{digest}"), machine: recipe.machine, set_id }
}
