//! What a registry knows of each version of a stage, and the trait through which the resolver asks.
//!
//! The schema of an index line lives here, and so does the folder layout; fetching the lines does not.

mod memory;
mod source_id;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

pub use memory::MemoryIndex;
pub use source_id::{GitReference, GitSource, PathSource, RegistrySource, SourceId, SourceIdError};

use crate::id::{Digest, StageName};
use crate::metadata::{ConfigSchema, Order, Phase, Requirements, Support};
use crate::moment::Moment;
use crate::publisher::PublisherSignature;

/// The newest schema of an index line that this code reads.
pub const SCHEMA: u32 = 2;
/// The first schema, of stages whose archives have no other modes than 0644 and 0755 and no empty folders.
pub const FIRST_SCHEMA: u32 = 1;
/// The schema of stages whose archives have modes or empty folders: a pib that does not know them would lose these.
pub const MODES_SCHEMA: u32 = 2;

/// The longest index line that is read, in bytes; a longer one is not a stage's description.
const MAX_LINE: usize = 1 << 20;
/// The most versions of a stage that are read of one index file; a person who publishes every hour needs a year for them.
pub const MAX_VERSIONS: usize = 10_000;
/// The most other stages that one version may name in its index line.
pub const MAX_NAMED: usize = 500;

/// One version of a stage, as one line of a registry's index has it; `git` and `path` stages get one from
/// their `stage.toml`.
///
/// Unknown top-level fields are ignored, so that a registry may add what an old pib can do without. What an old
/// pib must not overlook raises [`v`](Self::v).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The schema that a reader must know.
    #[serde(default = "first_schema", skip_serializing_if = "is_first_schema")]
    pub v: u32,
    /// The stage.
    pub name: StageName,
    /// The version that this line describes.
    pub vers: Version,
    /// The stages that it needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deps: Requirements,
    /// The stages that it cannot share a build with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Requirements,
    /// Its soft order.
    #[serde(default, skip_serializing_if = "Order::is_empty")]
    pub order: Order,
    /// Its phase.
    #[serde(default)]
    pub phase: Phase,
    /// What it can be built for.
    #[serde(default, skip_serializing_if = "Support::is_everything")]
    pub support: Support,
    /// The project variables that its part reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<String>,
    /// The versions of pib that can build it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pib: Option<VersionReq>,
    /// Its config keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: ConfigSchema,
    /// One line for people who search.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its SPDX licence expression.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// The digest of the archive; `None` for git and path stages, which have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cksum: Option<Digest>,
    /// The digest of the canonical tar inside; `None` only where the source is a folder that may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// The size of the archive in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookRef>,
    /// Whether new resolutions pass it over; a lock that holds it still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// Why it was yanked, where its publisher says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yank_reason: Option<String>,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubtime: Option<Moment>,
    /// Its publisher's key and signature, where they sign what they publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherSignature>,
}

impl IndexEntry {
    /// Returns how many times it names another stage.
    fn named(&self) -> usize {
        self.deps.len() + self.conflicts.len() + self.order.after.len() + self.order.before.len()
    }
}

/// A stage's hook: which component, and which interface it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRef {
    /// The digest of the component.
    pub digest: Digest,
    /// The WIT package, e.g. `pib:stage@0.1.0`.
    pub world: String,
}

/// One version that a source offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// Where it comes from exactly: for git with the commit.
    pub source: SourceId,
    /// What is known of it.
    pub offer: Offer,
}

/// What an index knows of a version.
#[derive(Debug, Clone, PartialEq)]
pub enum Offer {
    /// All of it.
    Entry(Arc<IndexEntry>),
    /// Only that it exists; the text completes "version 2.0.0 ...", e.g. "needs a newer pib (...)".
    Unreadable(String),
}

/// Where the resolver looks versions up.
///
/// The contract:
/// - An answer holds *every* version that the source offers, also yanked and unsupported ones: the resolver judges
///   them, and explains its verdict. The order does not matter. No two versions differ in build metadata only.
/// - A stage that the source does not have is an empty answer, not an error.
/// - The same question gets the same answer for as long as one resolution lasts.
/// - A question does no IO worth waiting for. Whoever must fetch does it first: `resolve::Prefetch`
///   says what can be asked for, [`MemoryIndex`] holds the answers.
pub trait Index {
    /// Returns every version of `name` at `source`.
    ///
    /// # Errors
    /// When the answer is not known: never fetched, or the fetch failed.
    fn versions(&self, name: &StageName, source: &SourceId) -> Result<Arc<[Candidate]>, IndexError>;

    /// Returns the names known to exist at `source`, for "did you mean" only; may be incomplete.
    fn names(&self, source: &SourceId) -> Vec<StageName>;
}

/// Says why an index has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("looking up the versions of stage `{name}` in {}: {reason}", source_id.describe())]
pub struct IndexError {
    /// The stage that was looked up.
    pub name: StageName,
    /// Where.
    pub source_id: SourceId,
    /// What went wrong.
    pub reason: String,
}

