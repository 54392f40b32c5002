//! Looks after a registry that is a folder: yanks versions, checks all of it, and rebuilds its index from its archives.
//!
//! A killed `pib publish` leaves at worst an archive that no line tells of: publishing again, or rebuilding, makes it whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use pib_file::Folder;
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, shard_path};
use pib_plan::suggest;
use semver::Version;

use super::archive::{self, MAX_ARCHIVE};
use super::entry::MAX_INDEX;
use super::registry::{ARCHIVES, Registry, archive_path};
use super::registry_folder::{hold, line_of, replace, without_build};
use super::{SourceError, registry_publisher};

/// The longest reason for yanking a version, in characters: a sentence.
pub const MAX_REASON: usize = 300;

/// What a look at a whole registry has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryAudit {
    /// How many stages it has.
    pub stages: usize,
    /// How many versions of them.
    pub versions: usize,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
    /// What is no fault, and good to know, a sentence each.
    pub notes: Vec<String>,
}

/// What a new index has that the old one had not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuiltIndex {
    /// How many versions it has.
    pub versions: usize,
    /// The index files that were written.
    pub written: Vec<String>,
    /// The versions that it has no more, since there is no archive of them.
    pub dropped: Vec<String>,
}

/// A line of an index file.
pub(super) struct Line {
    text: String,
    /// What it says; `None` where this pib cannot read it.
    pub(super) entry: Option<IndexEntry>,
}

/// Hides a version from new resolutions, or shows it again; returns whether that changes anything.
///
/// # Errors
/// When the registry has no such version, the reason is too long, or its index cannot be written.
pub fn yank(
    root: &Path,
    name: &StageName,
    version: &Version,
    yanked: bool,
    reason: Option<&str>,
) -> Result<bool, SourceError> {
    check_reason(root, reason)?;
    if !root.is_dir() {
        return Err(unyankable(root, "there is no such folder".to_owned()));
    }
    let (folder, _lock) = hold(root)?;
    let mut lines = read_lines(&folder, name)?;
    let changes = mark_yanked(root, &mut lines, name, version, yanked, reason)?;
    if changes {
        write_lines(&folder, name, &lines)?;
    }
    Ok(changes)
}

fn unyankable(registry: &Path, reason: String) -> SourceError {
    SourceError::Unyankable { registry: registry.to_owned(), reason }
}

/// Returns whether a text can be the reason why a version is yanked: it is one line, and not too long.
pub fn is_reason(text: &str) -> bool {
    text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control)
}

/// Checks why a version is yanked.
///
/// # Errors
/// When that is more than a line.
pub(super) fn check_reason(registry: &Path, reason: Option<&str>) -> Result<(), SourceError> {
    match reason.is_none_or(is_reason) {
        true => Ok(()),
        false => {
            Err(unyankable(registry, format!("a reason is one line of at most {MAX_REASON} characters")))
        }
    }
}

/// Returns whether somebody who names a version means this one: they may leave its build metadata out.
pub(super) fn is_meant(named: &Version, version: &Version) -> bool {
    match named.build.is_empty() {
        true => without_build(version) == *named,
        false => version == named,
    }
}

/// Marks a version as yanked, or takes that back, in the lines of its stage; returns whether that changes anything.
///
/// # Errors
/// When there is no such version.
pub(super) fn mark_yanked(
    registry: &Path,
    lines: &mut [Line],
    name: &StageName,
    version: &Version,
    yanked: bool,
    reason: Option<&str>,
) -> Result<bool, SourceError> {
    let bad = |reason: String| unyankable(registry, reason);
    let named = |line: &&mut Line| line.entry.as_ref().is_some_and(|entry| is_meant(version, &entry.vers));
    let versions = lines.iter().filter_map(|line| Some(line.entry.as_ref()?.vers.to_string()));
    let versions: Vec<String> = versions.collect();
    let Some(line) = lines.iter_mut().find(named) else {
        return Err(bad(match versions.is_empty() {
            true => format!("it has no stage `{name}`"),
            false => {
                let has = suggest::list(versions.iter().map(String::as_str));
                format!("it has no version {version} of stage `{name}`, only {has}")
            }
        }));
    };
    // A line of a newer pib may say more than this one knows, and keeps it.
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&line.text).map_err(|error| bad(error.to_string()))?;
    fields.remove("yanked");
    fields.remove("yank_reason");
    if yanked {
        fields.insert("yanked".to_owned(), true.into());
        fields.extend(reason.map(|text| ("yank_reason".to_owned(), text.into())));
    }
    let entry: IndexEntry =
        serde_json::from_value(fields.clone().into()).map_err(|error| bad(error.to_string()))?;
    if line.entry.as_ref() == Some(&entry) {
        return Ok(false);
    }
    let known = to_text(&entry);
    let fields = serde_json::Value::from(fields);
    let is_known = serde_json::from_str::<serde_json::Value>(&known).is_ok_and(|value| value == fields);
    line.text = if is_known { known } else { fields.to_string() };
    Ok(true)
}

