//! Registries of stages that are namespaces of OCI registries: a repository for each stage, a manifest for each version (see
//! `pib_plan::stage_artifact`). Reading an index takes tags and manifests; no archive is fetched for that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_net::Validators;
use pib_objects::{FoundManifest, ObjectError, Repositories, Repository};
use pib_plan::id::{Digest, StageName};
use pib_plan::index::{MAX_VERSIONS, shard_path};
use pib_plan::object_address::{DEFAULT_TAG, ObjectAddress};
use pib_plan::registry_snapshot::{FILE_NAME, MAX_SNAPSHOT, SnapshotError};
use pib_plan::snapshot_artifact;
use pib_plan::stage_artifact::{repository_of, signed_lines, stage_of, version_of};

use super::SourceError;
use super::kept::KeptIndex;
use super::registry_error::RegistryError;
use super::registry_trust::{COMPARED_AGAIN, COMPARISONS, RegistryTrust};

/// The most tags of a stage: each version has one, and there are those that move.
const MAX_TAGS: usize = 3 * MAX_VERSIONS;
/// The largest that all manifests of a stage may be together, in bytes.
const MAX_MANIFESTS: usize = 8 << 20;
/// The most repositories of a registry that are listed.
const MAX_REPOSITORIES: usize = 100_000;
/// How many manifests are asked for at the same time.
const AT_ONCE: usize = 8;

/// After this pause pib reads again what it has written. A publisher that looked before it was there has written its own by then.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// A namespace of an OCI registry.
#[derive(Debug, Clone)]
pub struct OciRegistry {
    host: String,
    namespace: String,
    repositories: Repositories,
}

impl OciRegistry {
    /// Returns the registry at an address such as `oci://HOST/NAMESPACE`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the address is none of an OCI registry's, in a person's words.
    pub fn at(address: &str, repositories: &Repositories) -> Result<Self, String> {
        match address.trim_end_matches('/').parse().map_err(|error| format!("{error}"))? {
            ObjectAddress::Oci { tag, .. } if tag != DEFAULT_TAG => Err(format!(
                "the address has the tag `{tag}`; a registry of stages is a namespace without a tag"
            )),
            ObjectAddress::Oci { host, repository: namespace, .. } => {
                Ok(Self { host, namespace, repositories: repositories.clone() })
            }
            ObjectAddress::Bucket { .. } => Err("it is the address of a bucket".to_owned()),
        }
    }

    /// Returns the repository of a stage; `None` where no repository can be called so.
    pub(super) fn repository(&self, name: &StageName) -> Result<Option<Arc<Repository>>, SourceError> {
        let Some(part) = repository_of(name) else { return Ok(None) };
        let path = format!("{}/{part}", self.namespace);
        self.repositories.get(&self.host, &path).map(Some).map_err(self.fail("using", format!("`{path}`")))
    }

    /// Checks that there is an OCI registry. Whether the namespace has stages, no registry says.
    pub(super) async fn check(&self) -> Result<(), SourceError> {
        let found = self.repositories.check(&self.host).await;
        found
            .map_err(|source| RegistryError::Oci { action: "reading", what: self.to_string(), source }.into())
    }

    /// Returns the tags of all versions of a stage; none where the registry does not have it.
    pub(super) async fn tags(&self, name: &StageName) -> Result<Vec<String>, SourceError> {
        let Some(repository) = self.repository(name)? else { return Ok(Vec::new()) };
        let tags = repository.tags(MAX_TAGS).await;
        let tags = tags.map_err(self.fail("listing", format!("the versions of stage `{name}`")))?;
        Ok(tags.unwrap_or_default().into_iter().filter(|tag| version_of(tag).is_some()).collect())
    }

