//! Settles what each stage is told: its config judged against its schema, the project's files that the config names,
//! the project's variables, and its secrets. Each of these is read once.

use std::collections::BTreeMap;

use pib_plan::assemble::{Arg, ContextFile, StageSecret};
use pib_plan::config::{self, Setting};
use pib_plan::manifest::ManifestText;
use pib_plan::manifest::project::{ProjectManifest, StageRequest};
use pib_plan::manifest::stage::{FILE_NAME, StageManifest};
use pib_plan::metadata::{ConfigType, ConfigValue};
use pib_plan::record::BuildRecord;
use pib_plan::variable::Variable;

use super::bare_variables;
use super::config_error::config_error_in;
use super::config_files::{self, ConfigFile};
use super::mirrors::Mirrors;
use super::secrets::{Overrides, Secrets, WantedSecret};
use super::{Packages, StageOptions, build_args};
use crate::project::consent::Consent;
use crate::project::reach::Reach;
use crate::project::{Error, ManifestResult as _, Project, Session};
use crate::source::Package;

/// The packages of a build, and what each stage is told.
pub(crate) struct Settled {
    pub(crate) packages: Packages,
    /// The stages, in build order, one for each package; or all that is wrong with one in manifests. That is told when the
    /// stages are rendered, together with what is wrong with the others.
    pub(crate) stages: Vec<Result<SettledStage, Error>>,
    /// The values of the secrets.
    pub(crate) secrets: Secrets,
    /// What the command line gives to parts.
    pub(crate) build_args: BTreeMap<String, String>,
}

/// What one stage is told.
#[derive(Debug, Clone)]
pub(crate) struct SettledStage {
    /// The config, by key.
    pub(crate) config: BTreeMap<String, SettledValue>,
    /// The arguments of its part: the variables that it uses, then the config.
    pub(crate) args: Vec<Arg>,
    /// The files that its context has: the package's, and those that the config names.
    pub(crate) files: Vec<ContextFile>,
    /// Its secrets.
    pub(crate) secrets: Vec<StageSecret>,
}

/// A config value that the schema has accepted.
#[derive(Debug, Clone)]
pub(crate) struct SettledValue {
    pub(crate) setting: Setting,
    /// The files of the project that it names.
    pub(crate) files: Vec<ConfigFile>,
}

/// The config of a stage before its secrets are known.
type Settings = BTreeMap<String, Setting>;

/// Settles the stages of a build.
///
/// # Errors
/// When a file or secret cannot be read, or an option of the command line is wrong.
pub(crate) async fn settle(
    session: &Session,
    packages: Packages,
    options: &StageOptions,
) -> Result<Settled, Error> {
    let build_args = build_args::parse(session, &options.build_args)?;
    let overrides = Overrides::parse(session, &options.secrets, &packages.list)?;
    let judged = judge(&packages, &overrides)?;
    check_reach(session, &packages, &judged, &overrides, true)?;
    let wanted = wanted(&packages, &judged);
    let secrets = Secrets::get(session, packages.project(), &wanted).await?;
    complete(session, packages, judged, secrets, build_args)
}

/// Settles the stages for a plan: no program is started, and a secret that cannot be read is taken to be as it was.
///
/// # Errors
/// As [`settle`], but for secrets.
pub(crate) fn settle_as_recorded(
    session: &Session,
    packages: Packages,
    record: &BuildRecord,
    options: &StageOptions,
) -> Result<Settled, Error> {
    let build_args = build_args::parse(session, &options.build_args)?;
    let overrides = Overrides::parse(session, &options.secrets, &packages.list)?;
    let judged = judge(&packages, &overrides)?;
    check_reach(session, &packages, &judged, &overrides, false)?;
    let secrets = Secrets::recall(session, packages.project(), &wanted(&packages, &judged), record);
    complete(session, packages, judged, secrets, build_args)
}

/// Judges the config of each stage.
fn judge(packages: &Packages, overrides: &Overrides) -> Result<Vec<Result<Settings, Error>>, Error> {
    let manifest = &packages.project().manifest;
    packages.list.iter().map(|package| settings(manifest, package, overrides).or_wrong_manifest()).collect()
}

