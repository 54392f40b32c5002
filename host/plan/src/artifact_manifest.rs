//! The manifest of an artifact of an OCI registry that has one layer (OCI image specification 1.1, "Guidelines for Artifact Usage").

use serde_json::{Map, Value, json};

use crate::id::Digest;

/// The media type of manifests.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The kind of the config, `{}`, which the specification asks for where there is none.
const NO_CONFIG: &str = "application/vnd.oci.empty.v1+json";

/// The one layer of an artifact.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its digest.
    pub(crate) digest: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The name of the file that other programs make of it.
    pub(crate) title: String,
}

/// Returns the fields of the manifest of an artifact of this type.
pub(crate) fn fields(artifact_type: &str, layer: &Layer) -> Map<String, Value> {
    let fields = [
        ("schemaVersion", json!(2)),
        ("mediaType", json!(MANIFEST)),
        ("artifactType", json!(artifact_type)),
        ("config", json!({ "mediaType": NO_CONFIG, "digest": Digest::of(b"{}").to_string(), "size": 2 })),
        (
            "layers",
            json!([{
                "mediaType": layer.media_type,
                "digest": layer.digest.to_string(),
                "size": layer.size,
                "annotations": { "org.opencontainers.image.title": layer.title },
            }]),
        ),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
