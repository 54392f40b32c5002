//! Adds stages to a registry that is a folder.
//!
//! A registry is append-only: what is published under a version stays as it is, so that an old lock builds with a
//! new pib. Every stage is packed and checked before the first byte is written; an archive is in place before the
//! line that tells of it; every file gets its name when it is whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pib_file::Folder;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, IndexFile, MODES_SCHEMA, Offer, shard_path};
use pib_plan::manifest::stage;
use pib_plan::metadata::ConfigType;
use pib_plan::moment::Moment;
use pib_plan::part;
use semver::Version;

use super::archive::{Packed, pack};
use super::registry::{CONFIG, Config, Registry, archive_path};
use super::{Package, SourceError, entry, stage_files};

/// What became of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedStage {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// Whether it is new in the registry.
    pub outcome: Outcome,
}

/// What publishing a stage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The version was added.
    New,
    /// The version was there already, with the same content.
    Unchanged,
}

/// A stage that was packed: what is judged and tried is what is published, whatever becomes of its folder meanwhile.
#[derive(Debug)]
pub struct PackedStage {
    /// The stage's folder.
    pub folder: PathBuf,
    /// The stage.
    pub package: Package,
    /// Its archive's bytes.
    pub archive: Vec<u8>,
    /// Its index line.
    pub entry: IndexEntry,
}

impl PackedStage {
    /// Packs the stage in a folder.
    ///
    /// # Errors
    /// When the stage is not fit to be published.
    pub fn of(folder: &Path) -> Result<Self, SourceError> {
        let Packed { archive, checksum, package } = pack(folder, &folder.display().to_string())?;
        check_fit(&package, folder)?;
        let entry = IndexEntry { pubtime: Some(now()), ..line_of(&package, checksum, archive.len() as u64)? };
        Ok(Self { folder: folder.to_owned(), package, archive, entry })
    }
}

/// Publishes the stages in `stage_dirs` to the registry in the folder `registry_dir`, which is created if need be.
///
/// With `check` nothing is written: it fails where something would be.
///
/// # Errors
/// When a stage is not fit to be published, when its version is published with another content, or when the
/// registry cannot be read or written. Nothing has been written then, unless the disk itself failed.
pub fn publish(
    stage_dirs: &[PathBuf],
    registry_dir: &Path,
    check: bool,
) -> Result<Vec<PublishedStage>, SourceError> {
    let packed = stage_dirs.iter().map(|folder| PackedStage::of(folder)).collect::<Result<Vec<_>, _>>()?;
    let packed: Vec<&PackedStage> = packed.iter().collect();
    match check {
        true => check_all_published(compare(&packed, registry_dir)?),
        false => add(&packed, registry_dir),
    }
}

/// Adds packed stages to the registry in the folder `registry_dir`, which is created if need be.
///
/// # Errors
/// When the version of one is published with another content, or the registry cannot be read or written. Nothing has been
/// written then, unless the disk itself failed.
pub fn add(stages: &[&PackedStage], registry_dir: &Path) -> Result<Vec<PublishedStage>, SourceError> {
    let (folder, _lock) = hold(registry_dir)?;
    let published = compare(stages, registry_dir)?;
    let new = stages.iter().zip(&published).filter(|(_, published)| published.outcome == Outcome::New);
    write_all(&folder, &new.map(|(stage, _)| *stage).collect::<Vec<_>>())?;
    Ok(published)
}

/// Returns what publishing stages to a registry does.
fn compare(stages: &[&PackedStage], registry_dir: &Path) -> Result<Vec<PublishedStage>, SourceError> {
    let registry = Registry::folder(registry_dir)?;
    let mut contents: BTreeMap<&StageName, BTreeMap<Version, Digest>> = BTreeMap::new();
    let mut published = Vec::new();
    for PackedStage { folder, package, .. } in stages {
        let known = match contents.entry(&package.name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(known_contents(&registry, registry_dir, &package.name)?),
        };
        let (name, version) = (package.name.clone(), package.version.clone());
        let outcome = match known.insert(without_build(&version), package.content) {
            None => Outcome::New,
            Some(content) if content == package.content => Outcome::Unchanged,
            Some(published) => {
                let (path, found) = (folder.clone(), package.content);
                return Err(SourceError::AlreadyPublished { name, version, path, published, found });
            }
        };
        published.push(PublishedStage { name, version, outcome });
    }
    Ok(published)
}

/// A stage that could be published, and what the registry has of it.
#[derive(Debug)]
pub struct PublishCandidate {
    /// The stage.
    pub packed: PackedStage,
    /// Whether the registry has its version already, with whatever content.
    pub is_published: bool,
    /// The greatest version below its own that the registry has, where it can be read.
    pub before: Option<Arc<IndexEntry>>,
    /// Whether the registry has no version of it.
    pub is_new_name: bool,
}

