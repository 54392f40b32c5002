//! Checks what a build needs of this machine: the engine, emulation, disk space, tools, registries.
//!
//! Nothing is changed but that the engine builds something small and forgets it, and nothing that is missing ends it: each check is a line with its remedy.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use miette::Diagnostic;
use pib_plan::id::Arch;
use pib_plan::system;
use serde::Serialize;

use crate::engine::binfmt_misc::{Binfmt, BinfmtStatus, is_native};
use crate::engine::{Abilities, Engine, EngineStore};
use crate::ops::binfmt::{ARCHS, words};
use crate::ops::trial_build;
use crate::pipeline::mirrors::Mirrors;
use crate::pipeline::{emulators, resolve, shared_cache};
use crate::project::{self, Error, LockMode, Project, Session};
use pib_net::Http;

/// With less than this a build fails for sure.
const LITTLE: u64 = 1 << 30;
/// With less than this it may.
const ENOUGH: u64 = 8 << 30;
/// The largest file that is read of a mirror, to see whether it answers.
const MAX_RELEASE: u64 = 4 << 20;

/// What was found, in order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DoctorReport {
    /// One line for each check.
    pub checks: Vec<Check>,
}

/// A check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do, where it is not well.
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// A build works, but not as well as it could, or not every one.
    Warn,
    /// A build does not work.
    Fail,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), remedy: None }
    }

    fn bad(
        state: State,
        name: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), state, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn error(name: impl Into<String>, error: &dyn Diagnostic) -> Self {
        let mut found = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            _ = write!(found, ": {cause}");
            source = cause.source();
        }
        let remedy = error.help().map(|help| help.to_string());
        Self { name: name.into(), state: State::Fail, found, remedy }
    }
}

/// Checks everything; `offline` asks no server.
///
/// # Errors
/// None of what is found: only where the project's own manifest cannot be read.
pub async fn doctor(session: &Session, offline: bool) -> Result<DoctorReport, Error> {
    let project = match project::find(session) {
        Ok(_) => Some(Project::load(session)?),
        Err(_) => None,
    };
    let mut checks = Vec::new();
    let engine = match Engine::connect(&session.engine).await {
        Ok(engine) => Some(engine),
        Err(error) => {
            checks.push(Check::error("engine", &error));
            None
        }
    };
    let wanted = project.as_ref().map(|project| project.manifest.project.arch);
    // What runs ARM programs depends on the engine: without one, nothing is known of it.
    if let Some(engine) = &engine {
        let recorded = project.as_ref().is_some_and(Project::is_recorded);
        checks.extend(engine_checks(engine, recorded));
        checks.extend(ARCHS.into_iter().map(|arch| emulation(engine, arch, wanted)));
    }
    let folder = project.as_ref().map_or(&session.cwd, |project| &project.dir);
    checks.push(space("disk space of the project", folder));
    checks.push(space("disk space of the cache", &session.cache));
    if let Some(engine) = &engine {
        checks.push(store(engine).await);
        checks.push(trial(engine, wanted).await);
    }
    checks.extend(tools());
    checks.extend(registries(session, project.as_ref(), offline).await);
    if !offline {
        checks.extend(shared(session, project.as_ref()).await);
    }
    Ok(DoctorReport { checks })
}

/// Checks the engine and its builder; `recorded` says whether the project records what parts fetch, which not every builder on another machine can.
fn engine_checks(engine: &Engine, recorded: bool) -> Vec<Check> {
    let info = engine.info();
    let found = format!("{} {} (API {}) at {}", info.name, info.version, info.api, info.address);
    let builder = match engine.abilities() {
        Abilities { mounts: true, losses, .. } if losses.is_empty() => Check::ok("builder", engine.builder()),
        Abilities { mounts, losses, .. } => {
            let lost = losses.iter().map(|loss| format!("it loses {}", loss.as_str()));
            let lacks = (!mounts).then(|| {
                "no secrets, no native tools, no emulators of pib's; parts keep their network where it is recorded"
                    .to_owned()
            });
            let faults: Vec<String> = lacks.into_iter().chain(lost).collect();
            let found = format!("{}: {}", engine.builder(), faults.join(", "));
            let remedy = match info.name.as_str() {
                _ if mounts => "Use an engine that runs as root for bases with device nodes.",
                "Docker" => "Unset DOCKER_BUILDKIT.",
                _ => "Use Docker Engine 20.10 or newer, which has BuildKit.",
            };
            let state = if recorded && !mounts && !engine.is_local() { State::Fail } else { State::Warn };
            Check::bad(state, "builder", found, remedy)
        }
    };
    vec![Check::ok("engine", found), builder]
}

