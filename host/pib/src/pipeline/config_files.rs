//! The files that a config key names: reads them, and tells which are outside of the project's folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::config::{self, Setting};
use pib_plan::id::Digest;
use pib_plan::mode::Mode;

use super::config_error::{config_error, request};
use crate::project::consent::Consent;
use crate::project::reach::Reach;
use crate::project::{Error, Project};
use crate::source::{Package, is_lfs_pointer};

/// The most files that are looked at for one pattern.
const MAX_LOOKED_AT: usize = 100_000;
/// The most bytes that the files of one config key may have together: they are keys and small assets.
const MAX_CONFIG_FILES: u64 = 256 << 20;
/// How long files may be looked for: a pattern may look through the whole machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// What to do about a file that is not there.
const ADVICE: &str = "Paths are relative to the folder of pib.toml. Put the file there, or name another one.";

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
/// When a name or pattern has no file, or there are more than the key may have; or when a pattern meets a link that leads
/// out of the project, and the user has not allowed that.
pub(crate) fn read(
    project: &Project,
    package: &Package,
    key: &str,
    patterns: &[String],
    single: bool,
    consent: &Consent,
) -> Result<Vec<ConfigFile>, Error> {
    let request = request(project, package);
    let config_error = |what: String| {
        let message = format!("config key `{key}` of stage `{}` {what}", package.name);
        let error = config_error(&project.manifest, request, key, message);
        Error::from(error.with_help(ADVICE))
    };
    let mut paths = Vec::new();
    for pattern in patterns {
        let follows = |ways: Vec<Reach>| consent.check(&project.dir, ways);
        paths.extend(expand(&project.dir, pattern, &follows, &config_error)?);
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
                source: FileSource::Bytes(bytes.into()),
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
/// project may be called as it likes. A link that leads out of the project is followed once `follows` allows it.
fn expand(
    dir: &Path,
    pattern: &str,
    follows: &dyn Fn(Vec<Reach>) -> Result<(), Error>,
    wrong: &dyn Fn(String) -> Error,
) -> Result<Vec<PathBuf>, Error> {
    let Some((start, rest)) = split(dir, pattern) else {
        let full = dir.join(pattern);
        return match full.is_file() {
            true => Ok(vec![full]),
            false => Err(wrong(format!("names `{pattern}`, which is no file"))),
        };
    };
    // Of a pattern that starts outside, the project has been allowed all.
    let mut search = Search { dir, rest: &rest, leaves: Reach::outside(dir, &start).is_some() };
    let start = dir.join(start);
    let fail = |what| wrong(format!("has the pattern `{pattern}`{what}"));
    let (mut files, ways) = search.run(&start).map_err(fail)?;
    if !ways.is_empty() {
        follows(ways)?;
        search.leaves = true;
        files = search.run(&start).map_err(fail)?.0;
    }
    if files.is_empty() {
        return Err(fail(", which no file matches".to_owned()));
    }
    files.sort();
    Ok(files)
}

/// A search for the files that match a pattern.
struct Search<'a> {
    /// The project's folder.
    dir: &'a Path,
    /// What is to match below the folder that the search starts in.
    rest: &'a str,
    /// Whether it follows links out of the project.
    leaves: bool,
}

impl Search<'_> {
    /// Returns the files that match, and the links out of the project that it met on its way and did not follow.
    ///
    /// # Errors
    /// When the pattern is not one, or there is too much to look at.
    fn run(&self, start: &Path) -> Result<(Vec<PathBuf>, Vec<Reach>), String> {
        let matcher = glob::Pattern::new(self.rest).map_err(|error| format!(": {error}"))?;
        let depth = if self.rest.contains("**") { usize::MAX } else { self.rest.split('/').count() };
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        let inside = |path: &Path| path.strip_prefix(start).unwrap_or(path).to_owned();
        let (mut files, mut ways, mut looked_at) = (Vec::new(), Vec::new(), 0);
        let started = Instant::now();
        let mut walk =
            walkdir::WalkDir::new(start).min_depth(1).max_depth(depth).follow_links(true).into_iter();
        while let Some(entry) = walk.next() {
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT || started.elapsed() > PATIENCE {
                return Err(format!(
                    ", which looks at too many files: more than {MAX_LOOKED_AT}, or for longer than {} seconds",
                    PATIENCE.as_secs()
                ));
            }
            // What may not be read is as good as not there: a pattern names what there is.
            let Ok(entry) = entry else { continue };
            let (path, is_folder) = (inside(entry.path()), entry.file_type().is_dir());
            let matches = entry.file_type().is_file() && matcher.matches_path_with(&path, options);
            let matters = matches || is_folder && self.leads_on(&path);
            let way = (!self.leaves && entry.path_is_symlink()).then(|| Reach::link(self.dir, entry.path()));
            if let Some(way) = way.flatten() {
                ways.extend(matters.then_some(way));
                if is_folder {
                    walk.skip_current_dir();
                }
            } else if matches {
                files.push(entry.into_path());
            }
        }
        Ok((files, ways))
    }

    /// Returns whether the pattern may match something below a folder.
    fn leads_on(&self, folder: &Path) -> bool {
        let parts: Vec<&str> = self.rest.split('/').collect();
        let fits = |(part, name): (&&str, std::path::Component<'_>)| {
            let name = name.as_os_str().to_string_lossy();
            glob::Pattern::new(part).is_ok_and(|part| part.matches(&name))
        };
        let depth = folder.components().count();
        self.rest.contains("**") || depth < parts.len() && parts.iter().zip(folder.components()).all(fits)
    }
}
