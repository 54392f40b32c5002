//! Adds stages to the project, configures them, and removes them.

use std::collections::BTreeMap;
use std::path::Path;

use pib_event::ReporterExt as _;
use pib_plan::config;
use pib_plan::id::StageName;
pub use pib_plan::index::GitReference;
use pib_plan::manifest::edit::{self, NewStage};
use pib_plan::manifest::project::FILE_NAME;
use pib_plan::metadata::{ConfigKey, ConfigType, ConfigValue};
use pib_plan::resolve::Resolution;
use semver::VersionReq;
use serde::Serialize;

use crate::ops::repository;
use crate::pipeline;
use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve_all::resolve_all;
use crate::project::{self, Error, LockMode, Project, Session, files, reach};
use crate::source::path;

/// What to add.
#[derive(Debug, Clone, Default)]
pub struct AddOptions {
    /// Stages as `NAME` or `NAME@REQUIREMENT`; may be absent with `path` or `git`.
    pub stages: Vec<String>,
    /// A stage's folder; with `git` inside the repository.
    pub path: Option<String>,
    /// A git repository, and what to take of it.
    pub git: Option<(String, GitReference)>,
    /// The registry, by its name in the project.
    pub registry: Option<String>,
    /// Config values as `STAGE.KEY=VALUE`.
    pub config: Vec<String>,
    /// The target of the project that gets them; else the project, and with it all targets.
    pub target: Option<String>,
    /// Change nothing.
    pub dry_run: bool,
    /// Use no network.
    pub offline: bool,
}

/// What was added.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Added {
    /// The stages, as `name version`.
    pub stages: Vec<String>,
    /// The target that has them, where not all of the project has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How the lock changes, a line each.
    pub lock: String,
    /// Whether `pib.toml` or the lock changes: all of it may be there already.
    #[serde(skip)]
    pub is_new: bool,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// What to remove.
#[derive(Debug, Clone, Default)]
pub struct RemoveOptions {
    /// The stages' names.
    pub stages: Vec<String>,
    /// The target of the project that shall be without them; else the project.
    pub target: Option<String>,
    /// Change nothing.
    pub dry_run: bool,
    /// Use no network.
    pub offline: bool,
}

/// What was removed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// The stages' names.
    pub stages: Vec<String>,
    /// The target that is without them, where not all of the project is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How the lock changes, a line each.
    pub lock: String,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// Adds stages to `pib.toml` and `pib.lock`; both change, or neither.
///
/// # Errors
/// When a stage does not exist or does not go with the others, a value does not fit its key, or there is no such target.
pub async fn add(session: &Session, options: &AddOptions) -> Result<Added, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let old = project::manifest_text(&dir)?;
    let mode = LockMode { locked: false, offline: options.offline };
    let target = options.target.as_deref();
    let was = Project::with_manifest(session, dir.clone(), &old)?.of(target)?;
    let mut wanted = match &options.git {
        Some(git) => {
            let (name, path) = (only_stage(options)?, options.path.as_deref());
            vec![repository::stage(session, &dir, git, name, path, mode).await?]
        }
        None => wanted(session, &dir, options)?,
    };

    // Without config first: which keys there are is known only when the stages are.
    let mut text = edit_all(&old, target, &wanted)?;
    let project = Project::with_manifest(session, dir.clone(), &text)?.of(target)?;
    // What the command line names is the user's own word.
    let before = reach::of_manifest(&dir, &was.manifest);
    session.consent.grant(reach::of_manifest(&dir, &project.manifest).difference(&before).cloned());
    let resolved = pipeline::resolve(session, project, mode).await?;
    pin_open_requirements(&mut wanted, &resolved.resolution);
    configure(session, &dir, &mut wanted, &resolved.resolution, &options.config)?;
    text = edit_all(&old, target, &wanted)?;
    let project = Project::with_manifest(session, dir.clone(), &text)?;
    tell_missing_keys(session, &project, target, &wanted, &resolved.resolution)?;
    let mut all = resolve_all(session, &project, mode).await?;
    // Without a network, the stages are what matters here; `pib lock` says why there is no base.
    // What was asked for is about stages.
    lock_bases(session, &mut all, mode, PackageChoice::MadeOrSmall).await?;

    let lock = all.changes().join("\n");
    let is_new = text != old || !lock.is_empty();
    if !options.dry_run {
        let texts: Vec<_> = [(FILE_NAME, text)].into_iter().chain(all.lock_text(mode)?).collect();
        files::replace_together(&project.folder()?, &texts)?;
        session.consent.keep_granted(&dir)?;
    }
    let version = |name: &StageName| resolved.resolution.get(name).map(|stage| stage.version.to_string());
    let stages =
        wanted.iter().map(|stage| format!("{} {}", stage.name, version(&stage.name).unwrap_or_default()));
    let (target, dry_run) = (options.target.clone(), options.dry_run);
    Ok(Added { stages: stages.collect(), target, lock, is_new, dry_run })
}