/// Packs the stages in `stage_dirs` and looks up what a registry has of them. Nothing is written.
///
/// # Errors
/// When a stage cannot be packed, or the registry cannot be read.
pub async fn candidates(
    stage_dirs: &[PathBuf],
    registry: &Registry,
) -> Result<Vec<PublishCandidate>, SourceError> {
    let mut candidates = Vec::new();
    for folder in stage_dirs {
        let packed = PackedStage::of(folder)?;
        let file = registry.versions(&packed.package.name).await?;
        let version = without_build(&packed.package.version);
        let entries = file.versions.iter().filter_map(|candidate| match &candidate.offer {
            Offer::Entry(entry) => Some(entry),
            Offer::Unreadable(_) => None,
        });
        // What was taken back is no promise any more.
        let earlier = entries.filter(|entry| entry.vers < version && !entry.yanked);
        let before = earlier.max_by(|a, b| a.vers.cmp(&b.vers)).cloned();
        candidates.push(PublishCandidate {
            is_published: file.versions.iter().any(|other| without_build(&other.version) == version),
            is_new_name: file.versions.is_empty(),
            before,
            packed,
        });
    }
    Ok(candidates)
}

fn check_all_published(published: Vec<PublishedStage>) -> Result<Vec<PublishedStage>, SourceError> {
    let missing = published.iter().filter(|stage| stage.outcome == Outcome::New);
    let missing: Vec<_> = missing.map(|stage| format!("{} {}", stage.name, stage.version)).collect();
    match missing.is_empty() {
        true => Ok(published),
        false => Err(SourceError::NotPublished { stages: missing.join(", ") }),
    }
}

/// Returns the content digest of every published version of `name`, after a look at its archives.
fn known_contents(
    registry: &Registry,
    root: &Path,
    name: &StageName,
) -> Result<BTreeMap<Version, Digest>, SourceError> {
    let path = root.join(shard_path(name));
    let text = stage_files::read_text(&path, super::entry::MAX_INDEX)?.unwrap_or_default();
    let bad = |reason: String| SourceError::BadRegistry { registry: registry.source().describe(), reason };
    let file = IndexFile::parse(name, registry.source(), &text).map_err(|error| bad(error.to_string()))?;
    if let Some(skipped) = file.skipped.first() {
        return Err(bad(format!(
            "line {} of `{}` cannot be read: {}",
            skipped.line,
            path.display(),
            skipped.reason
        )));
    }
    let mut known = BTreeMap::new();
    for candidate in &file.versions {
        let what = format!("{name} {}", candidate.version);
        let entry = match &candidate.offer {
            Offer::Entry(entry) => entry,
            Offer::Unreadable(reason) => return Err(bad(format!("{what} {reason}"))),
        };
        let archive = root.join(archive_path(name, &candidate.version));
        let bytes = match pib_file::read(&archive, super::archive::MAX_ARCHIVE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let registry = registry.source().describe();
                let version = candidate.version.clone();
                return Err(SourceError::NoArchive { registry, name: name.clone(), version });
            }
            Err(error) => return Err(SourceError::io("reading", &archive)(error)),
        };
        let found = Digest::of(&bytes);
        match (entry.cksum, entry.content) {
            (Some(expected), _) if expected != found => {
                let what = format!("the archive of {what}");
                return Err(SourceError::WrongDigest { what, expected, found });
            }
            (_, Some(content)) => known.insert(without_build(&candidate.version), content),
            (_, None) => return Err(bad(format!("{what} has no content digest"))),
        };
    }
    Ok(known)
}

/// Two versions that differ in build metadata only are one to the resolver, so they are one here.
pub(super) fn without_build(version: &Version) -> Version {
    Version { build: semver::BuildMetadata::EMPTY, ..version.clone() }
}

/// Returns the index line of a version whose archive has this digest and size.
pub(super) fn line_of(package: &Package, checksum: Digest, size: u64) -> Result<IndexEntry, SourceError> {
    let Package { manifest, root, files, contents, .. } = package;
    let mut entry = entry::of(manifest, root, files, contents)?;
    if package.has_modes() {
        entry.v = MODES_SCHEMA;
    }
    entry.cksum = Some(checksum);
    entry.content = Some(package.content);
    entry.size = Some(size);
    Ok(entry)
}

/// Returns the moment, to the second.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(since.as_secs().saturating_mul(1_000_000))
}

/// Checks what a stranger who builds the stage would stumble over.
fn check_fit(package: &Package, folder: &Path) -> Result<(), SourceError> {
    if package.file(stage::FILE_NAME).is_none() {
        return Err(SourceError::Unfit {
            path: folder.to_owned(),
            reason: "it has no stage.toml, and only a stage with a name and a version can be published"
                .to_owned(),
        });
    }
    check_parts(package, folder)
}

