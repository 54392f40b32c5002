//! Looks a stage over before others get it: manifest, schema, part, hook.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pib_plan::hook;
use pib_plan::manifest::stage::StageManifest;
use pib_plan::metadata::ConfigType;
use pib_plan::suggest::count;
use serde::Serialize;

use super::trial::{Trial, TrialOptions};
use super::{HOOK_FOLDER, folder};
use crate::hooks::{Answer, Severity};
use crate::project::{Error, Session, files};
use crate::source::{self, Package, git, registry_folder};

/// The largest component that is looked at: more than a package may have.
const MAX_COMPONENT: u64 = 1 << 30;
/// A component of more bytes than this is worth a word: everybody who uses the stage fetches and compiles it.
const LARGE: usize = 1 << 20;
/// The folder that cargo writes to.
const OUTPUT_FOLDER: &str = "target";

/// A stage that may be published.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckedStage {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// What was found to be right.
    pub passed: Vec<String>,
    /// What might be better.
    pub warnings: Vec<String>,
}

/// Checks a stage as a stranger's build would, and more.
///
/// # Errors
/// When the stage could not be built, or its hook answers differently from one time to the next.
pub async fn check(session: &Session, options: &TrialOptions) -> Result<CheckedStage, Error> {
    let (root, shown) = folder(session, options.stage.as_deref())?;
    let manifest = source::manifest(&root, &shown)?;
    hook_is_built(session, &root, &manifest)?;
    let trial = Trial::new(session, options)?;
    let package = &trial.package;
    registry_folder::check_parts(package, &root)?;
    let parts: Vec<&str> = package.parts().map(|part| part.path.as_str()).collect();
    let mut checked = CheckedStage {
        stage: package.name.to_string(),
        version: package.version.to_string(),
        passed: vec![
            format!(
                "stage.toml: {} {}, {}",
                package.name,
                package.version,
                count(manifest.config.len(), "config key")
            ),
            format!("{}: no FROM, every file that is copied is there", parts.join(", ")),
        ],
        warnings: Vec::new(),
    };
    checked.lint(package, &root)?;
    if let Some(section) = &manifest.hook {
        checked.component(&root, &section.component)?;
        checked.answers(session, &trial).await?;
    } else if let Ok(settled) = trial.settle(session) {
        trial.input(settled, None)?;
    }
    Ok(checked)
}

/// Checks that the component is there, so that it is not only said that a file is missing.
fn hook_is_built(session: &Session, root: &Path, manifest: &StageManifest) -> Result<(), Error> {
    let Some(section) = &manifest.hook else { return Ok(()) };
    let component = root.join(&section.component);
    if component.is_file() {
        return Ok(());
    }
    let message = format!(
        "stage `{}` has no component `{}`, which its stage.toml names as its hook",
        manifest.name,
        session.show(&component).display()
    );
    let help = match root.join(HOOK_FOLDER).join("Cargo.toml").is_file() {
        true => format!("Run `pib stage build {}`.", session.show(root).display()),
        false => "Build it with your language's tools, or remove [hook].".to_owned(),
    };
    Err(Error::Stage { message, help: Some(help) })
}

impl CheckedStage {
    /// Tells what is allowed and still not good.
    fn lint(&mut self, package: &Package, root: &Path) -> Result<(), Error> {
        let manifest = &package.manifest;
        for (field, value) in [("description", &manifest.description), ("license", &manifest.license)] {
            if value.is_empty() {
                self.warnings
                    .push(format!("stage.toml has no {field}: nobody can tell whether they want the stage"));
            }
        }
        self.warnings.extend(package.advice());
        let mut text = String::new();
        for part in package.parts() {
            text.push_str(&files::read_text(&root.join(&part.path))?.unwrap_or_default());
        }
        for (key, schema) in &manifest.config {
            if schema.help.is_empty() {
                self.warnings.push(format!("config key `{key}` has no help"));
            }
            let argument = key.to_uppercase().replace('-', "_");
            let names = match schema.kind {
                ConfigType::Path | ConfigType::Paths => vec![argument, format!("config/{key}")],
                _ => vec![argument, format!(".{key}")],
            };
            if manifest.hook.is_none() && !names.iter().any(|name| text.contains(name.as_str())) {
                self.warnings
                    .push(format!("config key `{key}` is read by nothing: no part mentions {}", names[0]));
            }
        }
        for variable in &manifest.uses {
            if manifest.hook.is_none() && !text.contains(variable.arg()) {
                self.warnings
                    .push(format!("no part mentions {}, which stage.toml says it uses", variable.arg()));
            }
        }
        Ok(())
    }

