//! Looks after the cache: what is in it, whether it is whole, and taking out what nobody uses.
//!
//! Whoever uses the cache holds `<cache>/lock` shared; what takes things out of it holds it alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pib_file::Output;
use serde::Serialize;

use crate::bases::{self, BaseCache};
use crate::hooks::{self, Host, Limits};
use crate::pipeline::records::{self, Records};
use crate::pipeline::{recording, transfer};
use crate::project::{Error, Session, blocking, cache_lock};
use crate::source;
use pib_event::ReporterExt as _;
use pib_recorder::Store;

/// The folders of the cache, and what each holds.
const KINDS: [(&str, &str); 10] = [
    ("stages", "unpacked stages"),
    ("registries", "index files of registries"),
    ("git", "copies of git repositories"),
    ("bases", "bases and native tools"),
    ("debs", "packages of bases"),
    (bases::LISTS, "what archives said of their packages"),
    (hooks::CACHE_FOLDER, "compiled hooks and their answers"),
    (recording::STORE, "what parts of stages have fetched"),
    (transfer::FOLDER, "what a killed pib left of a shared cache's stages"),
    (records::FOLDER, "which container images pib has built"),
];
/// What is no item, but how the cache works.
const WORKINGS: [&str; 8] = ["lock", "key", "tmp", "recipes", "chosen", "lists", "companions", "tarballs"];

/// What the cache has of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    /// The folder within the cache.
    pub folder: &'static str,
    /// What it holds.
    pub what: &'static str,
    /// How many.
    pub items: usize,
    /// How many bytes.
    pub bytes: u64,
}

/// What a check of the cache found.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// How many things are whole.
    pub whole: usize,
    /// What was damaged, and is gone now.
    pub removed: Vec<PathBuf>,
}

/// What was taken out of the cache.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pruned {
    /// How many things.
    pub items: usize,
    /// How many bytes.
    pub bytes: u64,
    /// Whether nothing was removed.
    pub dry_run: bool,
}

/// Returns what the cache has, by kind.
pub fn list(session: &Session) -> Vec<Kind> {
    let kind = |(folder, what)| {
        let items = items(&session.cache.join(folder));
        let bytes = items.iter().map(|item| size(item)).sum();
        Kind { folder, what, items: items.len(), bytes }
    };
    KINDS.into_iter().map(kind).collect()
}

/// Reads all that is in the cache, compares it with its digests, and removes what is damaged.
///
/// # Errors
/// When the cache cannot be read or changed.
pub async fn verify(session: &Session) -> Result<Verified, Error> {
    const STEP: &str = "cache";
    session.reporter.started(STEP, "Checking the cache");
    let _alone = cache_lock::alone(session).await?;
    let (root, records) = (session.cache.clone(), Records::new(session));
    let check = move || -> Result<Verified, Error> {
        let (mut whole, mut removed) = source::check_cache(&root)?;
        let (bases, damaged) = BaseCache::new(&root).verify()?;
        whole += bases;
        removed.extend(damaged);
        let folder = root.join(hooks::CACHE_FOLDER);
        let fail = |error| Error::io("check the cache in", &folder, error);
        let (answers, damaged) = Host::new(&root, Limits::default()).verify_cache().map_err(fail)?;
        whole += answers;
        removed.extend(damaged);
        let (fetched, damaged) = Store::verify(&root.join(recording::STORE)).map_err(fail)?;
        whole += fetched;
        removed.extend(damaged);
        let (built, damaged) = records.verify().map_err(fail)?;
        whole += built;
        removed.extend(damaged);
        Ok(Verified { whole, removed })
    };
    let verified = tokio::task::spawn_blocking(check).await.map_err(blocking::worker)??;
    session.reporter.finished(STEP, false);
    Ok(verified)
}

/// Takes out what nobody has used for that many days; all of it, for 0.
///
/// # Errors
/// When something cannot be removed.
pub async fn prune(session: &Session, days: u64, dry_run: bool) -> Result<Pruned, Error> {
    let _alone = cache_lock::alone(session).await?;
    if !dry_run {
        source::sweep(&session.cache);
    }
    let limit = Duration::from_secs(days.saturating_mul(24 * 3600));
    let mut pruned = Pruned { items: 0, bytes: 0, dry_run };
    for (folder, _) in KINDS {
        for item in items(&session.cache.join(folder)) {
            let modified = item.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            if age < limit {
                continue;
            }
            pruned.items += 1;
            pruned.bytes += size(&item);
            if !dry_run {
                let output = Output::at(&item);
                let removed = output.and_then(|item| item.folder().remove_all(item.name()));
                removed.map_err(|error| Error::io("remove", &item, error))?;
            }
        }
    }
    Ok(pruned)
}

/// Returns what a folder of the cache holds; nothing where there is no such folder.
fn items(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let items = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        !WORKINGS.contains(&&*name) && !name.ends_with(".lock")
    });
    items.map(|entry| entry.path()).collect()
}

/// Returns the bytes of a file, or of all files in a folder.
fn size(path: &Path) -> u64 {
    let files = walkdir::WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
