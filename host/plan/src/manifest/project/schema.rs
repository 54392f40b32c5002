//! What `pib.toml` may hold, as serde reads it; every value that is checked later remembers its place.

use std::collections::BTreeMap;
use std::fmt;

use semver::VersionReq;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{BuildOptions, ImageOptions};
use crate::id::{Arch, Digest};
use crate::stage::ConfigValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    pub(super) project: ProjectSchema,
    #[serde(default)]
    pub(super) stages: Stages,
    #[serde(default)]
    pub(super) patch: Stages,
    #[serde(default)]
    pub(super) image: ImageOptions,
    #[serde(default)]
    pub(super) build: BuildOptions,
    pub(super) base: Option<Spanned<BaseSchema>>,
    #[serde(default)]
    pub(super) registries: BTreeMap<String, RegistrySchema>,
    pub(super) vendor: Option<VendorSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectSchema {
    pub(super) name: Spanned<String>,
    pub(super) os: Spanned<String>,
    pub(super) release: Spanned<String>,
    pub(super) board: Spanned<String>,
    pub(super) arch: Spanned<Arch>,
    pub(super) hostname: Option<Spanned<String>>,
    #[serde(default = "default_locale")]
    pub(super) locale: Spanned<String>,
    #[serde(default = "default_timezone")]
    pub(super) timezone: Spanned<String>,
    pub(super) mirror: Option<Spanned<String>>,
    #[serde(rename = "security-mirror")]
    pub(super) security_mirror: Option<Spanned<String>>,
}

fn default_locale() -> Spanned<String> {
    Spanned::new(0..0, "en_US.UTF-8".to_owned())
}

fn default_timezone() -> Spanned<String> {
    Spanned::new(0..0, "UTC".to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseSchema {
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) image: Option<String>,
    pub(super) digest: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistrySchema {
    pub(super) index: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VendorSchema {
    pub(super) path: Spanned<String>,
}

/// `[stages]` in the order in which it is written.
#[derive(Default)]
pub(super) struct Stages(pub(super) Vec<(Spanned<String>, Spanned<StageSchema>)>);

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Stages;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of stages")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stages, A::Error> {
                let mut stages = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    stages.push(entry);
                }
                Ok(Stages(stages))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageTable {
    pub(super) version: Option<Spanned<VersionReq>>,
    pub(super) registry: Option<Spanned<String>>,
    pub(super) git: Option<Spanned<String>>,
    pub(super) branch: Option<Spanned<String>>,
    pub(super) tag: Option<Spanned<String>>,
    pub(super) rev: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) config: BTreeMap<Spanned<String>, Spanned<ConfigValue>>,
}

/// `"1"` or a table.
pub(super) struct StageSchema(pub(super) StageTable);

impl<'de> Deserialize<'de> for StageSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = StageSchema;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version requirement such as \"1\", or a table")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StageSchema, E> {
                let version = VersionReq::deserialize(text.into_deserializer())?;
                Ok(StageSchema(StageTable {
                    version: Some(Spanned::new(0..0, version)),
                    ..StageTable::default()
                }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StageSchema, A::Error> {
                StageTable::deserialize(MapAccessDeserializer::new(map)).map(StageSchema)
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}
