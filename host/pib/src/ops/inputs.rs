//! Turns the resolved stages into what the assembler takes: packages fetched, config settled, files listed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pib_plan::assemble::{Arg, ContextFile, FileSource, StageInput};
use pib_plan::config::{self, Setting};
use pib_plan::id::Digest;
use pib_plan::manifest::project::{ProjectManifest, StageRequest};
use pib_plan::manifest::stage::{FILE_NAME, StageManifest};
use pib_plan::manifest::{ManifestError, ManifestText};
use pib_plan::part::{self, Part};
use pib_plan::secret;
use pib_plan::stage::{ConfigType, ConfigValue};
use pib_plan::variable::Variable;

use super::Error;
use super::base::Mirrors;
use super::hooks::{self, Answers};
use super::project::Project;
use super::secrets::{Secrets, Wanted};
use crate::hooks::Answer;
use crate::source::Package;

/// The most bytes that the files of one config key may have together: they are keys and small assets.
const MAX_CONFIG_FILES: u64 = 256 << 20;

/// Returns the stages of `packages`, which are in build order, ready to be assembled.
pub(super) fn stage_inputs(
    project: &Project,
    mirrors: &Mirrors,
    packages: &[Package],
    given: &Secrets,
    answers: &Answers,
) -> Result<Vec<StageInput>, Error> {
    let mut inputs = Vec::with_capacity(packages.len());
    let mut problems = Vec::new();
    for package in packages {
        match stage_input(project, mirrors, package, given, answers.get(&package.name)) {
            Ok(input) => inputs.push(input),
            // Mistakes in manifests are all told at once; anything else ends the work.
            Err(Error::Manifest(error)) => problems.push(error),
            Err(Error::Manifests(errors)) => problems.extend(errors),
            Err(error) => return Err(error),
        }
    }
    match (problems.len(), problems.pop()) {
        (1, Some(only)) => Err(only.into()),
        (_, Some(last)) => Err(Error::Manifests(problems.into_iter().chain([last]).collect())),
        _ => Ok(inputs),
    }
}

/// Returns the stage of `package`, ready to be assembled, with what its hook has answered.
pub(super) fn stage_input(
    project: &Project,
    mirrors: &Mirrors,
    package: &Package,
    given: &Secrets,
    answer: Option<&Answer>,
) -> Result<StageInput, Error> {
    let manifest = &package.manifest;
    let request = request(project, package);
    let settings = settle(&project.manifest, manifest, request, given)?;
    let mut args = variables(&project.manifest, mirrors, manifest);
    let mut context = package_files(package);
    let mut secrets = Vec::new();
    for (key, setting) in &settings {
        let value = match setting {
            Setting::Text(text) => text.clone(),
            Setting::Integer(number) => number.to_string(),
            Setting::Boolean(value) => value.to_string(),
            Setting::List(items) => items.join(" "),
            Setting::Size(bytes) => bytes.to_string(),
            Setting::Files { patterns, single } => {
                let found = config_files(project, package, key, patterns, *single, request)?;
                let paths = found.iter().map(|file| file.path.clone()).collect::<Vec<_>>().join(" ");
                context.extend(found);
                paths
            }
            Setting::Secret(_) => {
                secrets.push(given.of_stage(package.name.as_str(), key));
                continue;
            }
        };
        args.push(Arg { name: arg_name(key), value, keyed: true });
    }
    let (name, text) = match answer {
        Some(answer) => {
            let (name, text, files) = hooks::rendered(project, package, answer, &context)?;
            context.extend(files);
            (name, text)
        }
        None => read_part(project, package)?,
    };
    let part = check_part(&name, &text, &context)?;
    // What a hook renders need not mount a secret that this project does not give.
    let rendered = |key: &String| answer.is_none() || settings.contains_key(key);
    let schema = manifest.config.clone().into_iter().filter(|(key, _)| rendered(key)).collect();
    part.check_secrets(&name, package.name.as_str(), &schema)?;
    let (name, version) = (package.name.clone(), package.version.clone());
    Ok(StageInput { name, version, args, part, files: context, native: manifest.native, secrets })
}