/// Says which config keys an added stage still needs: it is in the project, and cannot be built.
fn tell_missing_keys(
    session: &Session,
    project: &Project,
    target: Option<&str>,
    added: &[NewStage],
    resolution: &Resolution,
) -> Result<(), Error> {
    let part = project.clone().of(target)?;
    for request in part.manifest.stages.iter().filter(|own| added.iter().any(|new| new.name == own.name)) {
        let Some(stage) = resolution.get(&request.name) else { continue };
        let lacks = |(key, schema): &(&String, &ConfigKey)| {
            schema.required && request.config.iter().all(|entry| entry.key != **key)
        };
        let missing: Vec<&str> =
            stage.entry.config.iter().filter(lacks).map(|(key, _)| key.as_str()).collect();
        if let Some(first) = missing.first() {
            let (name, keys) = (&request.name, pib_plan::suggest::list(missing.iter().copied()));
            session.reporter.note(format!(
                "stage `{name}` needs a value for {keys}: pib add {name} --config {name}.{first}=VALUE"
            ));
        }
    }
    Ok(())
}

/// Removes stages from `pib.toml` and from `pib.lock`; a target leaves out those that the project has.
///
/// # Errors
/// When one is not there, or another stage needs it in a way that only the project's request satisfied.
pub async fn remove(session: &Session, options: &RemoveOptions) -> Result<Removed, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let old = project::manifest_text(&dir)?;
    let mut text = old.clone();
    let whole = Project::with_manifest(session, dir.clone(), &old)?;
    let part = whole.of(options.target.as_deref())?;
    for name in &options.stages {
        text = without(&text, &whole, &part, name)?;
    }
    let project = Project::with_manifest(session, dir, &text)?;
    let mode = LockMode { locked: false, offline: options.offline };
    let all = resolve_all(session, &project, mode).await?;
    let lock = all.changes().join("\n");
    if !options.dry_run {
        let texts: Vec<_> = [(FILE_NAME, text)].into_iter().chain(all.lock_text(mode)?).collect();
        files::replace_together(&project.folder()?, &texts)?;
    }
    let RemoveOptions { stages, target, dry_run, .. } = options.clone();
    Ok(Removed { stages, target, lock, dry_run })
}

/// Returns the manifest's text in which the project, or the target that `part` is, does without a stage.
fn without(text: &str, whole: &Project, part: &Project, name: &str) -> Result<String, Error> {
    let lists = |project: &Project| project.manifest.stages.iter().any(|stage| stage.name.as_str() == name);
    let parsed = name.parse::<StageName>();
    if let Ok(parsed) = &parsed
        && lists(part)
    {
        return Ok(match part.target_name() {
            Some(target) if lists(whole) => edit::leave_out_stage(text, target, parsed)?,
            target => edit::remove_stage(text, target, parsed)?.0,
        });
    }
    let known = part.manifest.stages.iter().map(|stage| stage.name.as_str());
    let (whose, tree) = match part.target_name() {
        Some(target) => (format!("the stages of target `{target}`"), format!("pib tree --target {target}")),
        None => ("the project's stages".to_owned(), "pib tree".to_owned()),
    };
    let help = match pib_plan::suggest::nearest(name, known) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => format!("`{tree}` shows the stages of the build."),
    };
    Err(Error::usage(format!("`{name}` is not among {whose}"), help))
}

