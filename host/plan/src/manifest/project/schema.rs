//! What `pib.toml` may hold, as serde reads it; every value that is checked later remembers its place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::options::{Bill, BuildOptions, Compression};
use crate::id::{Arch, Digest};
use crate::layout::{Ext4Writer, PartitionSpec, PartitionTable};
use crate::manifest::cache_table::CacheSchema;
#[cfg(test)]
use crate::manifest::schema_tests::{BoardName, ProjectName};
use crate::metadata::ConfigValue;
use crate::size::ByteSize;

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    pub(super) project: ProjectSchema,
    #[serde(default)]
    pub(super) stages: Stages<StageSchema>,
    #[serde(default)]
    pub(super) patch: Stages<StageSchema>,
    #[serde(default)]
    pub(super) image: ImageSchema,
    #[serde(default)]
    pub(super) build: BuildOptions,
    #[cfg_attr(test, schemars(with = "Option<BaseSchema>"))]
    pub(super) base: Option<Spanned<BaseSchema>>,
    #[serde(default)]
    pub(super) registries: BTreeMap<String, RegistrySchema>,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) stores: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(super) cache: Option<CacheSchema>,
    pub(super) vendor: Option<VendorSchema>,
    #[serde(default)]
    pub(super) order: OrderSchema,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) variables: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default, rename = "target")]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, TargetSchema>"))]
    pub(super) targets: BTreeMap<Spanned<String>, TargetSchema>,
}

/// A variant of the project: what is given here takes the place of the project's.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct TargetSchema {
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) os: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) release: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<BoardName>"))]
    pub(super) board: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<Arch>"))]
    pub(super) arch: Option<Spanned<Arch>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) hostname: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) locale: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) timezone: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) kernel: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) stages: Stages<TargetStage>,
    pub(super) image: Option<TargetImage>,
    #[cfg_attr(test, schemars(with = "Option<BaseSchema>"))]
    pub(super) base: Option<Spanned<BaseSchema>>,
    #[serde(default)]
    pub(super) order: OrderSchema,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) variables: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// The order that the project itself asks for.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct OrderSchema {
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(super) list: Option<Vec<Spanned<String>>>,
    /// What the project asks of the places of single stages.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, StageOrderSchema>"))]
    pub(super) stages: BTreeMap<Spanned<String>, StageOrderSchema>,
}

/// What the project asks of one stage's place.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct StageOrderSchema {
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) after: Vec<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) before: Vec<Spanned<String>>,
}

#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImageSchema {
    pub(super) compress: Compression,
    #[cfg_attr(test, schemars(with = "Option<PartitionTable>"))]
    pub(super) table: Option<Spanned<PartitionTable>>,
    #[cfg_attr(test, schemars(with = "Option<ByteSize>"))]
    pub(super) size: Option<Spanned<ByteSize>>,
    #[serde(rename = "a-b")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(super) a_b: Option<Spanned<bool>>,
    pub(super) sbom: Vec<Bill>,
    /// The partitions of the image, in the order of the table.
    #[serde(rename = "partition")]
    #[cfg_attr(test, schemars(with = "Vec<PartitionSpec>"))]
    pub(super) partitions: Vec<Spanned<PartitionSpec>>,
    #[serde(rename = "foreign-root")]
    pub(super) foreign_root: bool,
    pub(super) writer: Ext4Writer,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct TargetImage {
    pub(super) compress: Option<Compression>,
    #[cfg_attr(test, schemars(with = "Option<PartitionTable>"))]
    pub(super) table: Option<Spanned<PartitionTable>>,
    #[cfg_attr(test, schemars(with = "Option<ByteSize>"))]
    pub(super) size: Option<Spanned<ByteSize>>,
    #[serde(rename = "a-b")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(super) a_b: Option<Spanned<bool>>,
    pub(super) sbom: Option<Vec<Bill>>,
    /// The partitions of the image, in the order of the table.
    #[cfg_attr(test, schemars(with = "Option<Vec<PartitionSpec>>"))]
    pub(super) partition: Option<Vec<Spanned<PartitionSpec>>>,
    #[serde(rename = "foreign-root")]
    pub(super) foreign_root: Option<bool>,
    pub(super) writer: Option<Ext4Writer>,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectSchema {
    #[cfg_attr(test, schemars(with = "ProjectName"))]
    pub(super) name: Spanned<String>,
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) os: Spanned<String>,
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) release: Spanned<String>,
    #[cfg_attr(test, schemars(with = "BoardName"))]
    pub(super) board: Spanned<String>,
    #[cfg_attr(test, schemars(with = "Arch"))]
    pub(super) arch: Spanned<Arch>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) hostname: Option<Spanned<String>>,
    #[serde(default = "default_locale")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) locale: Spanned<String>,
    #[serde(default = "default_timezone")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) timezone: Spanned<String>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) kernel: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) mirror: Option<Spanned<String>>,
    #[serde(rename = "security-mirror")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) security_mirror: Option<Spanned<String>>,
}

fn default_locale() -> Spanned<String> {
    Spanned::new(0..0, "en_US.UTF-8".to_owned())
}

fn default_timezone() -> Spanned<String> {
    Spanned::new(0..0, "UTC".to_owned())
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct BaseSchema {
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) image: Option<String>,
    pub(super) digest: Option<Digest>,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RegistrySchema {
    pub(super) index: String,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) key: Option<Spanned<String>>,
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct VendorSchema {
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) path: Spanned<String>,
}

/// A table of stages, in the order in which they are written.
#[derive(Clone)]
pub(super) struct Stages<T>(pub(super) Vec<(Spanned<String>, Spanned<T>)>);

impl<T> Default for Stages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Stages<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Stages<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of stages")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stages<T>, A::Error> {
                let mut stages = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    stages.push(entry);
                }
                Ok(Stages(stages))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

#[derive(Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct StageTable {
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) version: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) registry: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) git: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) branch: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) tag: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) rev: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) path: Option<Spanned<String>>,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, ConfigValue>"))]
    pub(super) config: BTreeMap<Spanned<String>, Spanned<ConfigValue>>,
}

/// `"1"` or a table. The place of a bare text is not known yet: it is that of the whole value.
#[derive(Clone)]
pub(super) struct StageSchema(pub(super) StageTable);

/// What a target says of a stage: as for a project, and what is given takes the place of the project's; `None` is
/// `false`, and leaves the stage out.
#[derive(Clone)]
pub(super) struct TargetStage(pub(super) Option<StageSchema>);

impl StageSchema {
    fn of_text(text: &str) -> Self {
        let version = Some(Spanned::new(0..0, text.to_owned()));
        Self(StageTable { version, ..StageTable::default() })
    }
}

impl<'de> Deserialize<'de> for StageSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = StageSchema;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version requirement such as \"1\", or a table")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StageSchema, E> {
                Ok(StageSchema::of_text(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StageSchema, A::Error> {
                StageTable::deserialize(MapAccessDeserializer::new(map)).map(StageSchema)
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

impl<'de> Deserialize<'de> for TargetStage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OffOrStage;
        impl<'de> Visitor<'de> for OffOrStage {
            type Value = TargetStage;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version requirement such as \"1\", a table, or `false` to leave the stage out")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<TargetStage, E> {
                if value {
                    Err(E::invalid_type(de::Unexpected::Bool(value), &self))
                } else {
                    Ok(TargetStage(None))
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TargetStage, E> {
                Ok(TargetStage(Some(StageSchema::of_text(text))))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetStage, A::Error> {
                let table = StageTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TargetStage(Some(StageSchema(table))))
            }
        }
        deserializer.deserialize_any(OffOrStage)
    }
}