/// Judges the project's values, and shows each problem at its place in `pib.toml`.
pub(super) fn settle(
    project: &ProjectManifest,
    stage: &StageManifest,
    request: Option<&StageRequest>,
    given: &Secrets,
) -> Result<BTreeMap<String, Setting>, Error> {
    let entries = request.map(|request| request.config.as_slice()).unwrap_or_default();
    let mut values: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    for key in secret_keys(stage) {
        if let Some(source) = given.source(stage.name.as_str(), key) {
            values.insert(key.clone(), source.to_value());
        }
    }
    config::settle(stage.name.as_str(), &stage.config, &values).map_err(|problems| {
        let mut errors: Vec<ManifestError> = problems
            .into_iter()
            .map(|problem| {
                let text = without_secrets(project, stage, request);
                let error = config_error_in(&text, request, &problem.key, problem.to_string());
                match problem.help {
                    Some(help) => error.with_help(help),
                    None => error,
                }
            })
            .collect();
        match (errors.len(), errors.pop()) {
            (1, Some(only)) => only.into(),
            (_, last) => Error::Manifests(errors.into_iter().chain(last).collect()),
        }
    })
}

/// Returns an error that points at a config key's value in `pib.toml`, or at its stage, or at nothing where the
/// project does not name the stage.
pub(super) fn config_error(
    project: &ProjectManifest,
    request: Option<&StageRequest>,
    key: &str,
    message: String,
) -> ManifestError {
    config_error_in(&project.source, request, key, message)
}

fn config_error_in(
    source: &ManifestText,
    request: Option<&StageRequest>,
    key: &str,
    message: String,
) -> ManifestError {
    let entry = request.and_then(|request| request.config.iter().find(|entry| entry.key == key));
    match (entry, request) {
        (Some(entry), _) => source.error(entry.span.clone(), message, "this value"),
        (None, Some(request)) => source.error(request.span.clone(), message, "this stage"),
        (None, None) => source.error(0..0, message, ""),
    }
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

/// Returns the ids of the secrets that a stage may have.
pub(super) fn secret_ids(package: &Package) -> Vec<String> {
    secret_keys(&package.manifest).map(|key| secret::id(package.name.as_str(), key)).collect()
}

/// Returns what the project says of a stage, if anything.
pub(super) fn request<'a>(project: &'a Project, package: &Package) -> Option<&'a StageRequest> {
    project.manifest.stages.iter().find(|request| request.name == package.name)
}

/// Returns the secrets that the stages want, with where they come from.
pub(super) fn secrets<'a>(
    project: &Project,
    packages: &'a [Package],
    given: &Secrets,
) -> Result<Vec<Wanted<'a>>, Error> {
    let mut wanted = Vec::new();
    for stage in packages.iter().filter(|package| secret_keys(&package.manifest).next().is_some()) {
        let settings = settle(&project.manifest, &stage.manifest, request(project, stage), given)?;
        wanted.extend(settings.into_iter().filter_map(|(key, setting)| match setting {
            Setting::Secret(source) => Some(Wanted { stage, key, source }),
            _ => None,
        }));
    }
    Ok(wanted)
}

fn arg_name(key: &str) -> String {
    key.to_uppercase().replace('-', "_")
}

fn variables(project: &ProjectManifest, mirrors: &Mirrors, stage: &StageManifest) -> Vec<Arg> {
    let uses = Variable::ALL.into_iter().filter(|variable| stage.uses.contains(variable));
    uses.map(|variable| {
        // Where this machine fetches packages from is no property of the image.
        let keyed = !matches!(variable, Variable::Mirror | Variable::SecurityMirror);
        let value = match variable {
            Variable::Mirror => mirrors.build.as_str(),
            Variable::SecurityMirror => mirrors.build_security.as_str(),
            Variable::PublicMirror => mirrors.public.as_str(),
            Variable::PublicSecurityMirror => mirrors.public_security.as_str(),
            other => project.project.variable(other).unwrap_or_default(),
        };
        Arg { name: variable.arg().to_owned(), value: value.to_owned(), keyed }
    })
    .collect()
}