/// Checks all of a registry: that every line can be read, names an archive that is there and is the one that was published, and
/// says of it what the archive says itself.
///
/// # Errors
/// When the registry cannot be read. What is wrong with it is in the result.
pub fn audit(root: &Path) -> Result<RegistryAudit, SourceError> {
    let registry = Registry::folder(root)?;
    let folder = Folder::open(root).map_err(SourceError::io("opening", root))?;
    let mut audit = RegistryAudit::default();
    let mut told = BTreeSet::new();
    for name in registry.names() {
        audit.stages += 1;
        let mut versions = BTreeSet::new();
        for (number, line) in read_lines(&folder, &name)?.iter().enumerate() {
            let at = format!("`{}`, line {}", shard_path(&name), number + 1);
            let Some(entry) = &line.entry else {
                audit.faults.push(format!("{at}: it cannot be read; a newer pib may have written it"));
                continue;
            };
            audit.versions += 1;
            told.insert(archive_path(&name, &entry.vers));
            if !versions.insert(without_build(&entry.vers)) {
                audit.faults.push(format!("{at}: version {} has a line already", entry.vers));
            }
            if let Err(reason) = check_line(&folder, &name, entry) {
                audit.faults.push(format!("{at}: {reason}"));
            }
        }
    }
    let untold = archives(&folder)?.into_iter().filter(|path| !told.contains(path));
    audit.notes = untold
        .map(|path| {
            format!("no line tells of `{path}`: publish its stage again, or run `pib registry index`")
        })
        .collect();
    Ok(audit)
}

/// Returns what is wrong with a line, if anything is.
fn check_line(folder: &Folder, name: &StageName, entry: &IndexEntry) -> Result<(), String> {
    if entry.name != *name {
        return Err(format!("it tells of stage `{}`", entry.name));
    }
    let path = archive_path(name, &entry.vers);
    let bytes = read_archive(folder, &path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("`{path}` is not there"),
        _ => format!("`{path}` cannot be read ({error})"),
    })?;
    check_archive(entry, &bytes, &format!("`{path}`"))
}

/// Returns what is wrong with a line, given the archive that it names; `what` is what the archive is called.
pub(super) fn check_archive(entry: &IndexEntry, bytes: &[u8], what: &str) -> Result<(), String> {
    let found = Digest::of(bytes);
    if let Some(cksum) = entry.cksum.filter(|cksum| *cksum != found) {
        return Err(format!("{what} is another file than was published: expected {cksum}, found {found}"));
    }
    let derived = derive(bytes, what).map_err(|error| error.to_string())?;
    if !registry_publisher::is_signed(entry) {
        return Err("its publisher's signature is not valid".to_owned());
    }
    // What the archive cannot say.
    let said =
        IndexEntry { yanked: false, yank_reason: None, pubtime: None, publisher: None, ..entry.clone() };
    match difference(&said, &derived) {
        Some(field) => Err(format!("it says of `{field}` what {what} does not say")),
        None => Ok(()),
    }
}

/// Returns the first field in which two lines differ.
fn difference(one: &IndexEntry, other: &IndexEntry) -> Option<String> {
    let fields = |entry: &IndexEntry| match serde_json::to_value(entry) {
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().collect::<BTreeMap<_, _>>(),
        _ => BTreeMap::new(),
    };
    let (one, other) = (fields(one), fields(other));
    one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key)).cloned()
}

