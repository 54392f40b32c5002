//! Where things of the cache are made before they get their names, and what killed processes leave there.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::SourceError;

/// After which time something temporary was surely left by a process that was killed.
pub(super) const STALE: Duration = Duration::from_secs(24 * 3600);
/// How often a temporary folder is made that is taken for a leftover at once.
const ATTEMPTS: u32 = 10;
/// The folder, within each kind's own, in which things are made.
pub(super) const TEMP: &str = "tmp";

/// A folder in which something of the cache is made, held by a lock for as long as it is used.
///
/// Its age alone does not tell that nobody uses it: clocks are set, e.g. on a machine without one of its own.
#[derive(Debug)]
pub(super) struct TempFolder {
    folder: tempfile::TempDir,
    _lock: File,
}

impl TempFolder {
    /// Makes a folder in which something of the kind that is kept in `root` can be made.
    pub(super) fn new(root: &Path) -> Result<Self, SourceError> {
        let parent = root.join(TEMP);
        fs::create_dir_all(&parent).map_err(SourceError::io("creating", &parent))?;
        remove_older(&parent, STALE);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::held(&parent) {
                // Another process took it for a leftover before it was locked.
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {}
                made => return made.map_err(SourceError::io("creating a folder in", &parent)),
            }
        }
    }

    fn held(parent: &Path) -> io::Result<Self> {
        let mode = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(mode).tempdir_in(parent)?;
        let lock = pib_file::Folder::open(folder.path())?.to_lock()?;
        lock.lock_shared()?;
        folder.path().metadata()?;
        Ok(Self { folder, _lock: lock })
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves it where it is: it was renamed, and nothing is left to remove.
    pub(super) fn keep(self) {
        let _ = self.folder.keep();
    }
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

/// Removes what is older than that and not in use. Failures are of no consequence here, either.
fn remove_older(folder: &Path, limit: Duration) {
    for item in folder.read_dir().into_iter().flatten().flatten() {
        let modified = item.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if limit.is_zero() || (age.is_some_and(|age| age > limit) && !is_in_use(&item.path())) {
            let _ = fs::remove_dir_all(item.path()).or_else(|_| fs::remove_file(item.path()));
        }
    }
}

/// Returns whether a process holds a temporary folder. Another file system may know no locks: there its age decides.
fn is_in_use(folder: &Path) -> bool {
    let lock = pib_file::Folder::open(folder).and_then(|folder| folder.to_lock());
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}
