//! The same call to the stage's component, made by pib in its sandbox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;

use super::Harness;
use crate::{Diagnostic, File, Rendered, Severity, Value};

/// Calls the component of a stage by `pib stage render`.
///
/// ```no_run
/// # use pib_plugin_sdk::{Hook, testing::{Harness, Sandbox}};
/// # fn check<Motd: Hook>() {
/// let harness = Harness::new("motd");
/// let answer = Sandbox::new("..").render(&harness).unwrap();
/// assert_eq!(answer.diagnostics, harness.validate::<Motd>());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sandbox {
    pib: PathBuf,
    stage: PathBuf,
}

/// What a component answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxAnswer {
    /// What it found wrong with the config.
    pub diagnostics: Vec<Diagnostic>,
    /// What it made of the stage's part; nothing if a diagnostic is an error.
    pub rendered: Option<Rendered>,
}

/// A folder that goes away.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Sandbox {
    /// Returns the sandbox for the stage in a folder; `pib` is searched on the PATH.
    pub fn new(stage: impl Into<PathBuf>) -> Self {
        Self { pib: PathBuf::from("pib"), stage: stage.into() }
    }

    /// Uses another `pib`.
    #[must_use]
    pub fn pib(mut self, program: impl Into<PathBuf>) -> Self {
        self.pib = program.into();
        self
    }

    /// Has the component judge the harness's context and render the stage's part for it.
    ///
    /// The project's name, host name, locale and time zone, and the board's traits, are pib's own, not the harness's.
    /// Files that no config key names must be the stage's: the sandbox has those.
    ///
    /// # Errors
    /// When pib cannot be run, or refuses the stage or what it answers.
    pub fn render(&self, harness: &Harness) -> Result<SandboxAnswer, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = format!("pib-sandbox-{}-{number}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(scratch));
        let (project, output) = (scratch.0.join("project"), scratch.0.join("output"));
        std::fs::create_dir_all(&project).map_err(|error| failed("create", &project, &error))?;
        for (path, content) in &harness.files {
            let path = project.join(path);
            let folder = path.parent().unwrap_or(&project);
            std::fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
            std::fs::write(&path, content).map_err(|error| failed("write", &path, &error))?;
        }
        let stage = self.stage.canonicalize().map_err(|error| failed("find", &self.stage, &error))?;
        let mut pib = Command::new(&self.pib);
        pib.args(["stage", "render", "--json", "--output"]).arg(&output).arg(&stage);
        pib.current_dir(&project).args(options(harness)).stdin(Stdio::null());
        let ran = pib.output().map_err(|error| failed("run", &self.pib, &error))?;
        let told = String::from_utf8_lossy(&ran.stdout);
        let document: Json = serde_json::from_str(&told).map_err(|_| {
            format!("pib stage render failed ({}): {}", ran.status, String::from_utf8_lossy(&ran.stderr))
        })?;
        answer(&document, &output).ok_or_else(|| format!("pib answered what is not understood: {told}"))?
    }
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> String {
    format!("could not {action} `{}`: {error}", path.display())
}

/// Returns the options of `pib stage render` that say what the context says.
fn options(harness: &Harness) -> Vec<String> {
    let project = &harness.context.project;
    let mut options = Vec::new();
    for (option, value) in [
        ("--os", &project.os),
        ("--release", &project.release),
        ("--board", &project.board),
        ("--arch", &project.arch),
    ] {
        options.extend([option.to_owned(), value.clone()]);
    }
    for stage in harness.context.stages.iter().filter(|stage| **stage != harness.context.this) {
        options.extend(["--with".to_owned(), format!("{}@{}", stage.name, stage.version)]);
    }
    for (key, value) in &harness.context.settings {
        let value = match value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::List(items) => items.join(","),
            Value::Files(files) => files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(","),
            Value::Size(bytes) => bytes.to_string(),
            // A hook never sees a secret, so that where it would come from makes no difference.
            Value::Secret(_) => "env:PIB_SECRET".to_owned(),
        };
        options.extend(["--config".to_owned(), format!("{key}={value}")]);
    }
    options
}

/// Returns what the document of `pib stage render --json` says; the contents of files are in `output`.
fn answer(document: &Json, output: &Path) -> Option<Result<SandboxAnswer, String>> {
    let text = |json: &Json, key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
    let mut diagnostics = Vec::new();
    for told in document.get("diagnostics")?.as_array()? {
        let severity = match told.get("severity")?.as_str()? {
            "warning" => Severity::Warning,
            _ => Severity::Error,
        };
        let (key, help) = (text(told, "key"), text(told, "help"));
        diagnostics.push(Diagnostic { severity, key, message: text(told, "message")?, help });
    }
    let Some(part) = text(document, "part") else {
        return Some(Ok(SandboxAnswer { diagnostics, rendered: None }));
    };
    let mut files = Vec::new();
    for told in document.get("files")?.as_array()? {
        let path = text(told, "path")?;
        let content = match std::fs::read(output.join(&path)) {
            Ok(content) => content,
            Err(error) => return Some(Err(failed("read", &output.join(&path), &error))),
        };
        files.push(File { path, content, executable: told.get("executable")?.as_bool()? });
    }
    Some(Ok(SandboxAnswer { diagnostics, rendered: Some(Rendered { part, files }) }))
}
