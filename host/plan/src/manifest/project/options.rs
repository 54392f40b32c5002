//! How stages are built, and how an image is compressed.

use serde::Deserialize;

/// How the stages are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BuildOptions {
    /// Whether native programs stand in for the target's where they can. This changes nothing of what comes of it.
    pub native: bool,
    /// What the parts of stages reach.
    pub network: Network,
    /// What is done about an engine that cannot give the image everything.
    pub losses: Losses,
}

/// What is done about an engine that cannot give the image everything that the stages make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Losses {
    /// It builds an image that lacks something, and has another key.
    #[default]
    Allow,
    /// It is refused, so that the lock gives one image and no other.
    Refuse,
}

/// What the parts of stages reach while they run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Whatever the engine lets them reach.
    #[default]
    Open,
    /// What pib fetches for them and records, and nothing else.
    Recorded,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { native: true, network: Network::Open, losses: Losses::Allow }
    }
}

/// A form of the bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Bill {
    /// SPDX 2.3.
    Spdx,
    /// CycloneDX 1.6.
    Cyclonedx,
}

impl Bill {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Spdx, Self::Cyclonedx];
}

/// How the finished image is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
