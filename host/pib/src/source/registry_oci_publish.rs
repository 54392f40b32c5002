//! Publishes to namespaces of OCI registries, and looks after them.
//!
//! An archive is there before the manifest that names it, and a version is there once its manifest has its tag. No OCI registry
//! writes a tag only where there is none: so pib looks before it writes, and again a moment later. Of two who publish one version
//! at the same time, the one whose manifest stands then has won, and the other is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pib_objects::{FoundManifest, Repository};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{IndexEntry, IndexFile, Offer};
use pib_plan::stage_artifact::{ArtifactError, StageArtifact, moving_tags, tag_of, version_of};
use pib_plan::suggest;
use semver::Version;

use super::SourceError;
use super::archive::MAX_ARCHIVE;
use super::registry_audit::{self, RegistryAudit};
use super::registry_error::RegistryError;
use super::registry_folder::{PackedStage, PublishCandidate, without_build};
use super::registry_oci::{OciRegistry, SETTLED};

/// How often a version is yanked again that somebody else has changed meanwhile.
const ATTEMPTS: u32 = 5;

/// A version whose manifest was written.
struct Written<'a> {
    candidate: &'a PackedStage,
    tag: String,
    manifest: Digest,
}

impl OciRegistry {
    /// Publishes versions; returns of each whether the registry did not have it.
    ///
    /// # Errors
    /// When one is published with another content, also by somebody else at the same time, or the registry cannot be used.
    pub async fn publish(&self, candidates: &[PublishCandidate]) -> Result<Vec<bool>, SourceError> {
        let (mut written, mut is_new) = (Vec::new(), Vec::new());
        for candidate in candidates {
            let new = self.write(&candidate.packed).await?;
            is_new.push(new.is_some());
            written.extend(new);
        }
        if !written.is_empty() {
            tokio::time::sleep(SETTLED).await;
        }
        for version in &written {
            self.confirm(version).await?;
        }
        Ok(is_new)
    }