/// Writes the index anew from the archives. What was yanked stays so, lines keep their order, and what archives cannot say.
///
/// # Errors
/// When an archive cannot be used, or the folder cannot be written: nothing is written then, unless the disk itself failed.
pub fn rebuild(root: &Path) -> Result<RebuiltIndex, SourceError> {
    super::registry_folder::init(root)?;
    let registry = Registry::folder(root)?;
    let (folder, _lock) = hold(root)?;
    let mut derived: BTreeMap<StageName, BTreeMap<Version, IndexEntry>> = BTreeMap::new();
    for path in archives(&folder)? {
        let bytes = read_archive(&folder, &path).map_err(SourceError::io("reading", &root.join(&path)))?;
        let entry = derive(&bytes, &format!("`{path}`"))?;
        if archive_path(&entry.name, &entry.vers) != path {
            let reason = format!("it holds stage `{}` {}", entry.name, entry.vers);
            return Err(SourceError::BadArchive { what: format!("`{path}`"), reason });
        }
        derived.entry(entry.name.clone()).or_default().insert(entry.vers.clone(), entry);
    }
    let mut rebuilt = RebuiltIndex::default();
    let names: BTreeSet<StageName> = registry.names().into_iter().chain(derived.keys().cloned()).collect();
    for name in names {
        let before = read_lines(&folder, &name)?;
        let old: Vec<String> = before.iter().map(|line| line.text.clone()).collect();
        let mut new = derived.remove(&name).unwrap_or_default();
        let mut lines = Vec::new();
        for line in before {
            match line.entry {
                // It may be of a newer pib, which reads it.
                None => lines.push(line),
                Some(entry) => match new.remove(&entry.vers) {
                    Some(found) => lines.push(Line::of(IndexEntry {
                        yanked: entry.yanked,
                        yank_reason: entry.yank_reason,
                        pubtime: entry.pubtime,
                        publisher: entry.publisher.filter(|_| entry.content == found.content),
                        ..found
                    })),
                    None => rebuilt.dropped.push(format!("{name} {}", entry.vers)),
                },
            }
        }
        lines.extend(new.into_values().map(Line::of));
        rebuilt.versions += lines.len();
        if !old.iter().eq(lines.iter().map(|line| &line.text)) {
            write_lines(&folder, &name, &lines)?;
            rebuilt.written.push(shard_path(&name));
        }
    }
    Ok(rebuilt)
}

impl Line {
    pub(super) fn of(entry: IndexEntry) -> Self {
        Self { text: to_text(&entry), entry: Some(entry) }
    }
}

/// Returns a line's text.
fn to_text(entry: &IndexEntry) -> String {
    serde_json::to_string(entry).unwrap_or_default()
}

/// Returns what an archive says of itself.
fn derive(bytes: &[u8], what: &str) -> Result<IndexEntry, SourceError> {
    let (_folder, package) = archive::open(bytes, what)?;
    line_of(&package, Digest::of(bytes), bytes.len() as u64)
}

/// Returns the paths of all archives, sorted.
fn archives(folder: &Folder) -> Result<BTreeSet<String>, SourceError> {
    let root = folder.path();
    let mut found = BTreeSet::new();
    for entry in walkdir::WalkDir::new(root.join(ARCHIVES)).min_depth(2).max_depth(2) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {
                continue;
            }
            Err(error) => return Err(SourceError::io("reading", root)(error.into())),
        };
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_string_lossy().into_owned();
        // Others are what a killed process has left, or a person has put there.
        if path.ends_with(".stage") && entry.file_type().is_file() {
            found.insert(path);
        }
    }
    Ok(found)
}

fn read_archive(folder: &Folder, path: &str) -> io::Result<Vec<u8>> {
    pib_file::read_open(folder.open_file(Path::new(path))?, MAX_ARCHIVE)
}

/// Returns the lines of a stage; none where the registry does not have it.
fn read_lines(folder: &Folder, name: &StageName) -> Result<Vec<Line>, SourceError> {
    let path = shard_path(name);
    let text = match folder.read_text(Path::new(&path), MAX_INDEX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(SourceError::io("reading", &folder.path().join(&path)))?,
    };
    Ok(parse_lines(&text))
}

/// Returns the lines of an index file.
pub(super) fn parse_lines(text: &str) -> Vec<Line> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|text| Line { entry: serde_json::from_str(text).ok(), text: text.to_owned() }).collect()
}

/// Returns the text of an index file.
pub(super) fn lines_text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

fn write_lines(folder: &Folder, name: &StageName, lines: &[Line]) -> Result<(), SourceError> {
    replace(folder, Path::new(&shard_path(name)), lines_text(lines).as_bytes())
}

#[cfg(test)]
#[path = "registry_audit_tests.rs"]
mod tests;
