//! Runs a command, or a shell, in a project's system as it is after any of its stages.

use std::path::Path;

use pib_plan::native::ROOT;

use crate::engine::{Engine, RunRequest, Streams};
use crate::pipeline::{self, StageOptions, emulators, labels};
use crate::project::{self, Error, Project, Session};

/// What its label says that a container is.
const WHAT: &str = "run";

/// What to run, and where.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The stages that come before it.
    pub stages: StageOptions,
    /// The command with its arguments; a shell where there is none.
    pub command: Vec<String>,
    /// Files and folders of this machine that it sees: `SOURCE:TARGET`, with `:ro` for read-only.
    pub mounts: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

/// A system in which a command can be run.
pub struct System {
    engine: Engine,
    request: RunRequest,
}

/// Has the stages built that the command is to find.
///
/// # Errors
/// When a mount makes no sense, or the stages cannot be built.
pub async fn prepare(session: &Session, options: &RunOptions) -> Result<System, Error> {
    let mounts = options.mounts.iter().map(|text| bind(session, text)).collect::<Result<Vec<_>, _>>()?;
    let dir = project::find(session)?;
    let exclusive = Project::exclusive(session, &dir).await?;
    let built = pipeline::build(session, &options.stages).await?;
    // Whoever builds meanwhile does not wait for the end of a shell.
    drop(exclusive);
    if !mounts.is_empty() && !built.engine.is_local() {
        let message =
            format!("the engine at {} cannot mount this machine's files", built.engine.info().address);
        return Err(Error::usage(message, "Leave out --mount, or use an engine on this machine."));
    }
    let manifest = &built.based.rendered.packages.project().manifest;
    let (choice, offline) = (options.stages.emulator, options.stages.lock.offline);
    let emulators = emulators::find(session, &built.engine, manifest, choice, offline).await?;
    let command = command(&options.command);
    let term = session.variables.get(std::ffi::OsStr::new("TERM")).filter(|_| options.terminal);
    let request = RunRequest {
        image: built.tag,
        platform: built.plan.arch.platform().to_owned(),
        command: if emulators.is_some() { pib_plan::emulation::started(command) } else { command },
        hostname: manifest.project.hostname.clone(),
        environment: term.map(|term| format!("TERM={}", term.to_string_lossy())).into_iter().collect(),
        binds: mounts,
        labels: labels::labels(session, &dir, WHAT),
        files: emulators.map(|(_, stored)| (stored.path, ROOT.to_owned())),
        terminal: options.terminal,
    };
    Ok(System { engine: built.engine, request })
}

impl System {
    /// Runs the command, and returns its exit code. Nothing of the container stays.
    ///
    /// # Errors
    /// When it cannot be started, or the engine goes away.
    pub async fn run(&self, streams: Streams) -> Result<u8, Error> {
        let code = self.engine.run(&self.request, streams).await?;
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

fn command(given: &[String]) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    ["/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi"]
        .map(str::to_owned)
        .to_vec()
}

/// Reads `SOURCE:TARGET` or `SOURCE:TARGET:ro`.
fn bind(session: &Session, text: &str) -> Result<String, Error> {
    let wrong =
        |message: String| Error::usage(message, "Write --mount SOURCE:/TARGET, or SOURCE:/TARGET:ro.");
    let (rest, mode) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, ":ro"),
        Some((rest, "rw")) => (rest, ""),
        _ => (text, ""),
    };
    let Some((source, target)) = rest.rsplit_once(':').filter(|(_, target)| Path::new(target).is_absolute())
    else {
        return Err(wrong(format!("`{text}` does not say where in the system it is to be")));
    };
    // The engine would make a folder of that name, owned by root.
    let path = session.path(source);
    let Ok(path) = path.canonicalize() else {
        return Err(wrong(format!("there is no `{source}` to be mounted")));
    };
    let shown = path.to_string_lossy();
    if shown.contains(':') {
        return Err(wrong(format!("engines cannot mount `{shown}`, whose name has a colon")));
    }
    Ok(format!("{shown}:{target}{mode}"))
}
