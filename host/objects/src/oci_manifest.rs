//! The manifests that pib writes into repositories: they list files, and may have a text.

use std::collections::BTreeMap;

use pib_plan::id::Digest;
use serde::{Deserialize, Serialize};

use crate::error::ObjectError;

/// The kind of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The most bytes of a manifest beside the text in it.
pub(crate) const MANIFEST_ROOM: u64 = 64 << 10;
/// The kind of the manifests that list what belongs together.
const ARTIFACT: &str = "application/vnd.pib.store.v1";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const FILE: &str = "application/octet-stream";
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

/// Returns a manifest that lists files, each with its size, and perhaps has a text under a key.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn text(
    config: &[u8],
    files: &[(Digest, u64)],
    entry: Option<&str>,
) -> Result<Vec<u8>, ObjectError> {
    let layer =
        |(digest, size): &(Digest, u64)| Descriptor { media_type: FILE, digest: *digest, size: *size };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        artifact_type: ARTIFACT,
        config: Descriptor { media_type: EMPTY, digest: Digest::of(config), size: config.len() as u64 },
        layers: files.iter().map(layer).collect(),
        annotations: entry.map(|text| (ENTRY, text)).into_iter().collect(),
    };
    serde_json::to_vec(&manifest).map_err(|error| ObjectError::Server(error.to_string()))
}

/// Returns the text that a manifest has, if it has one.
pub(crate) fn entry(manifest: &[u8]) -> Option<String> {
    serde_json::from_slice::<Annotated>(manifest).ok()?.annotations.remove(ENTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_its_files_and_its_text() {
        let file = (Digest::of(b"file"), 4);
        let manifest = text(b"{}", &[file], Some("{\"a\": 1}")).unwrap();
        assert_eq!(entry(&manifest).as_deref(), Some("{\"a\": 1}"));
        let value: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(value["layers"][0]["digest"], file.0.to_string());
        let plain = text(b"{}", &[file], None).unwrap();
        assert!(entry(&plain).is_none() && !String::from_utf8_lossy(&plain).contains("annotations"));
        assert!(entry(b"").is_none() && entry(b"1").is_none() && entry(b"{\"annotations\": 1}").is_none());
    }
}