/// Checks whether programs of `arch` run in the engine; what the project does not need is only a warning.
fn emulation(engine: &Engine, arch: Arch, wanted: Option<Arch>) -> Check {
    let name = emulation_name(arch);
    // One emulator serves both 32-bit architectures.
    let needed = wanted.is_none_or(|wanted| (wanted == Arch::Arm64) == (arch == Arch::Arm64));
    if is_native(&engine.info().arch, arch) {
        return Check::ok(name, "the engine's processor runs them itself");
    }
    if emulators::obstacle(engine).is_none() {
        return Check::ok(name, "pib's own emulators run them; no handler is needed");
    }
    if !engine.is_this_kernel() {
        let remedy = "`pib binfmt status` asks its kernel through a container; `pib binfmt` registers what is missing.";
        return Check::bad(State::Warn, name, "not known: the engine is on another machine", remedy);
    }
    let status = Binfmt::default().read().status(arch);
    let state = if needed { State::Fail } else { State::Warn };
    match &status {
        BinfmtStatus::Registered { .. } => Check::ok(name, words(&status)),
        BinfmtStatus::NotFixed { .. } | BinfmtStatus::Disabled { .. } => {
            Check::bad(state, name, words(&status), "Have it replaced: `sudo pib binfmt install --force`.")
        }
        BinfmtStatus::Missing | BinfmtStatus::NotMounted => Check::bad(
            state,
            name,
            words(&status),
            "Run `sudo pib binfmt`. The emulators are in Debian's and Ubuntu's package qemu-user-static.",
        ),
    }
}

/// Has the engine build something, with a program of the project's architecture where those run.
async fn trial(engine: &Engine, wanted: Option<Arch>) -> Check {
    const NAME: &str = "a small build";
    let arch = wanted.unwrap_or(Arch::Arm64);
    let registered = || matches!(Binfmt::default().read().status(arch), BinfmtStatus::Registered { .. });
    let runs = is_native(&engine.info().arch, arch) || (engine.is_this_kernel() && registered());
    let what = if runs { format!("its program for {arch} ran") } else { "no program ran in it".to_owned() };
    match trial_build::build(engine, arch, runs).await {
        Ok(()) => Check::ok(NAME, format!("it works; {what}")),
        Err(error) => Check::error(NAME, &error),
    }
}

fn emulation_name(arch: Arch) -> String {
    format!("programs for {arch}")
}

fn space(name: &str, folder: &Path) -> Check {
    // What does not exist yet will be made on the disk of the nearest folder that does.
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(found) => room(name, there, found.f_bavail.saturating_mul(found.f_frsize)),
        Err(error) => {
            let found = format!("could not ask for the space at {}: {error}", there.display());
            Check::bad(State::Warn, name, found, "See whether the folder is there and readable.")
        }
    }
}

fn room(name: &str, place: &Path, free: u64) -> Check {
    let found = format!("{:.1} GiB free at {}", free as f64 / (1_u64 << 30) as f64, place.display());
    let remedy = "An image takes about twice its size while it is built. `pib cache prune` and `docker system df` \
                  show what could go.";
    match free {
        ..LITTLE => Check::bad(State::Fail, name, found, remedy),
        LITTLE..ENOUGH => Check::bad(State::Warn, name, found, remedy),
        _ => Check::ok(name, found),
    }
}

async fn store(engine: &Engine) -> Check {
    const NAME: &str = "disk space of the engine";
    let EngineStore { driver, root } = match engine.store().await {
        Ok(store) => store,
        Err(error) => return Check::error(NAME, &error),
    };
    if driver == "vfs" {
        let found =
            format!("its storage driver is vfs, which copies every layer whole, at {}", root.display());
        return Check::bad(
            State::Warn,
            NAME,
            found,
            "Have it use overlay2: the engine's documentation says how.",
        );
    }
    if !engine.is_this_kernel() {
        return Check::ok(NAME, format!("not known: {} is on another machine ({driver})", root.display()));
    }
    if root.exists() {
        return space(NAME, &root);
    }
    Check::ok(NAME, format!("not known: {} cannot be seen from here ({driver})", root.display()))
}

