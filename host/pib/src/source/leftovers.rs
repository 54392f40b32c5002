//! Where things of the cache are made before they get their names, and what killed processes leave there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::SourceError;

/// After which time something temporary was surely left by a process that was killed.
pub(super) const STALE: Duration = Duration::from_secs(24 * 3600);
/// The folder, within each kind's own, in which things are made.
pub(super) const TEMP: &str = "tmp";

/// Makes a folder in which something of the kind that is kept in `root` can be made.
pub(super) fn temp_folder(root: &Path) -> Result<tempfile::TempDir, SourceError> {
    let folder = root.join(TEMP);
    fs::create_dir_all(&folder).map_err(SourceError::io("creating", &folder))?;
    remove_older(&folder, STALE);
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&folder)
        .map_err(SourceError::io("creating a folder in", &folder))
}

/// Removes what killed processes left anywhere in the cache below `root`. Whoever calls this has the cache alone.
pub fn sweep(root: &Path) {
    for kind in ["stages", "registries", "git"] {
        remove_older(&root.join(kind).join(TEMP), Duration::ZERO);
    }
    for repository in root.join("git").read_dir().into_iter().flatten().flatten() {
        sweep_repository(&repository.path());
    }
}

/// Removes what a killed process left in the copy of a repository. Whoever calls this holds the lock on it.
pub(super) fn sweep_repository(folder: &Path) {
    let ends = |path: &Path, end: &str| path.extension().is_some_and(|found| found == end);
    remove_files(&folder.join("refs"), |path| ends(path, "lock"));
    // libgit2 writes packs and objects under such names before they get theirs.
    remove_files(&folder.join("objects"), |path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("_git2_"))
    });
    for name in ["shallow.lock", "packed-refs.lock", "HEAD.lock", "config.lock"] {
        let _ = fs::remove_file(folder.join(name));
    }
}

/// Removes files. Failures are of no consequence: they are only in nobody's way, and the next process tries again.
fn remove_files(folder: &Path, which: impl Fn(&Path) -> bool) {
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if entry.file_type().is_file() && which(entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what is older than that. Failures are of no consequence here, either.
fn remove_older(folder: &Path, limit: Duration) {
    for item in folder.read_dir().into_iter().flatten().flatten() {
        let modified = item.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if limit.is_zero() || age.is_some_and(|age| age > limit) {
            let _ = fs::remove_dir_all(item.path()).or_else(|_| fs::remove_file(item.path()));
        }
    }
}
