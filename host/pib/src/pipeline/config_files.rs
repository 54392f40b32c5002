//! The files that a config key names: reads them, and tells which are outside of the project's folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::config::{self, Setting};
use pib_plan::id::Digest;
use pib_plan::manifest::project::StageRequest;
use pib_plan::mode::Mode;

use super::config_error::config_error;
use crate::project::reach::Reach;
use crate::project::{Error, Project};
use crate::source::{Package, is_lfs_pointer};

/// The most files that are looked at for one pattern.
const MAX_LOOKED_AT: usize = 100_000;
/// The most bytes that the files of one config key may have together: they are keys and small assets.
const MAX_CONFIG_FILES: u64 = 256 << 20;
/// How long files may be looked for: a pattern may look through the whole machine.
const PATIENCE: Duration = Duration::from_secs(10);

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
        if name.contains(['*', '?', '[', '\\']) {
            return Err(config_error(format!(
                "names `{}`, and COPY would take that name for a pattern; rename the file",
                path.display()
            )));
        }
        let bytes = match pib_file::read(&path, MAX_CONFIG_FILES - total) {
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                return Err(config_error("names files of more than 256 MiB".to_owned()));
            }
            bytes => bytes.map_err(|error| Error::io("read", &path, error))?,
        };
        if is_lfs_pointer(&bytes) {
            return Err(config_error(format!(
                "names `{}`, which only stands for a file in Git LFS; get the file with `git lfs pull`",
                path.display()
            )));
        }
        total += bytes.len() as u64;
        let below = path.strip_prefix(&project.dir).unwrap_or(&path);
        files.push(ConfigFile {
            name: below.display().to_string(),
            file: ContextFile {
                path: format!("{folder}/{number:03}-{name}"),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                source: FileSource::Bytes(bytes),
                mode: Mode::FILE,
            },
        });
    }
    Ok(files)
}

/// Returns what a value names outside of the folder `dir`.
pub(super) fn outside(dir: &Path, setting: &Setting) -> Vec<Reach> {
    match setting {
        Setting::Files { patterns, .. } => {
            patterns.iter().filter_map(|pattern| pattern_outside(dir, pattern)).collect()
        }
        Setting::Secret(source) => Reach::secret(dir, source).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Returns which of the files that a value was found to name are outside: a pattern that stays inside of the project may
/// have met a link that leads out of it.
pub(super) fn found_outside(dir: &Path, setting: &Setting, found: &[ConfigFile]) -> Vec<Reach> {
    match outside(dir, setting).is_empty() {
        true => found.iter().filter_map(|file| Reach::outside(dir, &file.name)).collect(),
        false => Vec::new(),
    }
}

fn pattern_outside(dir: &Path, pattern: &str) -> Option<Reach> {
    let Some((start, rest)) = split(dir, pattern) else { return Reach::outside(dir, pattern) };
    match Reach::outside(dir, &start)? {
        Reach::Reads { leads_to, .. } => {
            Some(Reach::Reads { named: pattern.to_owned(), leads_to: leads_to.join(rest) })
        }
        other => Some(other),
    }
}

/// Returns the folder that a pattern starts from, and what is to match below it; `None` for what is no pattern, but a
/// file's name.
fn split(dir: &Path, pattern: &str) -> Option<(String, String)> {
    if dir.join(pattern).is_file() {
        return None;
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let at = parts.iter().position(|part| part.contains(['*', '?', '[']))?;
    let (plain, rest) = (parts[..at].join("/"), parts[at..].join("/"));
    // An absolute pattern has an empty part before its first slash.
    let start = if at > 0 && plain.is_empty() { "/".to_owned() } else { plain };
    Some((start, rest))
}

/// Returns the files that a name or a pattern of the project stands for, sorted.
///
/// Only what the project wrote is a pattern, and of that only what begins with the first wildcard: the folder of the
/// project may be called as it likes.
fn expand(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let Some((start, rest)) = split(dir, pattern) else {
        let full = dir.join(pattern);
        return match full.is_file() {
            true => Ok(vec![full]),
            false => Err(format!("names `{pattern}`, which is no file")),
        };
    };
    let start = dir.join(start);
    let matcher =
        glob::Pattern::new(&rest).map_err(|error| format!("has the pattern `{pattern}`: {error}"))?;
    let depth = if rest.contains("**") { usize::MAX } else { rest.split('/').count() };
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let mut files = Vec::new();
    let started = Instant::now();
    let walk = walkdir::WalkDir::new(&start).min_depth(1).max_depth(depth).follow_links(true);
    for (looked_at, entry) in walk.into_iter().enumerate() {
        if looked_at >= MAX_LOOKED_AT || started.elapsed() > PATIENCE {
            return Err(format!(
                "has the pattern `{pattern}`, which looks at too many files: more than {MAX_LOOKED_AT}, or for longer \
                 than {} seconds",
                PATIENCE.as_secs()
            ));
        }
        // What may not be read is as good as not there: a pattern names what there is.
        let Ok(entry) = entry else { continue };
        let inside = entry.path().strip_prefix(&start).unwrap_or(entry.path());
        if matcher.matches_path_with(inside, options) && entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(format!("has the pattern `{pattern}`, which no file matches"));
    }
    files.sort();
    Ok(files)
}
