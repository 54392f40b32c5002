//! The emulators for a build: whether pib brings them or the engine's kernel has handlers, and getting them to the engine.

use pib_debian::EmulatorRecipe;
use pib_event::ReporterExt as _;
use pib_plan::emulation::Emulation;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::native::Machine;

use super::native::{self, RUNNER};
use super::options::EmulatorChoice;
use crate::bases::{BaseCache, StoredBase};
use crate::engine::Engine;
use crate::engine::binfmt_misc::is_native;
use crate::project::{Error, Session, cache_lock};

/// Returns why pib's own emulators do not serve an engine, where they do not.
pub(crate) fn obstacle(engine: &Engine) -> Option<String> {
    let info = engine.info();
    match () {
        () if !engine.abilities().mounts => Some(format!("{} {} has no BuildKit", info.name, info.version)),
        () if machine(engine).is_none() => Some(format!("pib brings no emulators for {}", info.arch)),
        () => None,
    }
}

/// Returns the machine of an engine, where pib has its program that starts commands.
fn machine(engine: &Engine) -> Option<Machine> {
    let own = Machine::of(std::env::consts::ARCH).filter(|_| !RUNNER.is_empty());
    Machine::of(&engine.info().arch).filter(|machine| Some(*machine) == own)
}

/// Makes the emulators where they are not in the cache, and loads them into the engine; `None` where the target's programs
/// run without.
///
/// # Errors
/// When nothing would run the target's programs.
pub(crate) async fn get(
    session: &Session,
    engine: &Engine,
    manifest: &ProjectManifest,
    choice: EmulatorChoice,
    offline: bool,
) -> Result<Option<Emulation>, Error> {
    let Some((machine, stored)) = find(session, engine, manifest, choice, offline).await? else {
        return Ok(None);
    };
    let image = format!("pib-emulators:{}", &stored.digest.hex()[..16]);
    native::load_image(session, engine, &stored, (&image, machine.platform())).await?;
    Ok(Some(Emulation { image, machine }))
}

/// Returns the emulators' tar, with the machine that they are for; `None` where the target's programs run without.
///
/// # Errors
/// When nothing would run the target's programs.
pub(crate) async fn find(
    session: &Session,
    engine: &Engine,
    manifest: &ProjectManifest,
    choice: EmulatorChoice,
    offline: bool,
) -> Result<Option<(Machine, StoredBase)>, Error> {
    let arch = manifest.project.arch;
    if is_native(&engine.info().arch, arch) {
        return Ok(None);
    }
    let machine = machine(engine).filter(|_| choice == EmulatorChoice::Own && obstacle(engine).is_none());
    let Some(machine) = machine else {
        engine.check_binfmt(arch)?;
        return Ok(None);
    };
    match make(session, manifest, machine, offline).await {
        Ok(stored) => Ok(Some((machine, stored))),
        // What is registered serves as well.
        Err(error) => match engine.check_binfmt(arch) {
            Ok(()) => {
                session.reporter.warn(format!("{error}; the engine's kernel emulates, by its handlers"));
                Ok(None)
            }
            Err(_) => Err(error),
        },
    }
}

/// Returns the emulators, from the cache where they are there.
async fn make(
    session: &Session,
    manifest: &ProjectManifest,
    machine: Machine,
    offline: bool,
) -> Result<StoredBase, Error> {
    let recipe = recipe(manifest, machine);
    if let Some(stored) = BaseCache::new(&session.cache).find_tools(recipe.key()) {
        cache_lock::used(&stored.path);
        return Ok(stored);
    }
    if offline {
        return Err(Error::EmulatorsOffline);
    }
    let making = async |folders: pib_debian::Folders<'_>, host: &pib_debian::HostApt| {
        pib_debian::emulators(folders, &recipe, host, &session.reporter).await
    };
    native::make_tools(session, "Making emulators", recipe.key(), making).await
}

/// Makes the emulators for an engine on this machine where they are not in the cache; returns whether it needs some.
///
/// # Errors
/// When they cannot be made.
pub(crate) async fn prepare(session: &Session, manifest: &ProjectManifest) -> Result<bool, Error> {
    let Some(machine) = Machine::of(std::env::consts::ARCH).filter(|_| !RUNNER.is_empty()) else {
        return Ok(false);
    };
    make(session, manifest, machine, false).await.map(|_| true)
}

/// Returns what a build would use, for a plan: nothing is made, and no engine is asked.
pub(crate) fn planned(
    session: &Session,
    manifest: &ProjectManifest,
    choice: EmulatorChoice,
) -> Option<Emulation> {
    let arch = std::env::consts::ARCH;
    let machine = Machine::of(arch).filter(|_| choice == EmulatorChoice::Own && !RUNNER.is_empty())?;
    let stored = BaseCache::new(&session.cache).find_tools(recipe(manifest, machine).key());
    let digest = stored.map(|stored| format!(":{}", &stored.digest.hex()[..16])).unwrap_or_default();
    Some(Emulation { image: format!("pib-emulators{digest}"), machine })
}

/// Has the next build make the emulators anew.
///
/// # Errors
/// When the cache cannot be written.
pub(crate) fn forget(session: &Session, manifest: &ProjectManifest) -> Result<(), Error> {
    if let Some(machine) = Machine::of(std::env::consts::ARCH) {
        BaseCache::new(&session.cache).forget_tools(recipe(manifest, machine).key())?;
    }
    Ok(())
}

fn recipe(manifest: &ProjectManifest, machine: Machine) -> EmulatorRecipe {
    EmulatorRecipe { base: native::accompanied(manifest), machine, runner: RUNNER }
}
