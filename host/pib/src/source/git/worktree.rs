//! The work tree that a stage is written in: its author's own repository, or one that came with a stranger's stage.
//!
//! So what libgit2 would open is looked at first, and files of the work tree are read by pib alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository, Tree};

/// The most files and folders that are looked at, in the repository and in the work tree.
const MAX_ENTRIES: usize = 100_000;
/// The most bytes that are read of a file.
const MAX_BYTES: u64 = 64 << 20;
/// How deep folders may be.
const MAX_DEPTH: usize = 64;
/// What libgit2 reads of a repository here.
const READ: [&str; 7] = ["HEAD", "config", "info", "objects", "packed-refs", "refs", "shallow"];
/// What has libgit2 read other places, too.
const ELSEWHERE: [&str; 4] =
    ["commondir", "config.worktree", "objects/info/alternates", "objects/info/http-alternates"];
/// The settings that do; all that begins with `include` does, too.
const SETTINGS: [&str; 4] = ["include", "worktree", "excludesfile", "attributesfile"];

/// Says why a repository that a stage is in is not read.
#[derive(Debug, thiserror::Error)]
#[error("the git repository in `{}` is not read: {reason}", path.display())]
pub struct UnfitRepository {
    /// The folder that it is in.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Returns which files at `names`, files or folders below the stage in `folder`, are not as the last commit has them;
/// their paths are relative to the stage.
///
/// Nothing where that cannot be told: outside of a work tree, in one that somebody else owns, before the first commit,
/// or where the commit does not have one of the names.
///
/// # Errors
/// When the repository has what leads out of it, or what a reader would wait for.
pub fn changed_files(folder: &Path, names: &[&str]) -> Result<Option<Vec<PathBuf>>, UnfitRepository> {
    Ok(located(folder)?.and_then(|(root, stage)| compare(&root, &stage, names)))
}

/// Returns whether the stage in `folder` is in a repository whose last commit has nothing of it, and that does not ignore it.
///
/// # Errors
/// As [`changed_files`].
pub fn is_never_committed(folder: &Path) -> Result<bool, UnfitRepository> {
    let Some((root, stage)) = located(folder)? else { return Ok(false) };
    let Ok(repository) = Repository::open(&root) else { return Ok(false) };
    let tree = repository.head().and_then(|head| head.peel_to_tree());
    let is_there = tree.is_ok_and(|tree| stage.as_os_str().is_empty() || tree.get_path(&stage).is_ok());
    Ok(!is_there && !is_ignored(&repository, &root, &stage))
}

/// Returns the folder of the repository that a stage is in, once it was looked at, and the stage's path there.
fn located(folder: &Path) -> Result<Option<(PathBuf, PathBuf)>, UnfitRepository> {
    let Ok(folder) = folder.canonicalize() else { return Ok(None) };
    let Some(root) = folder.ancestors().find(|above| above.join(".git").symlink_metadata().is_ok()) else {
        return Ok(None);
    };
    check(&root.join(".git")).map_err(|reason| UnfitRepository { path: root.to_owned(), reason })?;
    Ok(folder.strip_prefix(root).ok().map(|stage| (root.to_owned(), stage.to_owned())))
}

/// Checks that what libgit2 reads of a repository are files and folders in it.
fn check(git: &Path) -> Result<(), String> {
    let metadata = git.symlink_metadata().map_err(|error| format!("`.git` cannot be looked at ({error})"))?;
    if !metadata.is_dir() {
        return Err("`.git` is no folder, and what it leads to may be anywhere".to_owned());
    }
    if let Some(name) = ELSEWHERE.iter().find(|name| git.join(name).symlink_metadata().is_ok()) {
        return Err(format!("`.git/{name}` leads to other folders"));
    }
    let mut left = MAX_ENTRIES;
    for name in READ {
        for entry in walkdir::WalkDir::new(git.join(name)).follow_root_links(false).into_iter().flatten() {
            left = left.checked_sub(1).ok_or("it has more files than pib looks at")?;
            if !entry.file_type().is_file() && !entry.file_type().is_dir() {
                let path = entry.path().strip_prefix(git).unwrap_or(entry.path()).display();
                return Err(format!("`.git/{path}` is neither a file nor a folder"));
            }
        }
    }
    let settings = pib_file::read(git.join("config"), MAX_BYTES);
    let settings = settings.map_err(|error| format!("`.git/config` cannot be read ({error})"))?;
    let settings = String::from_utf8_lossy(&settings).to_ascii_lowercase();
    let leads = |name: &&&str| settings.match_indices(**name).any(|(at, _)| is_setting(&settings[..at]));
    match SETTINGS.iter().find(leads) {
        Some(name) => Err(format!("`.git/config` may name files elsewhere, by `{name}`")),
        None => Ok(()),
    }
}

/// Returns whether what comes after `before` in git's settings may be the name of a setting or of a section.
fn is_setting(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with(['\n', '\r', '[', ']', '\u{feff}'])
}

/// Compares files of the work tree with those of the last commit.
fn compare(root: &Path, stage: &Path, names: &[&str]) -> Option<Vec<PathBuf>> {
    let repository = Repository::open(root).ok()?;
    let tree = repository.head().and_then(|head| head.peel_to_tree()).ok()?;
    let mut committed = BTreeMap::new();
    let mut there = Vec::new();
    let mut left = MAX_ENTRIES;
    for name in names {
        let entry = tree.get_path(&stage.join(name)).ok()?;
        match entry.kind() {
            Some(ObjectType::Blob) => drop(committed.insert(PathBuf::from(name), entry.id())),
            Some(ObjectType::Tree) => {
                let below = repository.find_tree(entry.id()).ok()?;
                collect(&repository, &below, Path::new(name), &mut committed, MAX_DEPTH)?;
            }
            _ => return None,
        }
        let files = walkdir::WalkDir::new(root.join(stage).join(name)).follow_root_links(false);
        for entry in files.into_iter().flatten().filter(|entry| !entry.file_type().is_dir()) {
            left = left.checked_sub(1)?;
            there.push(entry.path().strip_prefix(root.join(stage)).ok()?.to_owned());
        }
    }
    let mut changed = Vec::new();
    for path in there {
        let is_same = match committed.remove(&path) {
            Some(before) => {
                let bytes = pib_file::open_no_link(root.join(stage).join(&path));
                let bytes = bytes.and_then(|file| pib_file::read_open(file, MAX_BYTES)).ok();
                bytes.and_then(|bytes| Oid::hash_object(ObjectType::Blob, &bytes).ok()) == Some(before)
            }
            None => is_ignored(&repository, root, &stage.join(&path)),
        };
        if !is_same {
            changed.push(path);
        }
    }
    // What is left was removed.
    changed.extend(committed.into_keys());
    Some(changed)
}

/// Collects the files of a commit's folder.
fn collect(
    repository: &Repository,
    tree: &Tree<'_>,
    folder: &Path,
    found: &mut BTreeMap<PathBuf, Oid>,
    depth: usize,
) -> Option<()> {
    for entry in tree {
        let path = folder.join(entry.name().ok()?);
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let below = repository.find_tree(entry.id()).ok()?;
                collect(repository, &below, &path, found, depth.checked_sub(1)?)?;
            }
            _ if found.len() >= MAX_ENTRIES => return None,
            _ => drop(found.insert(path, entry.id())),
        }
    }
    Some(())
}

/// Returns whether git ignores a file of the work tree, as far as what says so are files.
fn is_ignored(repository: &Repository, root: &Path, path: &Path) -> bool {
    let mut rules = path.ancestors().skip(1).map(|folder| root.join(folder).join(".gitignore"));
    let are_files = rules.all(|rules| rules.symlink_metadata().map_or(true, |metadata| metadata.is_file()));
    are_files && repository.is_path_ignored(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_from_values() {
        let found = |text: &str| {
            let text = text.to_ascii_lowercase();
            SETTINGS.iter().any(|name| text.match_indices(name).any(|(at, _)| is_setting(&text[..at])))
        };
        for text in ["[include]", "[ IncludeIf \"x\"]", "[core]\n\tworktree = /", "[core] excludesFile = x"] {
            assert!(found(text), "{text}");
        }
        for text in
            ["[branch \"include\"]\n\tremote = worktree", "[remote \"x\"]\n\turl = a/worktree/include"]
        {
            assert!(!found(text), "{text}");
        }
    }
}