/// One file of an index: every version of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexFile {
    /// The versions, in the file's order.
    pub versions: Vec<Candidate>,
    /// The lines that say nothing of a version of this stage.
    pub skipped: Vec<SkippedLine>,
    /// How many bytes of an index it was read from; none where the source has no index.
    pub bytes: u64,
}

/// Says that an index file has more versions than any stage can rightly have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its index of stage `{name}` has more than {MAX_VERSIONS} versions")]
pub struct TooManyVersions {
    /// The stage.
    pub name: StageName,
}

/// A line of an index file that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedLine {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// What is read of a line whose rest cannot be.
#[derive(Deserialize)]
struct Probe {
    #[serde(default = "first_schema")]
    v: u32,
    name: String,
    vers: Version,
}

impl IndexFile {
    /// Returns the file of a source that has this one version, and no index.
    pub fn of(candidate: Candidate) -> Self {
        Self { versions: vec![candidate], skipped: Vec::new(), bytes: 0 }
    }

    /// Reads the index file of `name` at `source`.
    ///
    /// One line that is broken, or written for a newer pib, does not take the stage's other versions away. Where at least
    /// the version can be read, it becomes [`Offer::Unreadable`], so that a failed resolution can tell why it was passed
    /// over.
    ///
    /// # Errors
    /// When there are more than [`MAX_VERSIONS`] lines.
    pub fn parse(name: &StageName, source: &SourceId, text: &str) -> Result<Self, TooManyVersions> {
        let mut file = Self { versions: Vec::new(), skipped: Vec::new(), bytes: text.len() as u64 };
        let mut seen = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            if file.versions.len() + file.skipped.len() >= MAX_VERSIONS {
                return Err(TooManyVersions { name: name.clone() });
            }
            let read = read_line(name, line).and_then(|(version, offer)| {
                let bare = Version { build: semver::BuildMetadata::EMPTY, ..version.clone() };
                if !seen.insert(bare) {
                    return Err(format!("version {version} stands in an earlier line"));
                }
                Ok(Candidate { version, source: source.clone(), offer })
            });
            match read {
                Ok(candidate) => file.versions.push(candidate),
                Err(reason) => file.skipped.push(SkippedLine { line: number + 1, reason }),
            }
        }
        Ok(file)
    }
}

/// Returns the text of an index file: one line for each entry, lowest version first.
///
/// # Errors
/// When serialisation fails, which no value of these types causes.
pub fn write_index_file<'a>(
    entries: impl IntoIterator<Item = &'a IndexEntry>,
) -> Result<String, serde_json::Error> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(|a, b| a.vers.cmp(&b.vers));
    let mut text = String::new();
    for entry in entries {
        text.push_str(&serde_json::to_string(entry)?);
        text.push('\n');
    }
    Ok(text)
}

/// Returns where a registry keeps the index file of a stage: `1/a`, `2/ab`, `3/a/abc`, `ab/cd/abcdef`.
///
/// The folders keep any one of them small, however many stages there are.
pub fn shard_path(name: &StageName) -> String {
    let text = name.as_str();
    match text.len() {
        1 => format!("1/{text}"),
        2 => format!("2/{text}"),
        3 => format!("3/{}/{text}", &text[..1]),
        _ => format!("{}/{}/{text}", &text[..2], &text[2..4]),
    }
}

fn read_line(name: &StageName, line: &str) -> Result<(Version, Offer), String> {
    if line.len() > MAX_LINE {
        return Err(format!("it is longer than {MAX_LINE} bytes"));
    }
    let entry = serde_json::from_str::<IndexEntry>(line);
    if let Ok(entry) = entry
        && entry.v <= SCHEMA
        && entry.name == *name
        && entry.cksum.is_some()
        && entry.content.is_some()
    {
        let version = entry.vers.clone();
        let offer = match entry.named() > MAX_NAMED {
            true => Offer::Unreadable(format!("names more than {MAX_NAMED} other stages")),
            false => Offer::Entry(Arc::new(entry)),
        };
        return Ok((version, offer));
    }
    let probe: Probe = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if probe.name != name.as_str() {
        return Err(format!(
            "it describes another stage, `{}`",
            probe.name.chars().take(80).collect::<String>()
        ));
    }
    let reason = if probe.v > SCHEMA {
        format!("needs a newer pib (its index line has schema {}, this pib reads up to {SCHEMA})", probe.v)
    } else {
        match serde_json::from_str::<IndexEntry>(line) {
            Err(error) => format!("has an index line that cannot be read ({error})"),
            Ok(_) => "has no `cksum` or no `content` digest in its index line".to_owned(),
        }
    };
    Ok((probe.vers, Offer::Unreadable(reason)))
}

fn first_schema() -> u32 {
    FIRST_SCHEMA
}

fn is_first_schema(v: &u32) -> bool {
    *v == first_schema()
}
