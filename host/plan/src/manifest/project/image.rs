//! How the image is written: `[image]`.

use toml::Spanned;

use super::options::{Bill, Compression};
use super::schema::ImageSchema;
use crate::layout::{Layout, LayoutError};
use crate::manifest::{ManifestError, ManifestText};

/// How the image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// Whether a compressed copy is what the build leaves.
    pub compress: Compression,
    /// The bills of materials that the build leaves beside the image.
    pub sbom: Vec<Bill>,
    /// The partitions: the project's, or those that the operating system calls for.
    pub layout: Layout,
}

impl ImageOptions {
    /// Checks what a manifest says in `[image]`.
    pub(super) fn check(source: &ManifestText, schema: ImageSchema, os: &str) -> Result<Self, ManifestError> {
        let ImageSchema { compress, mut sbom, partitions, foreign_root } = schema;
        sbom.dedup();
        let spans: Vec<_> = partitions.iter().map(Spanned::span).collect();
        let mut layout = Layout { foreign_root, ..Layout::default_for(os) };
        if !partitions.is_empty() {
            layout.partitions = partitions.into_iter().map(Spanned::into_inner).collect();
        }
        layout.check().map_err(|error| {
            let LayoutError::Wrong { partition, .. } = &error else {
                return source.error(0..0, error.to_string(), "");
            };
            let at_fault = partition.and_then(|number| spans.get(number)).or(spans.first());
            let help = "Each [[image.partition]] has a `label`, a `filesystem` and a `mount`; one is mounted on `/`.";
            let span = at_fault.cloned().unwrap_or_default();
            source.error(span, error.to_string(), "this partition").with_help(help)
        })?;
        Ok(Self { compress, sbom, layout })
    }
}
