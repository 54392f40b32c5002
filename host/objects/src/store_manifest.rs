//! The manifests of a store in a repository: they list its files, and may have a text under a key.

use std::collections::BTreeMap;

use pib_plan::id::Digest;
use serde::{Deserialize, Serialize};

use crate::error::ObjectError;
use crate::oci::{FILE, NOTHING, Repository};
use crate::oci_manifests::{FoundManifest, MANIFEST};

/// How many files one manifest lists: registries take manifests of 4 MiB.
const MAX_FILES: usize = 10_000;
/// How many digits of a key a tag has; the text under it has them all.
const TAG_DIGITS: usize = 24;
/// The kind of the manifests that list what belongs together.
const ARTIFACT: &str = "application/vnd.pib.store.v1";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The annotation with the text that stands under a key.
const ENTRY: &str = "dev.pib.entry";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, &'a str>,
}

/// What is read of a manifest with a text.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Repository {
    /// Lists the files in manifests with tags of their own: a registry removes blobs that no manifest lists. A tag derives from
    /// what it lists, so that two who push at the same time cannot undo each other's.
    ///
    /// # Errors
    /// When the registry does not take them.
    pub(crate) async fn list_content(&self, tag: &str, files: &[(Digest, u64)]) -> Result<(), ObjectError> {
        let config = self.put_nothing().await?;
        for files in files.chunks(MAX_FILES) {
            let text = text(config, files, None)?;
            let tag = format!("{tag}-{}", &Digest::of(&text).hex()[..16]);
            self.put_manifest(&tag, &text).await?;
        }
        Ok(())
    }

    /// Returns the text that stands under a key, no more than `limit` bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked, or has something else there.
    pub(crate) async fn entry(
        &self,
        tag: &str,
        key: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let FoundManifest::Manifest(bytes) = self.manifest(&entry_tag(tag, key), None).await? else {
            return Ok(None);
        };
        match entry(&bytes) {
            None => Err(ObjectError::Server("reading an entry failed: what is there is not one".to_owned())),
            Some(text) if text.len() as u64 > limit => Err(ObjectError::TooLarge(limit)),
            Some(text) => Ok(Some(text.into_bytes())),
        }
    }

    /// Puts a text under a key, in a manifest that lists the files that it names: as long as it is there, the registry keeps them.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub(crate) async fn put_entry(
        &self,
        tag: &str,
        (key, entry): (&Digest, &str),
        files: &[(Digest, u64)],
    ) -> Result<(), ObjectError> {
        let config = self.put_nothing().await?;
        self.put_manifest(&entry_tag(tag, key), &text(config, files, Some(entry))?).await
    }
}

/// Returns the tag of the manifest with the text under a key, in a store with a tag of its own.
fn entry_tag(tag: &str, key: &Digest) -> String {
    format!("{tag}-{}", &key.hex()[..TAG_DIGITS])
}

/// Returns a manifest that lists files, each with its size, and perhaps has a text under a key.
///
/// # Errors
/// When it cannot be written as JSON.
fn text(config: Digest, files: &[(Digest, u64)], entry: Option<&str>) -> Result<Vec<u8>, ObjectError> {
    let layer =
        |(digest, size): &(Digest, u64)| Descriptor { media_type: FILE, digest: *digest, size: *size };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        artifact_type: ARTIFACT,
        config: Descriptor { media_type: EMPTY, digest: config, size: NOTHING.len() as u64 },
        layers: files.iter().map(layer).collect(),
        annotations: entry.map(|text| (ENTRY, text)).into_iter().collect(),
    };
    serde_json::to_vec(&manifest).map_err(|error| ObjectError::Server(error.to_string()))
}

/// Returns the text that a manifest has, if it has one.
fn entry(manifest: &[u8]) -> Option<String> {
    serde_json::from_slice::<Annotated>(manifest).ok()?.annotations.remove(ENTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_its_files_and_its_text() {
        let file = (Digest::of(b"file"), 4);
        let manifest = text(Digest::of(NOTHING), &[file], Some("{\"a\": 1}")).unwrap();
        assert_eq!(entry(&manifest).as_deref(), Some("{\"a\": 1}"));
        let value: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(value["layers"][0]["digest"], file.0.to_string());
        let plain = text(Digest::of(NOTHING), &[file], None).unwrap();
        assert!(entry(&plain).is_none() && !String::from_utf8_lossy(&plain).contains("annotations"));
        assert!(entry(b"").is_none() && entry(b"1").is_none() && entry(b"{\"annotations\": 1}").is_none());
    }
}