fn edit_all(text: &str, target: Option<&str>, stages: &[NewStage]) -> Result<String, Error> {
    let mut text = text.to_owned();
    for stage in stages {
        text = edit::add_stage(&text, target, stage)?;
    }
    Ok(text)
}

/// Reads the stages of the command line; those of which only config is given are among the project's already.
fn wanted(session: &Session, dir: &Path, options: &AddOptions) -> Result<Vec<NewStage>, Error> {
    let mut wanted = Vec::new();
    for text in &options.stages {
        let (name, requirement) = text.split_once('@').map_or((text.as_str(), None), |(n, r)| (n, Some(r)));
        let name = stage_name(name)?;
        let requirement = requirement.unwrap_or("*");
        VersionReq::parse(requirement).map_err(|error| {
            let message = format!("`{requirement}` is not a version requirement: {error}");
            Error::usage(message, "Requirements look like 1, 1.2 or >=1.2,<3.")
        })?;
        let registry = options.registry.clone();
        wanted.push(NewStage { version: Some(requirement.to_owned()), registry, ..NewStage::new(name) });
    }
    if let Some(given) = &options.path {
        let full = session.path(given);
        let name = path::describe(&full, given)?.name;
        let relative = relative(&full, dir);
        match wanted.as_mut_slice() {
            [] => wanted.push(NewStage { path: Some(relative), ..NewStage::new(name) }),
            [one] if one.name == name => (one.version, one.path) = (None, Some(relative)),
            _ => {
                let message = format!("the folder `{given}` holds the stage `{name}`");
                return Err(Error::usage(message, "Give --path with no other stage's name."));
            }
        }
    }
    Ok(wanted)
}

/// Returns the stage that is to be taken out of a repository, where the command line names it.
fn only_stage(options: &AddOptions) -> Result<Option<StageName>, Error> {
    match options.stages.as_slice() {
        [] => Ok(None),
        [one] => stage_name(one).map(Some),
        _ => {
            let help = "Add them one after the other; each has a folder of its own in the repository.";
            Err(Error::usage("--git takes one stage at a time", help))
        }
    }
}

fn stage_name(text: &str) -> Result<StageName, Error> {
    text.parse().map_err(|error: pib_plan::id::NameError| {
        Error::usage(error.to_string(), "Write a stage as NAME or NAME@REQUIREMENT, e.g. watchdog@1.")
    })
}

/// Returns `path` as the manifest in `dir` names it: relative where they share a beginning.
fn relative(path: &Path, dir: &Path) -> String {
    let clean = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, dir) = (clean(path), clean(dir));
    let shared = path.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return path.to_string_lossy().into_owned();
    }
    let up = dir.components().skip(shared).map(|_| "..".to_owned());
    let down = path.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Writes what was resolved for a stage that was asked for without a requirement: its major version.
fn pin_open_requirements(wanted: &mut [NewStage], resolution: &Resolution) {
    for stage in wanted.iter_mut().filter(|stage| stage.version.as_deref() == Some("*")) {
        if let Some(resolved) = resolution.get(&stage.name) {
            let version = &resolved.version;
            let text = match (version.major, version.minor) {
                _ if !version.pre.is_empty() => version.to_string(),
                (0, 0) => format!("0.0.{}", version.patch),
                (0, minor) => format!("0.{minor}"),
                (major, _) => major.to_string(),
            };
            stage.version = Some(text);
        }
    }
}