    /// Returns the manifests of all versions of a stage, by their tags. Those that are `kept` are sent only where they have changed.
    pub(super) async fn manifests(
        &self,
        name: &StageName,
        kept: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let tags = self.tags(name).await?;
        let Some(repository) = self.repository(name)?.filter(|_| !tags.is_empty()) else {
            return Ok(BTreeMap::new());
        };
        let bad = |reason: String| SourceError::BadRegistry { registry: self.describe(), reason };
        if tags.len() > MAX_VERSIONS {
            return Err(bad(format!("stage `{name}` has more than {MAX_VERSIONS} versions")));
        }
        let read = tags.into_iter().map(async |tag| {
            let known = kept.get(&tag);
            let digest = known.map(|text| Digest::of(text.as_bytes()));
            let text = match self.manifest(&repository, name, &tag, digest.as_ref()).await? {
                // It was removed meanwhile.
                FoundManifest::Nothing => None,
                FoundManifest::Unchanged => known.cloned(),
                FoundManifest::Manifest(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            };
            Ok::<_, SourceError>((tag, text))
        });
        let mut read = stream::iter(read).buffer_unordered(AT_ONCE);
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        while let Some((tag, text)) = read.try_next().await? {
            let Some(text) = text else { continue };
            bytes += text.len();
            if bytes > MAX_MANIFESTS {
                let reason =
                    format!("the manifests of stage `{name}` are more than {} MiB", MAX_MANIFESTS >> 20);
                return Err(bad(reason));
            }
            found.insert(tag, text);
        }
        Ok(found)
    }

    /// Returns the manifests of all versions of a stage, and keeps them; of a signed registry, those that its key has signed.
    pub(super) async fn current(
        &self,
        name: &StageName,
        kept: &KeptIndex,
        trust: Option<&RegistryTrust>,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let path = shard_path(name);
        let before = kept_manifests(kept, &path);
        let known = before.clone().unwrap_or_default();
        let manifests = match trust {
            Some(trust) => self.signed_manifests(trust, name, kept, &known).await?,
            None => self.manifests(name, &known).await?,
        };
        if before.as_ref() != Some(&manifests) {
            let text = serde_json::to_vec(&manifests).unwrap_or_default();
            kept.put(&path, &text, &Validators::default())?;
        }
        Ok(manifests)
    }

    async fn signed_manifests(
        &self,
        trust: &RegistryTrust,
        name: &StageName,
        kept: &KeptIndex,
        known: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let path = shard_path(name);
        let lines = |manifests: &BTreeMap<String, String>| {
            let lines = signed_lines(name, manifests).into_bytes();
            (!lines.is_empty()).then_some(lines)
        };
        let before = lines(known).map(|lines| Digest::of(&lines));
        let mut attempt = 0;
        loop {
            let snapshot = trust.current(attempt > 0, || self.kept_snapshot(kept)).await?;
            let manifests = self.manifests(name, known).await?;
            let Some(snapshot) = snapshot else { return Ok(manifests) };
            match trust.compare(&snapshot, &path, lines(&manifests).as_deref(), before) {
                Ok(()) => return Ok(manifests),
                // A publisher writes the manifests first, and the snapshot a moment later.
                Err(_) if attempt < COMPARISONS => tokio::time::sleep(COMPARED_AGAIN).await,
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Returns the signed snapshot, which is to be judged, and keeps it.
    async fn kept_snapshot(&self, kept: &KeptIndex) -> Result<Option<Vec<u8>>, SourceError> {
        let before = kept.get(FILE_NAME).map(|kept| kept.bytes);
        let text = self.snapshot(before.as_deref()).await?.map(|(text, _)| text);
        if let Some(text) = text.as_ref().filter(|text| before.as_ref() != Some(*text)) {
            kept.put(FILE_NAME, text, &Validators::default())?;
        }
        Ok(text)
    }

    pub(super) async fn manifest(
        &self,
        repository: &Repository,
        name: &StageName,
        tag: &str,
        known: Option<&Digest>,
    ) -> Result<FoundManifest, SourceError> {
        let found = repository.manifest(tag, known).await;
        found.map_err(self.fail("reading", format!("the manifest of `{name}:{tag}`")))
    }

    fn snapshot_repository(&self) -> Result<Arc<Repository>, SourceError> {
        let path = format!("{}/{}", self.namespace, snapshot_artifact::REPOSITORY);
        self.repositories.get(&self.host, &path).map_err(self.fail("using", format!("`{path}`")))
    }

    /// Returns the signed snapshot and the digest of its manifest; `None` where there is none, or not for this user. Where it is `kept`,
    /// only the manifest is asked for.
    pub(super) async fn snapshot(
        &self,
        kept: Option<&[u8]>,
    ) -> Result<Option<(Vec<u8>, Digest)>, SourceError> {
        let repository = self.snapshot_repository()?;
        let found = match repository.manifest(snapshot_artifact::TAG, None).await {
            // Many registries say this of a repository that is not there. Who expects a snapshot is told that there is none.
            Err(ObjectError::Denied(_)) => return Ok(None),
            found => found.map_err(self.fail("reading", "the snapshot".to_owned()))?,
        };
        let FoundManifest::Manifest(manifest) = found else { return Ok(None) };
        let unreadable = |reason: String| RegistryError::Snapshot {
            registry: self.describe(),
            reason: SnapshotError::Unreadable(reason),
        };
        let digest = snapshot_artifact::text_of(&manifest).map_err(|error| unreadable(error.to_string()))?;
        let version = Digest::of(&manifest);
        if let Some(text) = kept.filter(|text| Digest::of(text) == digest) {
            return Ok(Some((text.to_owned(), version)));
        }
        let text = repository.blob(&digest, MAX_SNAPSHOT).await;
        let text = text.map_err(self.fail("reading", "the text of the snapshot".to_owned()))?;
        let text = text.ok_or_else(|| unreadable("its text is not there".to_owned()))?;
        Ok(Some((text, version)))
    }

    /// Writes the signed snapshot in the place of the one whose manifest has the digest `before`; returns whether it stands. No OCI registry
    /// replaces a tag only where it is as expected: so pib looks before it writes, and again a moment later.
    pub(super) async fn write_snapshot(
        &self,
        text: &[u8],
        before: Option<&str>,
    ) -> Result<bool, SourceError> {
        let repository = self.snapshot_repository()?;
        let what = || "the snapshot".to_owned();
        repository.put_blob(text).await.map_err(self.fail("writing", what()))?;
        let current = async || {
            let found = repository.manifest(snapshot_artifact::TAG, None).await;
            Ok::<_, SourceError>(match found.map_err(self.fail("reading", what()))? {
                FoundManifest::Manifest(manifest) => Some(Digest::of(&manifest).to_string()),
                FoundManifest::Nothing | FoundManifest::Unchanged => None,
            })
        };
        if current().await?.as_deref() != before {
            return Ok(false);
        }
        let manifest = snapshot_artifact::manifest(text);
        let put = repository.put_manifest(snapshot_artifact::TAG, &manifest).await;
        put.map_err(self.fail("writing", what()))?;
        tokio::time::sleep(SETTLED).await;
        Ok(current().await? == Some(Digest::of(&manifest).to_string()))
    }

    /// Returns the names of all stages, sorted; `None` where the registry does not list its repositories, or not for this user.
    pub(super) async fn names(&self) -> Result<Option<Vec<StageName>>, SourceError> {
        let found = self.repositories.list(&self.host, &self.namespace, MAX_REPOSITORIES).await;
        let found = found.map_err(self.fail("listing", "the stages".to_owned()))?;
        Ok(found.map(|repositories| {
            let mut names: Vec<StageName> = repositories.iter().filter_map(|part| stage_of(part)).collect();
            names.sort();
            names
        }))
    }

    /// Returns the archive with a digest, no more than `limit` bytes; `None` where the stage's repository has none. The caller compares.
    pub(super) async fn archive(
        &self,
        name: &StageName,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(repository) = self.repository(name)? else { return Ok(None) };
        let found = repository.blob(digest, limit).await;
        found.map_err(self.fail("reading", format!("the archive {digest} of stage `{name}`")))
    }

    pub(super) fn describe(&self) -> String {
        format!("the registry {self}")
    }

    pub(super) fn fail(
        &self,
        action: &'static str,
        what: String,
    ) -> impl FnOnce(ObjectError) -> SourceError + use<> {
        let what = format!("{what} in {}", self.describe());
        move |source| RegistryError::Oci { action, what, source }.into()
    }
}

impl fmt::Display for OciRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.host, self.namespace)
    }
}

/// Returns what is kept of the manifests of a stage.
pub(super) fn kept_manifests(kept: &KeptIndex, path: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_slice(&kept.get(path)?.bytes).ok()
}
