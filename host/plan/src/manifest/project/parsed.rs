//! What a project's manifest says.

use std::collections::BTreeMap;
use std::ops::Range;

use semver::VersionReq;

use super::facts::Project;
use super::image::ImageOptions;
use super::options::BuildOptions;
use super::project_order::ProjectOrder;
use crate::id::{Digest, StageName};
use crate::index::GitSource;
use crate::manifest::ManifestText;
use crate::manifest::cache_table::SharedCache;
use crate::metadata::ConfigValue;
use crate::registry_snapshot::RegistryKey;

/// A parsed and checked `pib.toml`.
#[derive(Debug, Clone)]
pub struct ProjectManifest {
    /// The text it was read from, for messages about its values.
    pub source: ManifestText,
    /// What is built.
    pub project: Project,
    /// The stages asked for, in the order in which they are written.
    pub stages: Vec<StageRequest>,
    /// The stages that replace others of the same name wherever they are depended on.
    pub patch: Vec<StageRequest>,
    /// How the image is written.
    pub image: ImageOptions,
    /// How the stages are built.
    pub build: BuildOptions,
    /// A base of the project's own, instead of the one that the init stage asks for.
    pub base: Option<BaseRequest>,
    /// Registries by the name that this project gives them: their index URLs.
    pub registries: BTreeMap<String, String>,
    /// The keys that sign what these registries have, by their index URLs.
    pub registry_keys: BTreeMap<String, RegistryKey>,
    /// The stores of recorded content by the name that this project gives them: addresses, or folders relative to the project's.
    pub stores: BTreeMap<String, String>,
    /// The shared cache of built stages that this project names, where the user's own config names none.
    pub cache: Option<SharedCache>,
    /// The folder within the project that holds its stages, where `pib vendor` was run.
    pub vendor: Option<String>,
    /// The order that the project itself asks for.
    pub order: ProjectOrder,
    /// The project's own variables, which bare stages see.
    pub variables: BTreeMap<String, String>,
    /// The project's variants, each as a whole: what it does not say itself is as in the project.
    pub targets: BTreeMap<String, ProjectManifest>,
}

/// One stage that the project asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRequest {
    /// The stage's name.
    pub name: StageName,
    /// Where the request stands in the manifest.
    pub span: Range<usize>,
    /// Where it comes from.
    pub source: RequestSource,
    /// The values for its config, with their places.
    pub config: Vec<ConfigEntry>,
}

/// Where a requested stage comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestSource {
    /// A registry: the bundled one, or one of the project's.
    Registry {
        /// The versions that will do.
        version: VersionReq,
        /// The registry's name in `[registries]`; the bundled one when absent.
        registry: Option<String>,
    },
    /// A folder, relative to the project's.
    Path(String),
    /// A git repository, or a folder in it.
    Git(GitSource),
}

/// A value for a config key of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// Where key and value stand.
    pub span: Range<usize>,
    /// The value.
    pub value: ConfigValue,
}

/// A base of the project's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRequest {
    /// A tarball at a URL.
    Url {
        /// The address.
        url: String,
        /// What its bytes must be.
        digest: Digest,
    },
    /// A tarball in the file system, relative to the project's folder.
    Path {
        /// The file.
        path: String,
        /// What its bytes must be.
        digest: Digest,
    },
    /// A container image that the engine has or can pull, named with its digest.
    Image(String),
}