/// Checks the programs that only some commands need, by asking for their versions.
fn tools() -> Vec<Check> {
    let there = |program: &str, version: &str| Command::new(program).arg(version).output().is_ok();
    [
        ("ssh", "-V", "stages from git over ssh, and engines on other machines", "openssh-client"),
        ("git", "--version", "passwords for git over https, from its credential helpers", "git"),
        ("qemu-system-aarch64", "--version", "`pib boot` and `pib test`", "qemu-system-arm"),
    ]
    .into_iter()
    .map(|(program, version, what, package)| {
        let name = format!("the program {program}");
        if there(program, version) {
            return Check::ok(name, format!("there, for {what}"));
        }
        let remedy = format!("On Debian and Ubuntu: `sudo apt-get install {package}`.");
        Check::bad(State::Warn, name, format!("not there; it serves {what}"), remedy)
    })
    .collect()
}

async fn registries(session: &Session, project: Option<&Project>, offline: bool) -> Vec<Check> {
    let mut checks = vec![Check::ok("the bundled registry", "part of this program")];
    let Some(project) = project.filter(|_| !offline) else { return checks };
    match resolve::sources(session, &project.dir, &project.manifest, LockMode::default()) {
        Ok(sources) => {
            for (name, url) in &project.manifest.registries {
                let title = format!("the registry {name}");
                checks.push(match sources.check_registry(name).await {
                    Ok(()) => Check::ok(title, url),
                    Err(error) => Check::error(title, &error),
                });
            }
        }
        Err(error) => checks.push(Check::error("what the project reaches", &error)),
    }
    let os = project.manifest.project.os.as_str();
    // Where a system that the bundled stages make is not built like Debian, its packages are elsewhere.
    if system::is_debian_like(os) || !system::names().any(|known| known == os) {
        checks.push(mirror(session, project).await);
    }
    checks
}

/// Checks the shared cache, where there is one.
async fn shared(session: &Session, project: Option<&Project>) -> Option<Check> {
    const NAME: &str = "the shared cache";
    match shared_cache::check(session, project).await {
        Ok(None) => None,
        Ok(Some((place, None))) => Some(Check::ok(NAME, place)),
        Ok(Some((place, Some(fault)))) => {
            let remedy = "Builds go on without it. See whether this machine reaches it: `[cache]` in config.toml or pib.toml names it.";
            Some(Check::bad(State::Warn, NAME, format!("{place}: {fault}"), remedy))
        }
        Err(error) => Some(Check::error(NAME, &error)),
    }
}

async fn mirror(session: &Session, project: &Project) -> Check {
    const NAME: &str = "the mirror of packages";
    let mirrors = Mirrors::of(session, &project.manifest, None);
    let own = mirrors.own.into_iter().find(|(public, _)| *public == mirrors.public);
    let mirror = own.map_or(mirrors.build, |(_, own)| own);
    let address = format!("{mirror}/dists/{}/Release", project.manifest.project.release);
    let remedy =
        "See whether this machine reaches it, or name another one: `mirror` in [project] of pib.toml.";
    let asked = async {
        let url = url::Url::parse(&address).map_err(|error| format!("{mirror} is not a URL: {error}"))?;
        let http = Http::new().map_err(|error| error.to_string())?;
        http.bytes(&url, MAX_RELEASE).await.map_err(|error| error.to_string())
    };
    match asked.await {
        Ok(_) => Check::ok(NAME, mirror),
        // A base that is cached needs no mirror, and parts may need none either.
        Err(reason) => Check::bad(State::Warn, NAME, reason, remedy),
    }
}

impl DoctorReport {
    /// Returns an error where something fails.
    ///
    /// # Errors
    /// When a build cannot work.
    pub fn verdict(&self) -> Result<(), Error> {
        match self.checks.iter().filter(|check| check.state == State::Fail).count() {
            0 => Ok(()),
            failed => Err(Error::Unwell(failed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_and_told() {
        let state = |free| room("disk", Path::new("/x"), free).state;
        assert_eq!((state(0), state(LITTLE), state(ENOUGH)), (State::Fail, State::Warn, State::Ok));
        let check = room("disk", Path::new("/x"), 3 << 29);
        assert_eq!(check.found, "1.5 GiB free at /x");
        assert!(check.remedy.is_some());
    }

    #[test]
    fn a_report_fails_with_its_worst_check() {
        let report = |state| DoctorReport {
            checks: vec![Check::ok("a", "fine"), Check::bad(state, "b", "so so", "Do\nthis.")],
        };
        assert!(report(State::Warn).verdict().is_ok());
        assert!(matches!(report(State::Fail).verdict(), Err(Error::Unwell(1))));
    }
}