    /// Writes a version that is not there; `None` where it is, with this content.
    async fn write<'a>(&self, candidate: &'a PackedStage) -> Result<Option<Written<'a>>, SourceError> {
        let IndexEntry { name, vers, .. } = &candidate.entry;
        let repository = self.writable(name)?;
        let bad = |reason: String| SourceError::BadRegistry { registry: self.describe(), reason };
        let tag = tag_of(vers).ok_or_else(|| bad(format!("version {vers} is too long for a tag")))?;
        if let Some((_, entry)) = self.find(&repository, name, vers).await? {
            return unchanged(candidate, &entry).map(|()| None);
        }
        let put = repository.put_blob(&candidate.archive).await;
        put.map_err(self.fail("writing", format!("the archive of {name} {vers}")))?;
        let artifact = StageArtifact::new(&candidate.entry).map_err(|error| bad(error.to_string()))?;
        let text = artifact.to_text();
        // Meanwhile somebody else may have been faster.
        if let FoundManifest::Manifest(bytes) = self.manifest(&repository, name, &tag, None).await? {
            let entry = self.entry(name, vers, &bytes)?.1;
            return unchanged(candidate, &entry).map(|()| None);
        }
        let put = repository.put_manifest(&tag, &text).await;
        put.map_err(self.fail("writing", format!("the manifest of `{name}:{tag}`")))?;
        Ok(Some(Written { candidate, tag, manifest: Digest::of(&text) }))
    }

    /// Checks that what was written stands.
    async fn confirm(&self, written: &Written<'_>) -> Result<(), SourceError> {
        let Written { candidate, tag, manifest } = written;
        let IndexEntry { name, vers, .. } = &candidate.entry;
        let repository = self.writable(name)?;
        match self.manifest(&repository, name, tag, Some(manifest)).await? {
            FoundManifest::Unchanged => Ok(()),
            FoundManifest::Manifest(bytes) if Digest::of(&bytes) == *manifest => Ok(()),
            FoundManifest::Manifest(bytes) => unchanged(candidate, &self.entry(name, vers, &bytes)?.1),
            FoundManifest::Nothing => Err(RegistryError::Lost {
                registry: self.to_string(),
                name: name.clone(),
                version: vers.clone(),
            }
            .into()),
        }
    }

    /// Moves the tags `1.2` and `1` that stand for one of the versions `touched` to the greatest versions in `file`.
    ///
    /// # Errors
    /// When the registry cannot be used.
    pub async fn move_tags(
        &self,
        name: &StageName,
        touched: &[Version],
        file: &IndexFile,
    ) -> Result<(), SourceError> {
        let repository = self.writable(name)?;
        let wanted = moving_tags(entries(file).map(|entry| (&entry.vers, entry.yanked)));
        let affected: BTreeSet<String> =
            moving_tags(touched.iter().map(|version| (version, false))).into_keys().collect();
        for (tag, version) in wanted.iter().filter(|(tag, _)| affected.contains(*tag)) {
            let Some(from) = tag_of(version) else { continue };
            let FoundManifest::Manifest(bytes) = self.manifest(&repository, name, &from, None).await? else {
                continue;
            };
            if !self.is_at(&repository, name, tag, &bytes).await? {
                let put = repository.put_manifest(tag, &bytes).await;
                put.map_err(self.fail("writing", format!("the manifest of `{name}:{tag}`")))?;
            }
        }
        Ok(())
    }

    /// Returns whether a tag names this manifest.
    async fn is_at(
        &self,
        repository: &Repository,
        name: &StageName,
        tag: &str,
        text: &[u8],
    ) -> Result<bool, SourceError> {
        Ok(match self.manifest(repository, name, tag, Some(&Digest::of(text))).await? {
            FoundManifest::Unchanged => true,
            FoundManifest::Manifest(bytes) => bytes == text,
            FoundManifest::Nothing => false,
        })
    }

    /// Yanks a version, or takes that back; returns whether that changes anything. Its manifest is replaced by one with another
    /// index line; the archive stays.
    ///
    /// # Errors
    /// When the registry has no such version, the reason is too long, or the registry cannot be used.
    pub async fn yank(
        &self,
        name: &StageName,
        version: &Version,
        yanked: bool,
        reason: Option<&str>,
    ) -> Result<bool, SourceError> {
        let shown = PathBuf::from(self.to_string());
        registry_audit::check_reason(&shown, reason)?;
        let repository = self.writable(name)?;
        for attempt in 0..ATTEMPTS {
            let found = self.find(&repository, name, version).await?;
            let Some((tag, _)) = found.filter(|(_, entry)| registry_audit::is_meant(version, &entry.vers))
            else {
                return Err(self.no_such(name, version).await?);
            };
            let FoundManifest::Manifest(before) = self.manifest(&repository, name, &tag, None).await? else {
                continue;
            };
            let (artifact, entry) =
                self.entry(name, &version_of(&tag).unwrap_or(version.clone()), &before)?;
            let mut lines = registry_audit::parse_lines(&artifact.line);
            if !registry_audit::mark_yanked(&shown, &mut lines, name, &entry.vers, yanked, reason)? {
                // Of an attempt before, it may be this one's.
                return Ok(attempt > 0);
            }
            let line = registry_audit::lines_text(&lines).trim_end().to_owned();
            let text = artifact.with_line(line).to_text();
            if !self.is_at(&repository, name, &tag, &before).await? {
                continue;
            }
            let put = repository.put_manifest(&tag, &text).await;
            put.map_err(self.fail("writing", format!("the manifest of `{name}:{tag}`")))?;
            if self.is_at(&repository, name, &tag, &text).await? {
                return Ok(true);
            }
        }
        let reason = format!("others write the manifest of {name} {version} all the time");
        Err(SourceError::BadRegistry { registry: self.describe(), reason })
    }

    async fn no_such(&self, name: &StageName, version: &Version) -> Result<SourceError, SourceError> {
        let tags = self.tags(name).await?;
        let mut versions: Vec<Version> = tags.iter().filter_map(|tag| version_of(tag)).collect();
        versions.sort();
        let versions: Vec<String> = versions.iter().map(Version::to_string).collect();
        let reason = match versions.is_empty() {
            true => format!("it has no stage `{name}`"),
            false => {
                let has = suggest::list(versions.iter().map(String::as_str));
                format!("it has no version {version} of stage `{name}`, only {has}")
            }
        };
        Ok(SourceError::Unyankable { registry: self.to_string().into(), reason })
    }

    /// Checks all of the registry: that each manifest is that of its stage and version, and its archive says what its index line says.
    ///
    /// # Errors
    /// When the registry cannot be used, or does not list its repositories. What is wrong with it is in the result.
    pub async fn audit(&self) -> Result<RegistryAudit, SourceError> {
        let names = self.names().await?;
        let names = names.ok_or_else(|| RegistryError::Unlisted { registry: self.to_string() })?;
        if names.is_empty() {
            // Nothing makes an OCI registry one of stages but the stages.
            let reason =
                "it has no stages: nothing was published to it, or its address is mistyped".to_owned();
            return Err(SourceError::BadRegistry { registry: self.describe(), reason });
        }
        let mut audit = RegistryAudit::default();
        for name in names {
            let manifests = self.manifests(&name, &BTreeMap::new()).await?;
            audit.stages += usize::from(!manifests.is_empty());
            let mut entries = Vec::new();
            for (tag, text) in &manifests {
                let Some(version) = version_of(tag) else { continue };
                audit.versions += 1;
                match self.check_version(&name, &version, text).await? {
                    Ok(entry) => entries.push(entry),
                    Err(fault) => audit.faults.push(format!("`{name}:{tag}`: {fault}")),
                }
            }
            self.check_moving(&name, &entries, &manifests, &mut audit).await?;
        }
        Ok(audit)
    }

    /// Returns the index line of a version, or what is wrong with the version.
    async fn check_version(
        &self,
        name: &StageName,
        version: &Version,
        text: &str,
    ) -> Result<Result<IndexEntry, String>, SourceError> {
        let parsed =
            StageArtifact::parse(text.as_bytes(), name, version).map_err(|error| format!("it {error}"));
        let entry = parsed.and_then(|artifact| {
            serde_json::from_str::<IndexEntry>(&artifact.line)
                .map_err(|_| "its index line cannot be read; a newer pib may have written it".to_owned())
        });
        let entry = match entry {
            Ok(entry) => entry,
            Err(fault) => return Ok(Err(fault)),
        };
        let (Some(digest), limit) = (entry.cksum, entry.size.unwrap_or(MAX_ARCHIVE).min(MAX_ARCHIVE)) else {
            return Ok(Err(ArtifactError::OtherArchive.to_string()));
        };
        let Some(bytes) = self.archive(name, &digest, limit).await? else {
            return Ok(Err(format!("its archive {digest} is not there")));
        };
        Ok(registry_audit::check_archive(&entry, &bytes, &format!("the archive of {name} {version}"))
            .map(|()| entry))
    }

    /// Notes which of the tags that move do not name the version that they stand for.
    async fn check_moving(
        &self,
        name: &StageName,
        entries: &[IndexEntry],
        manifests: &BTreeMap<String, String>,
        audit: &mut RegistryAudit,
    ) -> Result<(), SourceError> {
        let repository = self.writable(name)?;
        for (tag, version) in moving_tags(entries.iter().map(|entry| (&entry.vers, entry.yanked))) {
            let Some(text) = tag_of(&version).and_then(|tag| manifests.get(&tag)) else { continue };
            if !self.is_at(&repository, name, &tag, text.as_bytes()).await? {
                audit
                    .notes
                    .push(format!("`{name}:{tag}` is not {version}: publish that again to move the tag"));
            }
        }
        Ok(())
    }

    fn writable(&self, name: &StageName) -> Result<std::sync::Arc<Repository>, SourceError> {
        self.repository(name)?.ok_or_else(|| SourceError::BadRegistry {
            registry: self.describe(),
            reason: format!("no repository can be called `{name}`: its last letter is a hyphen"),
        })
    }

    /// Returns the tag and the index line of a version that is there; one that differs in build metadata is the same.
    async fn find(
        &self,
        repository: &Repository,
        name: &StageName,
        version: &Version,
    ) -> Result<Option<(String, IndexEntry)>, SourceError> {
        let wanted = without_build(version);
        for tag in self.tags(name).await? {
            let Some(found) = version_of(&tag).filter(|found| without_build(found) == wanted) else {
                continue;
            };
            if let FoundManifest::Manifest(bytes) = self.manifest(repository, name, &tag, None).await? {
                let entry = self.entry(name, &found, &bytes)?.1;
                return Ok(Some((tag, entry)));
            }
        }
        Ok(None)
    }

    /// Reads a manifest that this pib must understand.
    fn entry(
        &self,
        name: &StageName,
        version: &Version,
        bytes: &[u8],
    ) -> Result<(StageArtifact, IndexEntry), SourceError> {
        let bad = |reason: String| RegistryError::BadManifest {
            registry: self.to_string(),
            name: name.clone(),
            version: version.clone(),
            reason,
        };
        let artifact = StageArtifact::parse(bytes, name, version).map_err(|error| bad(error.to_string()))?;
        let entry = serde_json::from_str(&artifact.line)
            .map_err(|error| bad(format!("has an index line that cannot be read ({error})")))?;
        Ok((artifact, entry))
    }
}

fn entries(file: &IndexFile) -> impl Iterator<Item = &IndexEntry> {
    file.versions.iter().filter_map(|candidate| match &candidate.offer {
        Offer::Entry(entry) => Some(entry.as_ref()),
        Offer::Unreadable(_) => None,
    })
}

/// Checks that a version that is there has the content that is to be published.
fn unchanged(candidate: &PackedStage, there: &IndexEntry) -> Result<(), SourceError> {
    let found = candidate.package.content;
    match there.content {
        Some(published) if published != found => Err(SourceError::AlreadyPublished {
            name: candidate.entry.name.clone(),
            version: candidate.entry.vers.clone(),
            path: candidate.folder.clone(),
            published,
            found,
        }),
        _ => Ok(()),
    }
}