/// Checks the parts of the stage in `folder`, also against the files that they copy.
///
/// # Errors
/// When a part is no piece of a Dockerfile, or copies what surely is not there.
pub fn check_parts(package: &Package, folder: &Path) -> Result<(), SourceError> {
    for file in package.parts() {
        let path = folder.join(&file.path);
        let shown = path.display().to_string();
        let text = stage_files::read_text(&path, part::MAX_PART as u64)?.unwrap_or_default();
        let part = part::check(&shown, &text)?;
        part.check_copies(package.name.as_str(), None, |path| context_has(package, path))?;
        part.check_exports(&package.manifest.exports)?;
        // A hook may write the instruction that mounts a secret.
        if package.manifest.hook.is_none() {
            part.check_secrets(package.name.as_str(), &package.manifest.config)?;
        }
    }
    Ok(())
}

/// Returns whether the context of a build with this stage surely has `path`.
fn context_has(package: &Package, path: &str) -> bool {
    let Some((stage, rest)) =
        path.strip_prefix("stages/").map(|path| path.split_once('/').unwrap_or((path, "")))
    else {
        return false;
    };
    let manifest = &package.manifest;
    if stage != package.name.as_str() {
        return manifest.dependencies.keys().any(|name| name.as_str() == stage);
    }
    // The files that the project gives by config are below `config/KEY`.
    let given = rest.strip_prefix("config/").map(|rest| rest.split('/').next().unwrap_or(rest));
    let given = given.and_then(|key| manifest.config.get(key));
    let is_given = given.is_some_and(|key| matches!(key.kind, ConfigType::Path | ConfigType::Paths));
    // A hook may add any file to its stage's folder.
    rest.is_empty() || is_given || manifest.hook.is_some() || package.has(rest)
}

/// Makes the folder a registry without stages, where it is none yet; returns whether it was not.
///
/// # Errors
/// When it holds something else, or cannot be written.
pub fn init(root: &Path) -> Result<bool, SourceError> {
    let (folder, _lock) = hold(root)?;
    let is_there = folder.kind(CONFIG).map_err(SourceError::io("reading", &root.join(CONFIG)))?.is_some();
    let others = root.read_dir().map_err(SourceError::io("reading", root))?.flatten();
    // What belongs to version control and to people is in nobody's way.
    let usual = |name: &str| name.starts_with('.') || name.contains('.') || name == "LICENSE";
    let other =
        others.map(|entry| entry.file_name().to_string_lossy().into_owned()).find(|name| !usual(name));
    match other.filter(|_| !is_there) {
        Some(name) => Err(SourceError::BadRegistry {
            registry: format!("the folder `{}`", root.display()),
            reason: format!("it holds `{name}`, and a registry has a folder of its own"),
        }),
        None => write_all(&folder, &[]).map(|()| !is_there),
    }
}

/// Opens the registry's folder, which is made if need be, for this process alone.
pub(super) fn hold(root: &Path) -> Result<(Folder, File), SourceError> {
    let folder = Folder::make(root).map_err(SourceError::io("opening", root))?;
    // The folder itself is the lock, so that no lock file gets published.
    let lock = folder.to_lock().and_then(|lock| lock.lock().map(|()| lock));
    Ok((folder, lock.map_err(SourceError::io("locking", root))?))
}

/// Adds the versions. No link in the folder, which may be a stranger's, is followed.
fn write_all(root: &Folder, new: &[&PackedStage]) -> Result<(), SourceError> {
    let unwritable = |error: serde_json::Error| SourceError::BadRegistry {
        registry: format!("the registry `{}`", root.path().display()),
        reason: format!("its files cannot be written ({error})"),
    };
    let unreadable = |path: &Path, error| SourceError::io("reading", &root.path().join(path))(error);
    let config = root.kind(CONFIG).map_err(|error| unreadable(Path::new(CONFIG), error))?;
    if config.is_none() {
        let text = serde_json::to_string(&Config::current()).map_err(unwritable)?;
        replace(root, Path::new(CONFIG), format!("{text}\n").as_bytes())?;
    }
    for PackedStage { entry, archive, .. } in new {
        replace(root, Path::new(&archive_path(&entry.name, &entry.vers)), archive)?;
        let index = PathBuf::from(shard_path(&entry.name));
        let mut text = match root.read_text(&index, super::entry::MAX_INDEX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| unreadable(&index, error))?,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&serde_json::to_string(entry).map_err(unwritable)?);
        text.push('\n');
        replace(root, &index, text.as_bytes())?;
    }
    Ok(())
}

/// Replaces a file of the registry by a whole one.
pub(super) fn replace(root: &Folder, path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let write = || {
        if let Some(folder) = path.parent() {
            root.make_folder(folder)?;
        }
        let mut new = root.output(path)?.create()?;
        new.file().write_all(bytes)?;
        new.keep(Permissions::from_mode(0o644))
    };
    write().map_err(SourceError::io("writing", &root.path().join(path)))
}

#[cfg(test)]
#[path = "registry_folder_tests.rs"]
mod tests;