/// Lists what a stage's package brings into the context: all its files but those that only pib reads.
fn package_files(package: &Package) -> Vec<ContextFile> {
    let hook = package.manifest.hook.as_ref().map(|hook| hook.component.as_str());
    let own =
        |path: &str| path == FILE_NAME || path.starts_with("README") || is_part(path) || Some(path) == hook;
    let files = package.files.iter().filter(|file| !own(&file.path));
    files
        .map(|file| ContextFile {
            path: format!("stages/{}/{}", package.name, file.path),
            source: FileSource::File(package.root.join(&file.path)),
            digest: file.digest,
            size: file.size,
            executable: file.executable,
        })
        .collect()
}

fn is_part(path: &str) -> bool {
    path.starts_with("Dockerfile.") && path.ends_with(".part") && !path.contains('/')
}

/// Returns the package's own part: its name for messages, and its text.
fn read_part(project: &Project, package: &Package) -> Result<(String, String), Error> {
    if let Some(hook) = &package.manifest.hook {
        // Built without its hook, the stage would be another than its author made.
        let message = format!("the hook `{}` of stage `{}` has not been asked", hook.component, package.name);
        return Err(Error::Stage { message, help: None });
    }
    let (name, text) = package.part(&project.manifest.project.os)?;
    Ok((format!("{}/{name}", package.name), text))
}

fn check_part(name: &str, text: &str, context: &[ContextFile]) -> Result<Part, Error> {
    let part = part::check(name, text)?;
    part.check_copies(name, |wanted| {
        let below = format!("{wanted}/");
        context.iter().any(|file| file.path == wanted || file.path.starts_with(&below))
    })?;
    Ok(part)
}

/// Lists the project's files that a config key names, with their places in the context.
pub(super) fn config_files(
    project: &Project,
    package: &Package,
    key: &str,
    patterns: &[String],
    single: bool,
    request: Option<&StageRequest>,
) -> Result<Vec<ContextFile>, Error> {
    let blame = |what: String| {
        let message = format!("config key `{key}` of stage `{}` {what}", package.name);
        let error = config_error(&project.manifest, request, key, message);
        Error::from(error.with_help("Paths are relative to the folder of pib.toml."))
    };
    let mut paths = Vec::new();
    for pattern in patterns {
        paths.extend(expand(&project.dir, pattern).map_err(blame)?);
    }
    if single && paths.len() != 1 {
        return Err(blame(format!("names {} files, expected one", paths.len())));
    }
    if let Some(schema) = package.manifest.config.get(key).filter(|_| !single) {
        config::counted(schema, paths.len(), "files").map_err(blame)?;
    }
    let mut total = 0;
    paths
        .into_iter()
        .enumerate()
        .map(|(number, path)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.chars().any(char::is_whitespace) {
                return Err(blame(format!(
                    "names `{}`, and file names with white space cannot be passed on",
                    path.display()
                )));
            }
            let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
            total += bytes.len() as u64;
            if total > MAX_CONFIG_FILES {
                return Err(blame("names files of more than 256 MiB".to_owned()));
            }
            Ok(ContextFile {
                path: format!("stages/{}/config/{key}/{number:03}-{name}", package.name),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                source: FileSource::Bytes(bytes),
                executable: false,
            })
        })
        .collect()
}

/// Returns the files that a name or glob stands for, sorted.
pub(super) fn expand(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let full = dir.join(pattern);
    if full.is_file() {
        return Ok(vec![full]);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(format!("names `{pattern}`, which is no file"));
    }
    let text = full.to_string_lossy();
    let found = glob::glob(&text).map_err(|error| format!("has the pattern `{pattern}`: {error}"))?;
    let mut files: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file()).collect();
    if files.is_empty() {
        return Err(format!("has the pattern `{pattern}`, which no file matches"));
    }
    files.sort();
    Ok(files)
}
