//! How stages are built and the image is written: `[build]` and `[image]`.

use serde::Deserialize;

use crate::layout::{Layout, PartitionSpec};

/// How the stages are built. Nothing here changes what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildOptions {
    /// Whether native programs stand in for the target's where they can.
    pub native: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { native: true }
    }
}

/// How the image is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageOptions {
    /// Whether a compressed copy is what the build leaves.
    pub compress: Compression,
    /// The partitions, where they replace those that the operating system calls for.
    #[serde(rename = "partition")]
    pub partitions: Vec<PartitionSpec>,
}

impl ImageOptions {
    /// Returns the layout of the image.
    pub fn layout(&self, os: &str) -> Layout {
        if self.partitions.is_empty() {
            return Layout::default_for(os);
        }
        Layout { partitions: self.partitions.clone() }
    }
}

/// How the finished image is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By xz: smallest.
    Xz,
    /// By Zstandard: quickest.
    Zstd,
}
