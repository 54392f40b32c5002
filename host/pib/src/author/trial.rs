//! A stage on trial: in a project that is made up for it, so that the same code judges it as in a build.

use std::path::PathBuf;
use std::sync::Arc;

use pib_plan::assemble::StageInput;
use pib_plan::board;
use pib_plan::config;
use pib_plan::id::Arch;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::manifest::stage::StageManifest;
use pib_plan::suggest;

use super::folder;
use crate::hooks::{Answer, HookError, Level, StageRef};
use crate::pipeline::mirrors::Mirrors;
use crate::pipeline::secrets::{Overrides, Secrets};
use crate::pipeline::settle::{self, SettledStage};
use crate::pipeline::{hook_calls, render};
use crate::project::consent::Consent;
use crate::project::{Error, Project, Session, blocking};
use crate::source::{Package, path};
use pib_event::Event;

/// What messages call the manifest that is made up.
const MADE_UP: &str = "pib.toml, as the options say";

/// The stage that makes a system which starts.
const SYSTEM: &str = "os";

/// A stage, and what it is told.
#[derive(Debug, Clone, Default)]
pub struct TrialOptions {
    /// The stage's folder; the current one where it is not given.
    pub stage: Option<PathBuf>,
    /// The stage's config, as KEY=VALUE.
    pub config: Vec<String>,
    /// The operating system; else the first that the stage supports.
    pub os: Option<String>,
    /// Its release.
    pub release: Option<String>,
    /// The board; else the first that the stage supports.
    pub board: Option<String>,
    /// The architecture; else the board's best.
    pub arch: Option<String>,
    /// Other stages of the build, as NAME or NAME@VERSION.
    pub with: Vec<String>,
}

/// A stage in its made-up project.
pub(super) struct Trial {
    pub(super) package: Package,
    project: Project,
    stages: Vec<StageRef>,
}

impl Trial {
    /// Reads the stage, and makes the project up.
    pub(super) fn new(session: &Session, options: &TrialOptions) -> Result<Self, Error> {
        let (root, shown) = folder(session, options.stage.as_deref())?;
        let package = path::open(&root, &shown)?;
        let text = manifest(&package.manifest, options)?;
        let manifest = ProjectManifest::parse(MADE_UP, &text)?;
        let project = Project::made_up(session.cwd.clone(), manifest);
        let mut stages = Vec::new();
        for other in &options.with {
            let (name, version) = other.split_once('@').unwrap_or((other, "1.0.0"));
            let wrong = |what: String| Error::usage(what, "Write --with NAME or --with NAME@VERSION.");
            pib_plan::id::check_name(name).map_err(|error| wrong(error.to_string()))?;
            let version: semver::Version =
                version.parse().map_err(|error| wrong(format!("`{version}` is no version: {error}")))?;
            stages.push(StageRef { name: name.to_owned(), version: version.to_string() });
        }
        stages.push(hook_calls::stage_ref(&package));
        Ok(Self { package, project, stages })
    }

    /// Settles the stage: its config against its schema, the files that the config names.
    ///
    /// # Errors
    /// When a value does not fit, or a file is missing.
    pub(super) fn settle(&self, session: &Session) -> Result<SettledStage, Error> {
        let manifest = &self.project.manifest;
        let settings = settle::settings(manifest, &self.package, &Overrides::default())?;
        let mirrors = Mirrors::of(session, manifest, Some(&self.package.manifest));
        // What the command line names is the user's own word.
        let consent = Consent::to_everything();
        settle::stage(
            &self.project,
            &consent,
            &mirrors,
            &self.package,
            settings,
            &Secrets::default(),
            self.package.name.as_str(),
        )
    }

    /// Has the hook answer in a fresh sandbox, whatever it has answered before; nothing where there is no hook.
    pub(super) async fn answer(
        &self,
        session: &Session,
        settled: &SettledStage,
    ) -> Result<Option<Answer>, Error> {
        let Some(job) = hook_calls::job(&self.project, &self.stages, &self.package, settled)? else {
            return Ok(None);
        };
        let host = hook_calls::host(session)?;
        let reporter = Arc::clone(&session.reporter);
        let answer = blocking::run(move |stop| {
            let log = |level: Level, line: &str| {
                let line = format!("{}: {line}", level.as_str());
                reporter.report(Event::Log { id: "hook".to_owned(), line });
            };
            let most = host.limits().component.0;
            host.ask(&job.question, || hook_calls::read_component(&job.component, most), &log, &stop)
        });
        let answer: Result<Answer, HookError> = answer.await?;
        Ok(Some(answer?))
    }

    /// Returns the stage as it would be built, its part and its files checked.
    ///
    /// # Errors
    /// When the part is not valid, or the hook refuses the config.
    pub(super) fn input(&self, settled: SettledStage, answer: Option<&Answer>) -> Result<StageInput, Error> {
        render::input(&self.project, &self.package, settled, answer)
    }