    /// Looks at the component itself.
    fn component(&mut self, root: &Path, name: &str) -> Result<(), Error> {
        let path = root.join(name);
        let bytes = pib_file::read(&path, MAX_COMPONENT).map_err(|error| Error::io("read", &path, error))?;
        let contract = hook::inspect(&bytes).map_err(|problem| Error::Stage {
            message: format!("`{name}` of stage `{}` is no hook: {problem}", self.stage),
            help: Some(problem.advice()),
        })?;
        let imports = match contract.imports.as_slice() {
            [] => "nothing".to_owned(),
            some => some.join(", "),
        };
        let kib = bytes.len().div_ceil(1024);
        let exports = contract.exports.join(", ");
        self.passed.push(format!("{name}: {kib} KiB, exports {exports}, imports {imports}"));
        if bytes.len() > LARGE {
            self.warnings.push(format!("{name} has {kib} KiB, which everybody fetches and compiles"));
        }
        if self.is_stale(root, name) {
            self.warnings
                .push(format!("{HOOK_FOLDER}/ has changed since {name} was built; run `pib stage build`"));
        }
        Ok(())
    }

    /// Returns whether a hook's source has been changed since its component was built, as far as it can be told.
    fn is_stale(&mut self, root: &Path, component: &str) -> bool {
        // A checkout writes files in any order, so that their times say nothing about what is as it was committed.
        let matters = |file: &PathBuf| file == Path::new(component) || is_source(file);
        match git::changed_files(root, &[component, HOOK_FOLDER]) {
            Ok(Some(files)) if !files.iter().any(matters) => return false,
            Ok(_) => {}
            Err(unfit) => self
                .warnings
                .push(format!("{unfit}. Times alone say whether {component} is newer than {HOOK_FOLDER}/")),
        }
        let built = std::fs::metadata(root.join(component)).and_then(|metadata| metadata.modified()).ok();
        built < newest(root)
    }

    /// Has the hook answer twice, each time in a fresh sandbox.
    async fn answers(&mut self, session: &Session, trial: &Trial) -> Result<(), Error> {
        let settled = match trial.settle(session) {
            Ok(settled) => settled,
            Err(error) => {
                // Without values that only a project has, there is nothing to ask the hook about.
                let needed = trial.package.manifest.config.iter().filter(|(_, key)| key.required);
                let needed: Vec<String> = needed.map(|(key, _)| format!("--config {key}=...")).collect();
                if needed.is_empty() {
                    return Err(error);
                }
                self.warnings.push(format!("the hook was not asked: give {}", needed.join(" ")));
                return Ok(());
            }
        };
        let first = trial.answer(session, &settled).await?;
        let second = trial.answer(session, &settled).await?;
        if first != second {
            let message = format!("the hook of stage `{}` answers the same question differently", self.stage);
            let help = "It may use nothing that differs between runs, such as the order of a hash table.";
            return Err(Error::Stage { message, help: Some(help.to_owned()) });
        }
        self.passed.push("the hook answers the same twice".to_owned());
        let Some(answer) = first else { return Ok(()) };
        if answer.is_good() {
            trial.input(settled, Some(&answer))?;
            self.passed.push("what it renders can be built".to_owned());
        }
        self.refusals(&answer);
        Ok(())
    }

    fn refusals(&mut self, answer: &Answer) {
        for told in answer.diagnostics.iter().filter(|told| told.severity == Severity::Error) {
            let key = told.key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default();
            self.warnings.push(format!(
                "the hook refuses this config, so that it rendered nothing: {key}{}",
                told.message
            ));
        }
    }
}

/// Returns when the newest of the sources of a stage's hook was changed.
fn newest(root: &Path) -> Option<SystemTime> {
    let entries = walkdir::WalkDir::new(root.join(HOOK_FOLDER)).follow_root_links(false).into_iter();
    let entries = entries.filter_entry(|entry| entry.file_name() != OUTPUT_FOLDER).flatten();
    let files = entries.filter(|entry| entry.file_type().is_file());
    let files = files.filter(|entry| entry.path().strip_prefix(root).is_ok_and(is_source));
    files.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

/// Returns whether a file of a stage is one that its hook is built from, and not one that a build writes itself.
fn is_source(path: &Path) -> bool {
    let written = path.iter().any(|part| part == OUTPUT_FOLDER) || path.ends_with("Cargo.lock");
    path.starts_with(HOOK_FOLDER) && !written
}
