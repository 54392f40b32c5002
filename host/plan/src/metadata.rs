//! What a stage says of itself, as both its manifest and its registry entry carry it.

use std::collections::BTreeMap;

use semver::VersionReq;
use serde::{Deserialize, Serialize};

use crate::id::{Arch, StageName};

/// The coarse place of a stage in the build: all of `init` before all of `normal` before all of `cleanup`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Starts from the base.
    Init,
    /// Everything else.
    #[default]
    Normal,
    /// Takes away what only the build needed.
    Cleanup,
}

/// What a stage can be built for; an absent list means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Support {
    /// The operating systems, e.g. `debian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Vec<String>>,
    /// The architectures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Vec<Arch>>,
    /// The boards, e.g. `rpi4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boards: Option<Vec<String>>,
}

impl Support {
    /// Returns whether nothing is restricted.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// Soft order: each holds only if the other stage is in the build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// This stage comes after these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StageName>,
    /// This stage comes before these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<StageName>,
}

impl Order {
    /// Returns whether no order is asked for.
    pub fn is_empty(&self) -> bool {
        self.after.is_empty() && self.before.is_empty()
    }
}

/// Ranges of other stages, by name: dependencies or conflicts.
pub type Requirements = BTreeMap<StageName, VersionReq>;

/// The type of a config key (design: `[config.KEY] type = "..."`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ConfigType {
    /// Text.
    String,
    /// A whole number, with optional `min` and `max`.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of `values`.
    Enum,
    /// A list of texts, with optional `min` and `max` lengths.
    List,
    /// A file of the project.
    Path,
    /// Files of the project; entries may be globs. `min` and `max` count files.
    Paths,
    /// A number of bytes: `64MiB`.
    Size,
    /// What must be seen by the stage's part alone; the project says only where it comes from.
    Secret,
}

/// The schema of one config key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigKey {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ConfigType,
    /// The value used where the project gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ConfigValue>,
    /// Whether the project must give a value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The least number (integer), bytes (size), or count (list, paths).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest number, bytes or count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// The choices of an enum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// One sentence for the person who sets it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// A value that a project gives to a config key, before its schema has judged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    untagged,
    expecting = "a config value is a text in quotes, a whole number, true, false, or a list of texts in quotes such as [\"22\", \"80\"]"
)]
pub enum ConfigValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    String(String),
    /// A list of texts.
    List(Vec<String>),
    /// A table; only a secret's source is one.
    Table(BTreeMap<String, ConfigValue>),
}

/// The schema of a stage's config, by key.
pub type ConfigSchema = BTreeMap<String, ConfigKey>;
