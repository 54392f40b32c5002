//! Checks all that the cache holds of stages, and throws the damaged away: it will be fetched again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;

use super::stage_cache::StageCache;
use super::{SourceError, kept, leftovers};

/// Reads everything below the cache's folder `root` that is about stages; returns how many things were whole, and the
/// paths of those that were not and are gone now. What killed processes left goes without a word. This blocks.
///
/// # Errors
/// When the cache cannot be read, or what is damaged cannot be removed.
pub fn check_cache(root: &Path) -> Result<(usize, Vec<PathBuf>), SourceError> {
    leftovers::sweep(root);
    let (mut whole, mut damaged) = (0, Vec::new());
    let stages = StageCache::new(root);
    for path in items(&root.join("stages"))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Ok(content) = format!("sha256:{name}").parse::<Digest>() {
            match stages.find(content)? {
                Some(_) => whole += 1,
                None => damaged.push(path),
            }
        }
    }
    for path in items(&root.join("git"))? {
        if path.is_dir() && !path.ends_with(leftovers::TEMP) {
            match is_whole(&path) {
                true => whole += 1,
                false => {
                    fs::remove_dir_all(&path).map_err(SourceError::io("removing", &path))?;
                    damaged.push(path);
                }
            }
        }
    }
    for entry in walkdir::WalkDir::new(root.join("registries")).into_iter().flatten() {
        if entry.file_type().is_file() {
            match kept::read(entry.path()) {
                Some(_) => whole += 1,
                None => {
                    let path = entry.into_path();
                    fs::remove_file(&path).map_err(SourceError::io("removing", &path))?;
                    damaged.push(path);
                }
            }
        }
    }
    Ok((whole, damaged))
}

/// Returns whether every object of a repository can be read; libgit2 compares each with its name.
fn is_whole(path: &Path) -> bool {
    let objects = || {
        let repository = git2::Repository::open_bare(path)?;
        let database = repository.odb()?;
        let mut damaged = None;
        let walked = database.foreach(|id| match database.read(*id) {
            Ok(_) => true,
            Err(error) => {
                damaged = Some(error);
                false
            }
        });
        damaged.map_or(walked, Err)
    };
    objects().is_ok()
}

/// Returns what is in a folder, sorted; nothing where there is no such folder.
fn items(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let items = match folder.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.map_err(SourceError::io("reading", folder))?,
    };
    let mut paths: Vec<PathBuf> = items.flatten().map(|item| item.path()).collect();
    paths.sort();
    Ok(paths)
}