/// Checks that the project may have what its stages' config names outside of its folder. What the command line gives a
/// secret instead is the user's own word. A plan starts no programs, and asks for none.
///
/// # Errors
/// When the user has not allowed it.
fn check_reach(
    session: &Session,
    packages: &Packages,
    judged: &[Result<Settings, Error>],
    overrides: &Overrides,
    starts_programs: bool,
) -> Result<(), Error> {
    let dir = &packages.project().dir;
    let matters = |reach: &Reach| {
        starts_programs || session.consent.is_collecting() || !matches!(reach, Reach::Runs { .. })
    };
    let mut reaches = Vec::new();
    for (package, settings) in packages.list.iter().zip(judged) {
        let theirs = settings
            .iter()
            .flatten()
            .filter(|(key, _)| overrides.source(package.name.as_str(), key).is_none());
        reaches.extend(theirs.flat_map(|(_, setting)| config_files::outside(dir, setting)).filter(matters));
    }
    session.consent.check(dir, reaches)
}

fn wanted<'a>(packages: &'a Packages, judged: &[Result<Settings, Error>]) -> Vec<WantedSecret<'a>> {
    let mut wanted = Vec::new();
    for (stage, settings) in packages.list.iter().zip(judged) {
        let Ok(settings) = settings else { continue };
        wanted.extend(settings.iter().filter_map(|(key, setting)| match setting {
            Setting::Secret(source) => Some(WantedSecret { stage, key: key.clone(), source: source.clone() }),
            _ => None,
        }));
    }
    wanted
}

fn complete(
    session: &Session,
    packages: Packages,
    judged: Vec<Result<Settings, Error>>,
    secrets: Secrets,
    build_args: BTreeMap<String, String>,
) -> Result<Settled, Error> {
    let project = packages.project();
    let mirrors = Mirrors::of(session, &project.manifest, Mirrors::init_of(&packages.list));
    let names: Vec<&str> = packages.list.iter().map(|package| package.name.as_str()).collect();
    let names = names.join(" ");
    let stages = packages.list.iter().zip(judged).map(|(package, settings)| {
        let settled = settings.and_then(|settings| {
            stage(project, &session.consent, &mirrors, package, settings, &secrets, &names)
        });
        settled.or_wrong_manifest()
    });
    let stages: Vec<_> = stages.collect::<Result<_, _>>()?;
    Ok(Settled { packages, stages, secrets, build_args })
}

/// Settles one stage, whose `settings` its schema has accepted; `stages` are the names of the build's, in order.
///
/// # Errors
/// When a file that the config names is not there, or there are more or fewer than the schema allows; or when the user has
/// not allowed where a link leads.
pub(crate) fn stage(
    project: &Project,
    consent: &Consent,
    mirrors: &Mirrors,
    package: &Package,
    settings: Settings,
    given: &Secrets,
    stages: &str,
) -> Result<SettledStage, Error> {
    let args = match package.manifest.is_bare() {
        true => bare_variables::of(&project.manifest, mirrors, package, stages),
        false => variables(&project.manifest, mirrors, &package.manifest),
    };
    let mut settled =
        SettledStage { config: BTreeMap::new(), args, files: package_files(package), secrets: Vec::new() };
    for (key, setting) in settings {
        let files = match &setting {
            Setting::Files { patterns, single } => {
                config_files::read(project, package, &key, patterns, *single, consent)?
            }
            _ => Vec::new(),
        };
        settled.add(package, key, SettledValue { setting, files }, given);
    }
    Ok(settled)
}

impl SettledStage {
    fn add(&mut self, package: &Package, key: String, value: SettledValue, given: &Secrets) {
        match value.argument() {
            Some(text) => self.args.push(Arg { name: config::arg_name(&key), value: text, keyed: true }),
            None => self.secrets.push(given.of_stage(package.name.as_str(), &key)),
        }
        self.files.extend(value.files.iter().map(|found| found.file.clone()));
        self.config.insert(key, value);
    }
}

