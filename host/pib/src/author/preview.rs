//! Shows what a stage's hook makes of a config.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pib_plan::id::Digest;
use serde::Serialize;

use super::trial::{Trial, TrialOptions};
use crate::hooks::{Answer, Diagnostic, File, Severity};
use crate::project::{self, Error, Session};

/// What a stage is built with.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RenderedStage {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// What the hook says of the config.
    pub diagnostics: Vec<Told>,
    /// The part; nothing where the hook found an error in the config.
    pub part: Option<String>,
    /// The files that the hook adds to those of the package.
    pub files: Vec<RenderedFile>,
}

/// What a hook says of the config.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// `warning` or `error`.
    pub severity: &'static str,
    /// The config key that it speaks of.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A file that a hook adds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RenderedFile {
    /// The path below the stage's folder in the context.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Whether it may be executed.
    pub executable: bool,
    /// The text, where it is one.
    pub text: Option<String>,
}

/// Has the stage's hook answer, and writes the files that it adds to the folder `output`, if one is given.
///
/// # Errors
/// When the stage, the config or the answer is wrong. What the hook itself finds wrong with the config is part of the
/// result.
pub async fn render(
    session: &Session,
    options: &TrialOptions,
    output: Option<&Path>,
) -> Result<RenderedStage, Error> {
    let trial = Trial::new(session, options)?;
    let settled = trial.settle(session)?;
    let answer = trial.answer(session, &settled).await?;
    if answer.as_ref().is_none_or(Answer::is_good) {
        // The same checks as in a build: no FROM, every file that is copied is there.
        trial.input(settled, answer.as_ref())?;
    }
    let (diagnostics, part, files) = match answer {
        Some(Answer { diagnostics, rendered: Some(rendered) }) => {
            (diagnostics, Some(rendered.part), rendered.files)
        }
        Some(Answer { diagnostics, rendered: None }) => (diagnostics, None, Vec::new()),
        None => (Vec::new(), Some(trial.part()?), Vec::new()),
    };
    if let Some(folder) = output {
        write(session, &session.cwd.join(folder), &files)?;
    }
    Ok(RenderedStage {
        stage: trial.package.name.to_string(),
        version: trial.package.version.to_string(),
        diagnostics: diagnostics.into_iter().map(described).collect(),
        part,
        files: files.into_iter().map(rendered).collect(),
    })
}

fn described(diagnostic: Diagnostic) -> Told {
    let severity = match diagnostic.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    Told { severity, key: diagnostic.key, message: diagnostic.message, help: diagnostic.help }
}

fn rendered(file: File) -> RenderedFile {
    RenderedFile {
        size: file.content.len() as u64,
        digest: Digest::of(&file.content),
        executable: file.executable,
        text: String::from_utf8(file.content).ok(),
        path: file.path,
    }
}

/// Writes the files, whose paths were checked, to a folder that is empty or not there.
fn write(session: &Session, path: &Path, files: &[File]) -> Result<(), Error> {
    let folder = project::make_folder(session, path)?;
    let entries = folder.entries().map_err(|error| Error::io("read the folder", path, error))?;
    if !entries.is_empty() {
        let message = format!("`{}` is not empty", path.display());
        return Err(Error::usage(message, "Name a folder that is empty or not there."));
    }
    for file in files {
        let within = Path::new(&file.path);
        let write = || {
            folder.make_folder(within.parent().unwrap_or(Path::new("")))?;
            let mut made = folder.create_new(within)?;
            made.write_all(&file.content)?;
            match file.executable {
                true => made.set_permissions(Permissions::from_mode(0o755)),
                false => Ok(()),
            }
        };
        write().map_err(|error| Error::io("write", path.join(within), error))?;
    }
    Ok(())
}

impl RenderedStage {
    /// Returns an error if the hook found one.
    pub fn verdict(&self) -> Result<(), Error> {
        let errors = self.diagnostics.iter().filter(|told| told.severity == "error").count();
        if errors == 0 {
            return Ok(());
        }
        let many = if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") };
        let message = format!("the hook of stage `{}` finds {many} in this config", self.stage);
        Err(Error::Stage { message, help: Some("Change it with --config KEY=VALUE.".to_owned()) })
    }
}
