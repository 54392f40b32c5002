//! A version of a stage as an artifact of an OCI registry (OCI image specification 1.1, "Guidelines for Artifact Usage").
//!
//! ```text
//! oci://HOST/NAMESPACE        a registry of stages
//! HOST/NAMESPACE/watchdog     a stage
//!     1.2.3                   the manifest of a version: its index line in an annotation, its archive as the one layer
//!     1.2, 1                  the greatest of these versions, for other programs; pib reads whole versions alone
//! ```

use std::collections::BTreeMap;

use semver::{BuildMetadata, Version};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::artifact_manifest::{self, Layer, MANIFEST};
use crate::id::{Digest, StageName};
use crate::index::{Candidate, IndexEntry, IndexFile, Offer, SourceId};
use crate::object_address::is_repository_part;

/// What kind of artifact a stage is.
pub const STAGE: &str = "application/vnd.pib.stage.v1";
/// What kind of layer its archive is.
pub const ARCHIVE: &str = "application/vnd.pib.stage.archive.v1.tar+zstd";
/// The annotation that holds the index line.
pub const INDEX_LINE: &str = "dev.pib.stage.index-line";
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;
/// The repositories of the two stages whose names are none of a repository: a dot is in no other stage's name.
const RESERVED: [(&str, &str); 2] = [("__init__", "pib.init"), ("__cleanup__", "pib.cleanup")];

/// Says what is wrong with a manifest; it completes "version 1.2.3 ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The text is no manifest.
    #[error("has a manifest that cannot be read ({0})")]
    Unreadable(String),
    /// It is a container image, or something else.
    #[error("is not a stage, but `{0}`")]
    OtherKind(String),
    /// It has no index line.
    #[error("has a manifest without an index line")]
    NoLine,
    /// It is another stage's.
    #[error("has the manifest of another stage, `{0}`")]
    OtherStage(String),
    /// It is another version's.
    #[error("has the manifest of another version, {0}")]
    OtherVersion(Version),
    /// It lists other archives than its index line.
    #[error("has a manifest whose archive is not that of its index line")]
    OtherArchive,
}

/// The manifest of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct StageArtifact {
    /// The index line.
    pub line: String,
    /// What it says beside that, also what this pib does not know.
    fields: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFields {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    layers: Vec<FoundLayer>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct FoundLayer {
    digest: String,
    size: u64,
}

/// What every index line says, whatever its schema.
#[derive(Deserialize)]
struct LineFields {
    name: String,
    vers: Version,
    #[serde(default)]
    cksum: Option<Digest>,
    #[serde(default)]
    size: Option<u64>,
}

/// Returns what the repository of a stage is called below the namespace; `None` where no repository can be called so.
pub fn repository_of(name: &StageName) -> Option<&str> {
    let reserved = RESERVED.iter().find(|(stage, _)| *stage == name.as_str());
    let repository = reserved.map_or(name.as_str(), |(_, repository)| repository);
    is_repository_part(repository).then_some(repository)
}

/// Returns the stage that a repository below the namespace is, where it may be one.
pub fn stage_of(repository: &str) -> Option<StageName> {
    let reserved = RESERVED.iter().find(|(_, known)| *known == repository);
    let name: StageName = reserved.map_or(repository, |(stage, _)| stage).parse().ok()?;
    (repository_of(&name) == Some(repository)).then_some(name)
}

/// Returns the tag of a version: a `+` is no letter of a tag's, and `_` none of a version's. `None` where it is too long.
pub fn tag_of(version: &Version) -> Option<String> {
    let tag = version.to_string().replace('+', "_");
    (tag.len() <= MAX_TAG).then_some(tag)
}

/// Returns the version that a tag is of; `None` where it is that of something else.
pub fn version_of(tag: &str) -> Option<Version> {
    let version: Version = tag.replacen('_', "+", 1).parse().ok()?;
    (tag_of(&version).as_deref() == Some(tag)).then_some(version)
}

/// Returns the tags that move, `1.2` and `1`, each with the greatest version that it stands for. Versions before a release get
/// none, and `0` says nothing of what fits. A yanked version counts only where there is no other.
pub fn moving_tags<'a>(versions: impl Iterator<Item = (&'a Version, bool)>) -> BTreeMap<String, Version> {
    let mut tags: BTreeMap<String, (bool, &Version)> = BTreeMap::new();
    for (version, is_yanked) in versions.filter(|(version, _)| version.pre.is_empty()) {
        let minor = format!("{}.{}", version.major, version.minor);
        let major = (version.major > 0).then(|| version.major.to_string());
        for tag in std::iter::once(minor).chain(major) {
            let value = (!is_yanked, version);
            tags.entry(tag).and_modify(|known| *known = value.max(*known)).or_insert(value);
        }
    }
    tags.into_iter().map(|(tag, (_, version))| (tag, version.clone())).collect()
}