    /// Returns the text of the package's own part.
    pub(super) fn part(&self) -> Result<String, Error> {
        Ok(self.package.part(&self.project.manifest.project.os)?.1)
    }
}

/// Returns the text of a `pib.toml` for the stage.
fn manifest(stage: &StageManifest, options: &TrialOptions) -> Result<String, Error> {
    let mut request = toml::Table::new();
    request.insert("path".to_owned(), ".".into());
    to_text(whole("test", stage, options, request)?)
}

/// Returns the text of a `pib.toml` that takes a version of a stage from a registry, as a stranger's would, and has a system around
/// it. `registries` are names and addresses; the first one has the stage.
pub(crate) fn strangers_manifest(
    (stage, version): (&StageManifest, &semver::Version),
    config: &[String],
    registries: &[(&str, String)],
) -> Result<String, Error> {
    let mut request = toml::Table::new();
    request.insert("version".to_owned(), format!("={version}").into());
    request.extend(registries.first().map(|(name, _)| ("registry".to_owned(), (*name).into())));
    let options = TrialOptions { config: config.to_vec(), ..TrialOptions::default() };
    let mut whole = whole("publish-test", stage, &options, request)?;
    if let Some(stages) = whole.get_mut("stages").and_then(toml::Value::as_table_mut) {
        stages.entry(SYSTEM).or_insert("1".into());
    }
    let registries = registries.iter().map(|(name, index)| {
        let table = toml::Table::from_iter([("index".to_owned(), index.as_str().into())]);
        ((*name).to_owned(), toml::Value::from(table))
    });
    whole.insert("registries".to_owned(), registries.collect::<toml::Table>().into());
    to_text(whole)
}

/// Returns a manifest with a project that the stage supports, and the stage, which comes from where `request` says.
fn whole(
    name: &str,
    stage: &StageManifest,
    options: &TrialOptions,
    mut request: toml::Table,
) -> Result<toml::Table, Error> {
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    let or = |given: &Option<String>, other: Option<String>, last: &str| {
        given.clone().or(other).unwrap_or_else(|| last.to_owned())
    };
    let board = or(&options.board, first(&stage.support.boards), "rpi4");
    let arch = match (&options.arch, board::find(&board)) {
        (Some(arch), _) => arch.clone(),
        (None, Ok(board)) => best(&board, stage).to_string(),
        // The manifest's reader explains what is wrong with the board.
        (None, Err(_)) => Arch::Arm64.to_string(),
    };
    let facts = [
        ("name", name.to_owned()),
        ("os", or(&options.os, first(&stage.support.os), "debian")),
        ("release", or(&options.release, None, "trixie")),
        ("board", board),
        ("arch", arch),
        ("hostname", "test".to_owned()),
        ("locale", "en_US.UTF-8".to_owned()),
        ("timezone", "UTC".to_owned()),
    ];
    let mut project = toml::Table::new();
    for (key, value) in facts {
        project.insert(key.to_owned(), value.into());
    }
    request.insert("config".to_owned(), settings(stage, &options.config)?.into());
    let mut stages = toml::Table::new();
    stages.insert(stage.name.to_string(), request.into());
    let mut whole = toml::Table::new();
    whole.insert("project".to_owned(), project.into());
    whole.insert("stages".to_owned(), stages.into());
    Ok(whole)
}

fn to_text(manifest: toml::Table) -> Result<String, Error> {
    toml::to_string(&manifest)
        .map_err(|error| Error::io("make up a project for the stage", "", std::io::Error::other(error)))
}

/// Returns the best of the board's architectures that the stage supports.
fn best(board: &board::Board, stage: &StageManifest) -> Arch {
    let supported = |arch: &&Arch| stage.support.arch.as_ref().is_none_or(|list| list.contains(arch));
    board.archs.iter().find(supported).copied().unwrap_or(board.archs[0])
}

/// Reads KEY=VALUE by the types of the stage's schema.
fn settings(stage: &StageManifest, given: &[String]) -> Result<toml::Table, Error> {
    let mut settings = toml::Table::new();
    for text in given {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            let message = format!("`{text}` does not say which value its key gets");
            Error::usage(message, "Write --config KEY=VALUE.")
        })?;
        let schema = stage.config.get(key).ok_or_else(|| {
            let keys = || stage.config.keys().map(String::as_str);
            let near = suggest::nearest(key, keys()).map(|near| format!("Did you mean `{near}`?"));
            let help = near.unwrap_or_else(|| format!("It knows {}.", suggest::list(keys())));
            Error::usage(format!("stage `{}` has no config key `{key}`", stage.name), help)
        })?;
        let wrong = |what: String| {
            let message = format!("config key `{key}` of stage `{}` {what}", stage.name);
            Error::usage(message, format!("`{key}`: {}", schema.help))
        };
        let value = config::from_command_line(schema, value).map_err(wrong)?;
        let value = toml::Value::try_from(&value).map_err(|error| wrong(error.to_string()))?;
        settings.insert(key.to_owned(), value);
    }
    Ok(settings)
}
