//! Reads the files of the project that a config key names.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::config;
use pib_plan::id::Digest;
use pib_plan::manifest::project::StageRequest;

use super::settle::config_error;
use crate::project::{Error, Project};
use crate::source::Package;

/// The most bytes that the files of one config key may have together: they are keys and small assets.
const MAX_CONFIG_FILES: u64 = 256 << 20;
/// The most files that a pattern may find.
const MAX_FOUND: usize = 100_000;

/// A file of the project that a config key names.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    /// Its path, relative to the project's folder where it is below it.
    pub(crate) name: String,
    /// The file, with its place in the context.
    pub(crate) file: ContextFile,
}

/// Reads the project's files that a config key names.
///
/// # Errors
/// When a name or pattern has no file, or there are more than the key may have.
pub(crate) fn read(
    project: &Project,
    package: &Package,
    key: &str,
    patterns: &[String],
    single: bool,
    request: Option<&StageRequest>,
) -> Result<Vec<ConfigFile>, Error> {
    let config_error = |what: String| {
        let message = format!("config key `{key}` of stage `{}` {what}", package.name);
        let error = config_error(&project.manifest, request, key, message);
        Error::from(error.with_help("Paths are relative to the folder of pib.toml."))
    };
    let mut paths = Vec::new();
    for pattern in patterns {
        paths.extend(expand(&project.dir, pattern).map_err(config_error)?);
    }
    if single && paths.len() != 1 {
        return Err(config_error(format!("names {} files, expected one", paths.len())));
    }
    if let Some(schema) = package.manifest.config.get(key).filter(|_| !single) {
        config::counted(schema, paths.len(), "files").map_err(config_error)?;
    }
    let folder = format!("stages/{}/config/{key}", package.name);
    let mut total = 0;
    let mut files = Vec::with_capacity(paths.len());
    for (number, path) in paths.into_iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.chars().any(char::is_whitespace) {
            return Err(config_error(format!(
                "names `{}`, and file names with white space cannot be passed on",
                path.display()
            )));
        }
        let bytes = match pib_file::read(&path, MAX_CONFIG_FILES - total) {
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                return Err(config_error("names files of more than 256 MiB".to_owned()));
            }
            bytes => bytes.map_err(|error| Error::io("read", &path, error))?,
        };
        total += bytes.len() as u64;
        let below = path.strip_prefix(&project.dir).unwrap_or(&path);
        files.push(ConfigFile {
            name: below.display().to_string(),
            file: ContextFile {
                path: format!("{folder}/{number:03}-{name}"),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                source: FileSource::Bytes(bytes),
                executable: false,
            },
        });
    }
    Ok(files)
}

/// Returns the files that a pattern finds; nothing where they are not found within a moment: a pattern may look through
/// the whole machine. The thread that looks is left to itself then, and ends with the program.
fn listed(found: glob::Paths) -> Option<Vec<PathBuf>> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let (sender, receiver) = mpsc::channel();
    let look = move || {
        let files = found.filter_map(Result::ok).filter(|path| path.is_file()).take(MAX_FOUND);
        _ = sender.send(files.collect());
    };
    thread::Builder::new().name("glob".to_owned()).spawn(look).ok()?;
    receiver.recv_timeout(PATIENCE).ok()
}

/// Returns the files that a name or glob stands for, sorted.
fn expand(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let full = dir.join(pattern);
    if full.is_file() {
        return Ok(vec![full]);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(format!("names `{pattern}`, which is no file"));
    }
    let text = full.to_string_lossy();
    let found = glob::glob(&text).map_err(|error| format!("has the pattern `{pattern}`: {error}"))?;
    let mut files = listed(found).ok_or_else(|| {
        format!(
            "has the pattern `{pattern}`, which looks at too many files: they are not listed within seconds"
        )
    })?;
    if files.is_empty() {
        return Err(format!("has the pattern `{pattern}`, which no file matches"));
    }
    files.sort();
    Ok(files)
}
