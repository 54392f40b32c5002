//! Stages in a registry that is a bucket: the same files as in a folder, without anybody who holds a lock.
//!
//! An archive is written where nothing is yet, so that of two who publish one version one wins; what is there is never
//! replaced. The line that tells of it is added to what was read before, and only where that is still there: who was
//! overtaken reads again. A killed publish leaves at worst an archive that no line tells of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_file::Folder;
use pib_objects::{Bucket, Expected, ObjectError, ObjectVersion};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, shard_path};
use semver::Version;

use super::SourceError;
use super::archive::{self, MAX_ARCHIVE};
use super::entry::MAX_INDEX;
use super::registry::{ARCHIVES, CONFIG, Config, MAX_CONFIG, MAX_FILES, archive_path, name_at};
use super::registry_audit::{self, Line, RebuiltIndex, RegistryAudit};
use super::registry_folder::{PackedStage, line_of, replace, without_build};

/// How often an index file is read again that somebody else has written meanwhile.
const ATTEMPTS: u64 = 100;
/// The longest pause before that.
const PAUSE: Duration = Duration::from_millis(500);
/// How many files are read at the same time.
const AT_ONCE: usize = 8;

/// A registry in a bucket that can be written to.
#[derive(Debug, Clone, Copy)]
pub struct BucketRegistry<'a> {
    /// The bucket.
    pub bucket: &'a Bucket,
    /// Its address, for errors.
    pub address: &'a str,
}

/// The files of a registry, copied into a folder, and which versions of objects they are.
struct Copied {
    folder: tempfile::TempDir,
    versions: BTreeMap<String, ObjectVersion>,
}

