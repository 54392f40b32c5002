//! The signed snapshot of a registry as an artifact of an OCI registry: `HOST/NAMESPACE/pib.snapshot:latest`, whose one layer is the text
//! that folders have in `snapshot.json`.

use serde::Deserialize;
use serde_json::Value;

use crate::artifact_manifest::{self, Layer};
use crate::id::Digest;
use crate::registry_snapshot::FILE_NAME;
use crate::stage_artifact::ArtifactError;

/// What the repository of the snapshot is called below the namespace: a dot is in no stage's name.
pub const REPOSITORY: &str = "pib.snapshot";
/// The tag of the snapshot that counts.
pub const TAG: &str = "latest";
const SNAPSHOT: &str = "application/vnd.pib.registry.snapshot.v1";
const TEXT: &str = "application/vnd.pib.registry.snapshot.v1+json";

/// Returns the manifest of a snapshot.
pub fn manifest(text: &[u8]) -> Vec<u8> {
    let layer = Layer {
        media_type: TEXT,
        digest: Digest::of(text),
        size: text.len() as u64,
        title: FILE_NAME.to_owned(),
    };
    Value::Object(artifact_manifest::fields(SNAPSHOT, &layer)).to_string().into_bytes()
}

/// Returns the digest of the text of the snapshot that a manifest is of.
///
/// # Errors
/// When it is the manifest of something else.
pub fn text_of(manifest: &[u8]) -> Result<Digest, ArtifactError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        #[serde(default)]
        artifact_type: String,
        #[serde(default)]
        layers: Vec<FoundLayer>,
    }
    #[derive(Deserialize)]
    struct FoundLayer {
        digest: Digest,
    }
    let fields: Fields =
        serde_json::from_slice(manifest).map_err(|error| ArtifactError::Unreadable(error.to_string()))?;
    match fields.layers.as_slice() {
        [layer] if fields.artifact_type == SNAPSHOT => Ok(layer.digest),
        _ => Err(ArtifactError::Unreadable("it is not the manifest of a snapshot".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_a_snapshot_names_its_text() {
        let manifest = manifest(b"text");
        assert_eq!(text_of(&manifest), Ok(Digest::of(b"text")));
        let other = String::from_utf8(manifest).unwrap().replace(SNAPSHOT, "application/x");
        for bad in [other.as_str(), "", "{}", "[]"] {
            assert!(text_of(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