/// Puts the values of `--config` to their stages, each read by the type that the stage's schema gives it.
fn configure(
    session: &Session,
    dir: &Path,
    wanted: &mut Vec<NewStage>,
    resolution: &Resolution,
    config: &[String],
) -> Result<(), Error> {
    let mut by_stage: BTreeMap<StageName, Vec<(String, ConfigValue)>> = BTreeMap::new();
    for text in config {
        let (name, key, value) = split(text)?;
        let (name, value) = judged(session, dir, resolution, name, key, value)?;
        by_stage.entry(name).or_default().push((key.to_owned(), value));
    }
    for (name, values) in by_stage {
        match wanted.iter_mut().find(|stage| stage.name == name) {
            Some(stage) => stage.config = values,
            None => wanted.push(NewStage { config: values, ..NewStage::new(name) }),
        }
    }
    Ok(())
}

fn split(text: &str) -> Result<(&str, &str, &str), Error> {
    let parts = text.split_once('=').and_then(|(path, value)| {
        let (stage, key) = path.split_once('.')?;
        Some((stage, key, value))
    });
    parts.ok_or_else(|| {
        let message = format!("`{text}` does not say which key of which stage it sets");
        Error::usage(message, "Write --config STAGE.KEY=VALUE.")
    })
}

fn judged(
    session: &Session,
    dir: &Path,
    resolution: &Resolution,
    stage: &str,
    key: &str,
    text: &str,
) -> Result<(StageName, ConfigValue), Error> {
    let known = || resolution.stages.iter().map(|stage| stage.name.as_str());
    let resolved = stage.parse().ok().and_then(|name: StageName| resolution.get(&name));
    let Some(resolved) = resolved else {
        let near = pib_plan::suggest::nearest(stage, known()).map(|near| format!("Did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("The build has {}.", pib_plan::suggest::list(known())));
        return Err(Error::usage(format!("stage `{stage}` is not in the build"), help));
    };
    let schema = &resolved.entry.config;
    let Some(entry) = schema.get(key) else {
        let keys = || schema.keys().map(String::as_str);
        let near = pib_plan::suggest::nearest(key, keys()).map(|near| format!("Did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("It knows {}.", pib_plan::suggest::list(keys())));
        return Err(Error::usage(format!("stage `{stage}` has no config key `{key}`"), help));
    };
    // A path on the command line is relative to where the person is; one in the manifest to the project.
    let files = matches!(entry.kind, ConfigType::Path | ConfigType::Paths);
    let text = if files {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| relative(&session.path(part), dir)).collect::<Vec<_>>().join(",")
    } else if let (ConfigType::Secret, Some(path)) = (entry.kind, text.strip_prefix("file:")) {
        format!("file:{}", relative(&session.path(path), dir))
    } else {
        text.to_owned()
    };
    let value = config::from_command_line(entry, &text).map_err(|what| {
        let help = if entry.help.is_empty() { String::new() } else { format!("`{key}`: {}.", entry.help) };
        Error::usage(format!("config key `{key}` of stage `{stage}` {what}"), help)
    })?;
    Ok((resolved.name.clone(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_to_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("project");
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        std::fs::create_dir_all(folder.path().join("other")).unwrap();
        assert_eq!(relative(&dir.join("keys"), &dir), "keys");
        assert_eq!(relative(&folder.path().join("other"), &dir), "../other");
        assert_eq!(relative(&dir, &dir), ".");
        assert_eq!(relative(Path::new("/nonexistent/k"), &dir), "/nonexistent/k");
    }

    #[test]
    fn config_is_split_at_the_first_dot_and_equals_sign() {
        assert_eq!(split("a.b-c=d=e.f").unwrap(), ("a", "b-c", "d=e.f"));
        assert!(split("a.b").is_err());
        assert!(split("ab=c").is_err());
    }
}