impl BucketRegistry<'_> {
    /// Makes it a registry without stages, where it is none yet; returns whether it was not.
    ///
    /// # Errors
    /// When the bucket cannot be written to.
    pub async fn init(self) -> Result<bool, SourceError> {
        let text = serde_json::to_string(&Config::current()).map_err(|error| self.bad(error.to_string()))?;
        match self.bucket.put(CONFIG, format!("{text}\n").into_bytes(), Expected::Nothing).await {
            Ok(()) => Ok(true),
            Err(ObjectError::Conflict(_)) => Ok(false),
            Err(error) => Err(self.fail("writing", CONFIG)(error)),
        }
    }

    /// Publishes a version; returns whether the registry did not have it.
    ///
    /// # Errors
    /// When the version is published with another content, or the bucket cannot be read or written.
    pub async fn publish(self, candidate: &PackedStage) -> Result<bool, SourceError> {
        self.init().await?;
        let (name, version) = (&candidate.entry.name, &candidate.entry.vers);
        let path = shard_path(name);
        for attempt in 0..ATTEMPTS {
            let (mut lines, before) = self.lines(name).await?;
            let mut known = lines.iter().filter_map(|line| line.entry.as_ref());
            if let Some(entry) = known.find(|entry| without_build(&entry.vers) == without_build(version)) {
                return match entry.content {
                    Some(content) if content == candidate.package.content => Ok(false),
                    Some(content) => Err(already_published(candidate, content)),
                    None => Err(self.bad(format!("{name} {version} has no content digest"))),
                };
            }
            if let Some(number) = lines.iter().position(|line| line.entry.is_none()) {
                let reason = format!(
                    "line {} of `{path}` cannot be read; a newer pib may have written it",
                    number + 1
                );
                return Err(self.bad(reason));
            }
            let entry = self.claim(candidate).await?;
            lines.push(Line::of(entry));
            if self.write_lines(name, &lines, before.as_ref()).await? {
                return Ok(true);
            }
            overtaken(attempt).await;
        }
        Err(self.bad(format!("others write `{path}` all the time")))
    }

    /// Puts the archive of a version in its place, and returns the line that tells of it. One that is there already counts where
    /// it has the same content: somebody may have been killed before the line was written.
    async fn claim(self, candidate: &PackedStage) -> Result<IndexEntry, SourceError> {
        let entry = &candidate.entry;
        let path = archive_path(&entry.name, &entry.vers);
        match self.bucket.put(&path, candidate.archive.clone(), Expected::Nothing).await {
            Ok(()) => return Ok(entry.clone()),
            Err(ObjectError::Conflict(_)) => {}
            Err(error) => return Err(self.fail("writing", &path)(error)),
        }
        let there = self.bucket.get(&path, MAX_ARCHIVE).await.map_err(self.fail("reading", &path))?;
        let (bytes, _) = there.ok_or_else(|| self.bad(format!("`{path}` comes and goes")))?;
        let (_folder, package) = archive::open(&bytes, &format!("`{path}`"))?;
        match package.content == candidate.package.content {
            true => {
                let line = line_of(&package, Digest::of(&bytes), bytes.len() as u64)?;
                Ok(IndexEntry { pubtime: entry.pubtime, publisher: entry.publisher, ..line })
            }
            false => Err(already_published(candidate, package.content)),
        }
    }

    /// Yanks a version, or takes that back; returns whether that changes anything.
    ///
    /// # Errors
    /// When the registry has no such version, the reason is too long, or the bucket cannot be written.
    pub async fn yank(
        self,
        name: &StageName,
        version: &Version,
        yanked: bool,
        reason: Option<&str>,
    ) -> Result<bool, SourceError> {
        let shown = PathBuf::from(self.address);
        registry_audit::check_reason(&shown, reason)?;
        for attempt in 0..ATTEMPTS {
            let (mut lines, before) = self.lines(name).await?;
            if !registry_audit::mark_yanked(&shown, &mut lines, name, version, yanked, reason)? {
                return Ok(false);
            }
            if self.write_lines(name, &lines, before.as_ref()).await? {
                return Ok(true);
            }
            overtaken(attempt).await;
        }
        Err(self.bad(format!("others write `{}` all the time", shard_path(name))))
    }

    /// Checks all of the registry, as [`registry_audit::audit`] does.
    ///
    /// # Errors
    /// When it cannot be read. What is wrong with it is in the result.
    pub async fn audit(self) -> Result<RegistryAudit, SourceError> {
        let copied = self.copy().await?;
        registry_audit::audit(copied.folder.path())
    }

    /// Writes the index anew from the archives, as [`registry_audit::rebuild`] does.
    ///
    /// # Errors
    /// When an archive cannot be used, the bucket cannot be written, or somebody publishes at the same time.
    pub async fn rebuild(self) -> Result<RebuiltIndex, SourceError> {
        self.init().await?;
        let copied = self.copy().await?;
        let rebuilt = registry_audit::rebuild(copied.folder.path())?;
        for path in &rebuilt.written {
            let file = copied.folder.path().join(path);
            let bytes = pib_file::read(&file, MAX_INDEX).map_err(SourceError::io("reading", &file))?;
            let expected = copied.versions.get(path).map_or(Expected::Nothing, Expected::Version);
            self.bucket.put(path, bytes, expected).await.map_err(self.fail("writing", path))?;
        }
        Ok(rebuilt)
    }

    /// Copies the registry's files into a folder: the index first, so that no line tells of an archive that came later.
    async fn copy(self) -> Result<Copied, SourceError> {
        let folder = tempfile::tempdir().map_err(SourceError::io("creating", &std::env::temp_dir()))?;
        let root = Folder::open(folder.path()).map_err(SourceError::io("opening", folder.path()))?;
        let mut versions = BTreeMap::new();
        for is_archive in [false, true] {
            let below = if is_archive { ARCHIVES } else { "" };
            let files = self.bucket.list(below, MAX_FILES).await.map_err(self.fail("listing", "files"))?;
            let wanted = files.into_iter().filter(|path| match is_archive {
                true => is_archive_path(path),
                false => path == CONFIG || name_at(Path::new(path)).is_some(),
            });
            let limit = |path: &str| match path {
                CONFIG => MAX_CONFIG,
                _ if is_archive => MAX_ARCHIVE,
                _ => MAX_INDEX,
            };
            let read = wanted.map(async |path| {
                let found =
                    self.bucket.get(&path, limit(&path)).await.map_err(self.fail("reading", &path))?;
                Ok::<_, SourceError>((path, found))
            });
            let mut read = stream::iter(read).buffer_unordered(AT_ONCE);
            while let Some((path, found)) = read.try_next().await? {
                let Some((bytes, version)) = found else { continue };
                replace(&root, Path::new(&path), &bytes)?;
                versions.insert(path, version);
            }
        }
        Ok(Copied { folder, versions })
    }

    /// Returns the lines of a stage, none where the registry does not have it, and what they stand in.
    async fn lines(self, name: &StageName) -> Result<(Vec<Line>, Option<ObjectVersion>), SourceError> {
        let path = shard_path(name);
        let Some((bytes, version)) =
            self.bucket.get(&path, MAX_INDEX).await.map_err(self.fail("reading", &path))?
        else {
            return Ok((Vec::new(), None));
        };
        let text = String::from_utf8(bytes).map_err(|_| self.bad(format!("`{path}` is not UTF-8 text")))?;
        Ok((registry_audit::parse_lines(&text), Some(version)))
    }

    /// Writes the lines of a stage in the place of those that were read; returns whether these were still there.
    async fn write_lines(
        self,
        name: &StageName,
        lines: &[Line],
        before: Option<&ObjectVersion>,
    ) -> Result<bool, SourceError> {
        let (path, text) = (shard_path(name), registry_audit::lines_text(lines));
        if text.len() as u64 > MAX_INDEX {
            return Err(
                self.bad(format!("`{path}` would be larger than the {MAX_INDEX} bytes that pib reads"))
            );
        }
        let expected = before.map_or(Expected::Nothing, Expected::Version);
        match self.bucket.put(&path, text.into_bytes(), expected).await {
            Ok(()) => Ok(true),
            Err(ObjectError::Conflict(_)) => Ok(false),
            Err(error) => Err(self.fail("writing", &path)(error)),
        }
    }

    fn bad(self, reason: String) -> SourceError {
        SourceError::BadRegistry { registry: format!("the registry {}", self.address), reason }
    }

    fn fail(self, action: &'static str, path: &str) -> impl FnOnce(ObjectError) -> SourceError {
        let what = format!("`{path}` of the registry {}", self.address);
        move |source| SourceError::Objects { action, what, source }
    }
}

/// Waits before what others have written is read again.
async fn overtaken(attempt: u64) {
    tokio::time::sleep(Duration::from_millis(5 * (attempt + 1)).min(PAUSE)).await;
}

fn already_published(candidate: &PackedStage, published: Digest) -> SourceError {
    SourceError::AlreadyPublished {
        name: candidate.entry.name.clone(),
        version: candidate.entry.vers.clone(),
        path: candidate.folder.clone(),
        published,
        found: candidate.package.content,
    }
}

/// Returns whether a file is where archives are: `archives/NAME/FILE.stage`.
fn is_archive_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [first, name, file] => {
            *first == ARCHIVES && name.parse::<StageName>().is_ok() && file.ends_with(".stage")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_registry_has_is_copied() {
        assert!(is_archive_path("archives/watchdog/watchdog-1.0.0.stage"));
        for path in [
            "archives/x.stage",
            "archives/../x/y.stage",
            "archives/a/b/c.stage",
            "archives/a/b",
            "other/a/b.stage",
        ] {
            assert!(!is_archive_path(path), "{path}");
        }
    }
}