impl SettledValue {
    /// Returns the value as a part sees it; nothing for a secret, which is mounted.
    fn argument(&self) -> Option<String> {
        Some(match &self.setting {
            Setting::Text(text) => text.clone(),
            Setting::Integer(number) => number.to_string(),
            Setting::Boolean(value) => value.to_string(),
            Setting::List(items) => items.join(" "),
            Setting::Size(bytes) => bytes.to_string(),
            Setting::Files { .. } => {
                let paths = self.files.iter().map(|found| found.file.path.as_str());
                paths.collect::<Vec<_>>().join(" ")
            }
            Setting::Secret(_) => return None,
        })
    }
}

/// Judges the project's values for a stage, and shows each problem at its place in `pib.toml`.
///
/// # Errors
/// All values that do not fit the schema.
pub(crate) fn settings(
    project: &ProjectManifest,
    package: &Package,
    overrides: &Overrides,
) -> Result<Settings, Error> {
    let stage = &package.manifest;
    let request = project.stages.iter().find(|request| request.name == package.name);
    let entries = request.map(|request| request.config.as_slice()).unwrap_or_default();
    let mut values: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    for key in secret_keys(stage) {
        if let Some(source) = overrides.source(stage.name.as_str(), key) {
            values.insert(key.clone(), source.to_value());
        }
    }
    config::settle(stage.name.as_str(), &stage.config, &values).map_err(|problems| {
        let text = without_secrets(project, stage, request);
        let place = |problem: config::ConfigProblem| {
            let error = config_error_in(&text, request, &problem.key, problem.to_string());
            let error = error.with_code("pib::stage::config");
            match problem.help {
                Some(help) => error.with_help(help),
                None => error,
            }
        };
        Error::manifests(problems.into_iter().map(place).collect())
    })
}

/// Returns the manifest's text with the plain values of a stage's secrets blotted out: somebody may have written one
/// where only its source belongs, and what a message shows ends in logs.
fn without_secrets(
    project: &ProjectManifest,
    stage: &StageManifest,
    request: Option<&StageRequest>,
) -> ManifestText {
    let mut text = project.source.text.to_string();
    let entries = request.map(|request| request.config.as_slice()).unwrap_or_default();
    let plain = |value: &ConfigValue| !matches!(value, ConfigValue::Table(_));
    for entry in
        entries.iter().filter(|entry| plain(&entry.value) && secret_keys(stage).any(|key| *key == entry.key))
    {
        let Some((key, value)) = text.get(entry.span.clone()).and_then(|whole| whole.split_once('=')) else {
            continue;
        };
        let stars: String = value
            .chars()
            .map(|c| if c == '\n' { "\n".to_owned() } else { "*".repeat(c.len_utf8()) })
            .collect();
        text.replace_range(entry.span.clone(), &format!("{key}={stars}"));
    }
    ManifestText::new(&project.source.file, &text)
}

fn secret_keys(stage: &StageManifest) -> impl Iterator<Item = &String> {
    stage.config.iter().filter(|(_, schema)| schema.kind == ConfigType::Secret).map(|(key, _)| key)
}

fn variables(project: &ProjectManifest, mirrors: &Mirrors, stage: &StageManifest) -> Vec<Arg> {
    let uses = Variable::ALL.into_iter().filter(|variable| stage.uses.contains(variable));
    uses.map(|variable| mirrors.argument(project, variable)).collect()
}

/// Lists what a stage's package brings into the context: all its files but those that only pib reads.
fn package_files(package: &Package) -> Vec<ContextFile> {
    let hook = package.manifest.hook.as_ref().map(|hook| hook.component.as_str());
    let own = |path: &str| path == FILE_NAME || is_part(path) || Some(path) == hook;
    let files = package.files.iter().filter(|file| !own(&file.path));
    let files = files.map(|file| ContextFile {
        path: format!("stages/{}/{}", package.name, file.path),
        source: package.source_of(file),
        digest: file.digest,
        size: file.size,
        mode: file.mode,
    });
    let folders = package.folders.iter();
    let folders = folders
        .map(|folder| ContextFile::folder(format!("stages/{}/{}", package.name, folder.path), folder.mode));
    files.chain(folders).collect()
}

fn is_part(path: &str) -> bool {
    path.starts_with("Dockerfile.") && path.ends_with(".part") && !path.contains('/')
}