impl StageArtifact {
    /// Returns the manifest of the version that an index entry describes.
    ///
    /// # Errors
    /// When the entry has no archive's digest and size, or cannot be written.
    pub fn new(entry: &IndexEntry) -> Result<Self, ArtifactError> {
        let (Some(digest), Some(size)) = (entry.cksum, entry.size) else {
            return Err(ArtifactError::OtherArchive);
        };
        let line =
            serde_json::to_string(entry).map_err(|error| ArtifactError::Unreadable(error.to_string()))?;
        let mut annotations = json!({
            "org.opencontainers.image.title": entry.name.as_str(),
            "org.opencontainers.image.version": entry.vers.to_string(),
        });
        for (key, value) in [("description", &entry.description), ("licenses", &entry.license)] {
            if !value.is_empty() {
                annotations[format!("org.opencontainers.image.{key}")] = json!(value);
            }
        }
        let title = format!("{}-{}.stage", entry.name, entry.vers);
        let layer = Layer { media_type: ARCHIVE, digest, size, title };
        let mut fields = artifact_manifest::fields(STAGE, &layer);
        fields.insert("annotations".to_owned(), annotations);
        Ok(Self { fields, line: String::new() }.with_line(line))
    }

    /// Returns this manifest with another index line.
    #[must_use]
    pub fn with_line(mut self, line: String) -> Self {
        if let Some(Value::Object(annotations)) = self.fields.get_mut("annotations") {
            annotations.insert(INDEX_LINE.to_owned(), json!(line));
        }
        Self { line, ..self }
    }

    /// Reads what stands under the tag of a version of a stage.
    ///
    /// # Errors
    /// When it is not the manifest of that version.
    pub fn parse(text: &[u8], name: &StageName, version: &Version) -> Result<Self, ArtifactError> {
        let unreadable = |error: serde_json::Error| ArtifactError::Unreadable(error.to_string());
        let fields: Map<String, Value> = serde_json::from_slice(text).map_err(unreadable)?;
        let manifest: ManifestFields =
            serde_json::from_value(Value::Object(fields.clone())).map_err(unreadable)?;
        let kind = manifest.media_type.as_deref().unwrap_or(MANIFEST);
        if manifest.schema_version != 2 || kind != MANIFEST {
            return Err(ArtifactError::OtherKind(shown(kind)));
        }
        if manifest.artifact_type.as_deref() != Some(STAGE) {
            return Err(ArtifactError::OtherKind(shown(
                manifest.artifact_type.as_deref().unwrap_or("a container image"),
            )));
        }
        let line = manifest.annotations.get(INDEX_LINE).ok_or(ArtifactError::NoLine)?;
        if line.contains(['\n', '\r']) {
            return Err(ArtifactError::Unreadable("its index line is several lines".to_owned()));
        }
        let said: LineFields = serde_json::from_str(line).map_err(unreadable)?;
        if said.name != name.as_str() {
            return Err(ArtifactError::OtherStage(shown(&said.name)));
        }
        if said.vers != *version {
            return Err(ArtifactError::OtherVersion(said.vers));
        }
        let [layer] = manifest.layers.as_slice() else { return Err(ArtifactError::OtherArchive) };
        let is_its_own = said.cksum.is_some_and(|cksum| cksum.to_string() == layer.digest)
            && said.size.is_some_and(|size| size == layer.size);
        if !is_its_own {
            return Err(ArtifactError::OtherArchive);
        }
        Ok(Self { line: line.clone(), fields })
    }

    /// Returns the manifest's text.
    pub fn to_text(&self) -> Vec<u8> {
        Value::Object(self.fields.clone()).to_string().into_bytes()
    }
}

/// Returns what the key of a registry signs of a stage: the tag and the index line of each version, a line each. Of what is no
/// version it has the digest.
pub fn signed_lines(name: &StageName, manifests: &BTreeMap<String, String>) -> String {
    let line = |(tag, text): (&String, &String)| {
        let artifact = StageArtifact::parse(text.as_bytes(), name, &version_of(tag)?);
        let line =
            artifact.map_or_else(|_| Digest::of(text.as_bytes()).to_string(), |artifact| artifact.line);
        Some(format!("{tag} {line}\n"))
    };
    manifests.iter().filter_map(line).collect()
}

/// Returns all versions of a stage by the manifests that stand under its tags.
pub fn index_file(name: &StageName, source: &SourceId, manifests: &BTreeMap<String, String>) -> IndexFile {
    let mut versions: BTreeMap<Version, Candidate> = BTreeMap::new();
    let mut bytes = 0;
    for (tag, text) in manifests {
        let Some(version) = version_of(tag) else { continue };
        bytes += text.len() as u64;
        let candidate = candidate(name, source, version, text);
        // To those who resolve, versions that differ in build metadata are one.
        let bare = Version { build: BuildMetadata::EMPTY, ..candidate.version.clone() };
        versions.entry(bare).or_insert(candidate);
    }
    IndexFile { versions: versions.into_values().collect(), skipped: Vec::new(), bytes }
}

fn candidate(name: &StageName, source: &SourceId, version: Version, text: &str) -> Candidate {
    let reason = match StageArtifact::parse(text.as_bytes(), name, &version) {
        Ok(artifact) => match IndexFile::parse(name, source, &artifact.line) {
            Ok(mut file) => match file.versions.pop() {
                Some(candidate) => return candidate,
                None => match file.skipped.pop() {
                    Some(line) => format!("has an index line that is not valid: {}", line.reason),
                    None => ArtifactError::NoLine.to_string(),
                },
            },
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    Candidate { version, source: source.clone(), offer: Offer::Unreadable(reason) }
}

/// Returns the beginning of a stranger's text, on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

#[cfg(test)]
#[path = "stage_artifact_tests.rs"]
mod tests;
