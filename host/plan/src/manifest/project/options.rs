//! How stages are built, and how an image is compressed.

use serde::Deserialize;

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
