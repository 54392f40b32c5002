//! Native tools for a build: whether there can be any, and getting them to the engine.

use std::collections::BTreeMap;

use pib_plan::id::Digest;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::native::{Machine, Native, SetId};

use super::labels::LABEL;
use super::records::Records;
use crate::bases::{self, BaseCache, StoredBase};
use crate::engine::{Base, Engine};
use crate::project::{Error, Session, blocking, cache_lock};
use pib_debian::{CompanionRecipe, DebianError, Folders, HostApt};
use pib_event::ReporterExt as _;
use pib_plan::base::Bootstrap;

/// The program that starts commands. Empty where this pib was compiled for a processor for which there is none.
pub(super) const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/native-run"));

/// Returns the base that native tools and emulators of a project come with, so far as it decides where they come from.
pub(super) fn accompanied(manifest: &ProjectManifest) -> Bootstrap {
    let project = &manifest.project;
    Bootstrap {
        os: project.os.clone(),
        release: project.release.clone(),
        arch: project.arch,
        mirror: project.mirror.clone(),
        security_mirror: project.security_mirror.clone(),
        include: Vec::new(),
        archives: Vec::new(),
    }
}

/// Returns the recipe of a project's companion on a machine, where there can be one.
fn recipe(manifest: &ProjectManifest, arch: &str) -> Option<CompanionRecipe> {
    // The program is for this machine's processor, so an engine elsewhere must have the same.
    let machine =
        Machine::of(arch).filter(|machine| Machine::of(std::env::consts::ARCH) == Some(*machine))?;
    CompanionRecipe::of(&accompanied(manifest), machine, RUNNER)
}

/// Returns what a build would use, for a plan: nothing is made, and no engine is asked.
pub(crate) fn planned(session: &Session, manifest: &ProjectManifest) -> Option<Native> {
    let recipe = recipe(manifest, std::env::consts::ARCH).filter(|_| manifest.build.native)?;
    let stored = BaseCache::new(&session.cache).find_tools(recipe.key());
    Some(named(&recipe, stored.map(|stored| stored.digest).as_ref(), SetId::Ignored))
}

/// Makes the companion where it is not in the cache, and loads it into the engine. Where there can be none, `say` hears
/// why, and nothing is returned: the same comes of a build without, only later. `emulated` says whether pib's own emulators run the rest.
pub(crate) async fn get(
    session: &Session,
    engine: &Engine,
    manifest: &ProjectManifest,
    (offline, emulated): (bool, bool),
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
    let stored = match BaseCache::new(&session.cache).find_tools(recipe.key()) {
        Some(stored) => {
            cache_lock::used(&stored.path);
            stored
        }
        None if offline => {
            say("they are not in the cache, and the network is not to be used; `pib fetch` gets them");
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
    let set_id = match engine.gives_rights(project.arch) {
        // pib's own emulators give no program rights.
        _ if emulated => SetId::Ignored,
        Some(true) => SetId::Given,
        Some(false) => SetId::Ignored,
        None => SetId::Unknown,
    };
    let native = named(&recipe, Some(&stored.digest), set_id);
    load_image(session, engine, &stored, (&native.image, recipe.machine.platform())).await?;
    Ok(Some(native))
}

/// Makes the companion for an engine on this machine where it is not in the cache; returns whether there is one for the project.
///
/// # Errors
/// When it cannot be made.
pub(crate) async fn prepare(session: &Session, manifest: &ProjectManifest) -> Result<bool, Error> {
    let Some(recipe) = recipe(manifest, std::env::consts::ARCH).filter(|_| manifest.build.native) else {
        return Ok(false);
    };
    if BaseCache::new(&session.cache).find_tools(recipe.key()).is_none() {
        make(session, &recipe).await?;
    }
    Ok(true)
}

/// Has the next build make the companion anew: a new base has new versions, and a program stands in only for one of
/// its own version.
pub(crate) fn forget(session: &Session, manifest: &ProjectManifest) -> Result<(), Error> {
    if let Some(recipe) = recipe(manifest, std::env::consts::ARCH) {
        BaseCache::new(&session.cache).forget_tools(recipe.key())?;
    }
    Ok(())
}

async fn make(session: &Session, recipe: &CompanionRecipe) -> Result<StoredBase, Error> {
    let making = async |folders: Folders<'_>, host: &HostApt| {
        pib_debian::companion(folders, recipe, host, &session.reporter).await
    };
    make_tools(session, "Making native tools", recipe.key(), making).await
}

/// Makes what the recipe with this key makes, and keeps it.
///
/// # Errors
/// When it cannot be made, or the cache cannot be written.
pub(super) async fn make_tools(
    session: &Session,
    title: &str,
    recipe: Digest,
    making: impl AsyncFnOnce(Folders<'_>, &HostApt) -> Result<pib_debian::WorkFile, DebianError>,
) -> Result<StoredBase, Error> {
    let (cache, reporter) = (BaseCache::new(&session.cache), session.reporter.clone());
    reporter.started(bases::STEP, title);
    let waiting = (cache.clone(), reporter.clone());
    let lock = tokio::task::spawn_blocking(move || waiting.0.lock(&*waiting.1))
        .await
        .map_err(blocking::worker)??;
    let made = match cache.find_tools(recipe) {
        Some(found) => found,
        None => {
            let host = HostApt::read(&session.host_root);
            let (debs, temp) = (cache.debs(), cache.work_folder(&lock));
            let file = making(Folders { debs: &debs, temp: &temp }, &host).await?;
            let store = move || cache.store_tools(&lock, file, recipe);
            tokio::task::spawn_blocking(store).await.map_err(blocking::worker)??
        }
    };
    reporter.finished(bases::STEP, false);
    Ok(made)
}

/// Loads a container image of programs for the engine's machine, with what the engine is to call it and for which platform.
///
/// # Errors
/// When the engine does not take it.
pub(super) async fn load_image(
    session: &Session,
    engine: &Engine,
    stored: &StoredBase,
    (image, platform): (&str, &str),
) -> Result<(), Error> {
    let labels = BTreeMap::from([(LABEL.to_owned(), "native".to_owned())]);
    let base =
        Base { rootfs_tar: &stored.path, digest: stored.digest, tag: image, platform, labels: &labels };
    let id = engine.load_base(&base, &*session.reporter).await?;
    Records::new(session).add_loaded(&id);
    Ok(())
}

fn named(recipe: &CompanionRecipe, digest: Option<&Digest>, set_id: SetId) -> Native {
    let Bootstrap { os, release, arch, .. } = &recipe.base;
    let digest = digest.map(|digest| format!("-{}", &digest.hex()[..16])).unwrap_or_default();
    Native { image: format!("pib-native:{os}-{release}-{arch}{digest}"), machine: recipe.machine, set_id }
}
