//! The work tree that a stage is written in: its author's own repository.

use std::path::{Path, PathBuf};

use git2::{Repository, StatusOptions};

/// Returns which files at `names`, files or folders below the stage in `folder`, are not as the last commit has them;
/// their paths are relative to the stage.
///
/// Nothing where that cannot be told: outside of a work tree, in one that somebody else owns, before the first commit,
/// or where the commit does not have one of the names.
pub fn changed_files(folder: &Path, names: &[&str]) -> Option<Vec<PathBuf>> {
    let repository = Repository::discover(folder).ok()?;
    let root = repository.workdir()?.canonicalize().ok()?;
    let stage = folder.canonicalize().ok()?.strip_prefix(root).ok()?.to_owned();
    let commit = repository.head().and_then(|head| head.peel_to_tree()).ok()?;
    let mut options = StatusOptions::new();
    options.disable_pathspec_match(true).include_untracked(true).recurse_untracked_dirs(true);
    for name in names {
        commit.get_path(&stage.join(name)).ok()?;
        options.pathspec(stage.join(name));
    }
    let found = repository.statuses(Some(&mut options)).ok()?;
    let paths = found.iter().map(|entry| {
        let path = PathBuf::from(String::from_utf8_lossy(entry.path_bytes()).into_owned());
        path.strip_prefix(&stage).map(Path::to_owned).unwrap_or(path)
    });
    Some(paths.collect())
}
