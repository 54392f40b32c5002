//! `stage.toml`: what a stage package says of itself.

use std::collections::BTreeMap;
use std::ops::Range;

use semver::{Version, VersionReq};
use serde::Deserialize;
use toml::Spanned;

use super::base_recipe::{self, BaseTable};
use super::stage_tests::{self, TestTable};
use super::{ManifestError, ManifestText};
use crate::config;
use crate::device_test::DeviceTest;
use crate::id::StageName;
use crate::metadata::{ConfigKey, ConfigSchema, Order, Phase, Requirements, Support};
use crate::mode::{Mode, ModeError};
use crate::path;
use crate::variable::Variable;

pub use super::base_recipe::{BaseRecipe, Bootstrap};

/// The file's name within a stage package.
pub const FILE_NAME: &str = "stage.toml";
/// The version of a stage that is a bare folder with a part and no manifest.
pub const BARE_VERSION: Version = Version::new(0, 0, 0);

/// A parsed and checked `stage.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct StageManifest {
    /// The name.
    pub name: StageName,
    /// The version.
    pub version: Version,
    /// One line on what the stage adds.
    pub description: String,
    /// An SPDX licence expression; empty when none is given.
    pub license: String,
    /// The coarse place in the build.
    pub phase: Phase,
    /// The project variables that the part reads.
    pub uses: Vec<Variable>,
    /// The host versions that the stage needs.
    pub pib: Option<VersionReq>,
    /// Whether native programs may stand in for the target's while its part runs.
    pub native: bool,
    /// Whether its part reaches the network also where the project has what parts fetch recorded.
    pub network: StageNetwork,
    /// The environment variables that it may leave for later stages.
    pub exports: Exports,
    /// What it can be built for.
    pub support: Support,
    /// The stages that it needs.
    pub dependencies: Requirements,
    /// Its soft order.
    pub order: Order,
    /// The stages that it cannot be built with.
    pub conflicts: Requirements,
    /// Its config keys.
    pub config: ConfigSchema,
    /// The modes of files and folders that are not the usual ones.
    pub modes: Vec<ModeRecord>,
    /// Its hook.
    pub hook: Option<Hook>,
    /// How the base is made, by operating system; only a stage of phase `init` has any.
    pub base: BTreeMap<String, BaseRecipe>,
    /// What `pib test` tries in the booted system.
    pub tests: Vec<DeviceTest>,
}

/// The environment variables that a stage may leave for later stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exports {
    /// All that its part sets: it is of phase `init`, whose stages are there for that, or has no manifest.
    All,
    /// These.
    Names(Vec<String>),
}

/// The mode of one file or folder, as `[modes]` records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeRecord {
    /// The path within the stage's folder.
    pub path: String,
    /// Whether it is a folder, which is then there even where nothing is in it.
    pub is_folder: bool,
    /// The mode.
    pub mode: Mode,
    /// Where the record stands in the file.
    pub span: Range<usize>,
}

/// A stage's WASM component.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The component's file, within the package.
    pub component: String,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Schema {
    stage: Meta,
    #[serde(default)]
    support: Support,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<StageName, String>"))]
    dependencies: Requirements,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<StageName, String>"))]
    conflicts: Requirements,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, ConfigKey>"))]
    config: BTreeMap<Spanned<String>, ConfigKey>,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    modes: BTreeMap<Spanned<String>, Spanned<String>>,
    hook: Option<Hook>,
    #[serde(default)]
    base: BTreeMap<String, BaseTable>,
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<TestTable>"))]
    test: Vec<Spanned<TestTable>>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Meta {
    name: StageName,
    #[cfg_attr(test, schemars(with = "String"))]
    version: Version,
    #[serde(default = "empty")]
    #[cfg_attr(test, schemars(with = "String"))]
    description: Spanned<String>,
    #[serde(default = "empty")]
    #[cfg_attr(test, schemars(with = "String"))]
    license: Spanned<String>,
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    uses: Vec<Variable>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pib: Option<VersionReq>,
    #[serde(default = "yes")]
    native: bool,
    #[serde(default)]
    network: StageNetwork,
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    exports: Option<Vec<Spanned<String>>>,
}

fn yes() -> bool {
    true
}

fn empty() -> Spanned<String> {
    Spanned::new(0..0, String::new())
}

/// Returns a text that lists and pages show on one line; a registry keeps it for as long as the version.
fn shown_text(source: &ManifestText, key: &str, text: Spanned<String>) -> Result<String, ManifestError> {
    if text.get_ref().chars().any(char::is_control) {
        let message = format!("`{key}` in `{}` has a line break or a control character", source.file);
        let help = "Write it on one line; what needs more room belongs into README.md.";
        return Err(source.error(text.span(), message, "this text").with_help(help));
    }
    Ok(text.into_inner())
}

/// What the part of a stage reaches while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StageNetwork {
    /// What the project says.
    #[default]
    Project,
    /// Whatever the engine lets it reach: what it fetches cannot be recorded.
    Open,
}

/// Checks the names of the variables that a stage exports.
fn read_exports(
    source: &ManifestText,
    phase: Phase,
    exports: Option<Vec<Spanned<String>>>,
) -> Result<Exports, ManifestError> {
    let Some(exports) = exports else {
        return Ok(if phase == Phase::Init { Exports::All } else { Exports::Names(vec![]) });
    };
    let valid = |name: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(letter) && name.starts_with(|c: char| !c.is_ascii_digit())
    };
    if let Some(wrong) = exports.iter().find(|name| !valid(name.get_ref())) {
        let message = format!(
            "`exports` in `{}` has `{}`, which is not the name of a variable",
            source.file,
            wrong.get_ref()
        );
        let help = "It lists the variables that the part sets by ENV for later stages: exports = [\"LANG\"].";
        return Err(source.error(wrong.span(), message, "this name").with_help(help));
    }
    Ok(Exports::Names(exports.into_iter().map(Spanned::into_inner).collect()))
}

impl StageManifest {
    /// Parses `text`, which was read from `file`.
    ///
    /// # Errors
    /// When the text does not fit the schema, a config key's schema contradicts itself, or the stage
    /// depends on or orders itself around itself.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let source = ManifestText::new(file, text);
        let schema: Schema = source.parse()?;
        for (key, entry) in &schema.config {
            let checked = config::check_schema(key.get_ref(), entry)
                .and_then(|()| config::check_arg(key.get_ref(), entry, &schema.stage.uses));
            checked.map_err(|problem| {
                source.error(key.span(), format!("config key `{}`: {problem}", key.get_ref()), "defined here")
            })?;
        }
        let Meta { name, version, description, license, phase, uses, pib, native, network, exports } =
            schema.stage;
        let exports = read_exports(&source, phase, exports)?;
        let description = shown_text(&source, "description", description)?;
        let license = shown_text(&source, "license", license)?;
        let itself = schema.dependencies.contains_key(&name)
            || schema.conflicts.contains_key(&name)
            || schema.order.after.contains(&name)
            || schema.order.before.contains(&name);
        if itself {
            let message =
                format!("stage `{name}` names itself as a dependency, conflict or neighbour in `{file}`");
            return Err(source
                .error(0..0, message, "")
                .with_help("Remove the stage's own name from these lists."));
        }
        let modes = mode_records(&source, schema.modes)?;
        let tests = stage_tests::read(&source, schema.test)?;
        let base = base_recipe::read(&source, schema.base)?;
        Ok(Self {
            name,
            version,
            description,
            license,
            phase,
            uses,
            pib,
            native,
            network,
            exports,
            support: schema.support,
            dependencies: schema.dependencies,
            order: schema.order,
            conflicts: schema.conflicts,
            config: schema.config.into_iter().map(|(key, entry)| (key.into_inner(), entry)).collect(),
            modes,
            hook: schema.hook,
            base,
            tests,
        })
    }

    /// Returns the manifest of a folder that has only a part: version 0.0.0, every variable passed.
    pub fn bare(name: StageName) -> Self {
        let phase = match name.as_str() {
            crate::id::INIT => Phase::Init,
            crate::id::CLEANUP => Phase::Cleanup,
            _ => Phase::Normal,
        };
        Self {
            name,
            version: BARE_VERSION,
            description: String::new(),
            license: String::new(),
            phase,
            uses: Variable::ALL.to_vec(),
            pib: None,
            native: true,
            network: StageNetwork::default(),
            exports: Exports::All,
            support: Support::default(),
            dependencies: Requirements::new(),
            order: Order::default(),
            conflicts: Requirements::new(),
            config: ConfigSchema::new(),
            modes: Vec::new(),
            hook: None,
            base: BTreeMap::new(),
            tests: Vec::new(),
        }
    }

    /// Returns whether it is that of a folder that has only a part.
    pub fn is_bare(&self) -> bool {
        self.version == BARE_VERSION && self.exports == Exports::All && self.uses == Variable::ALL
    }

    /// Returns the part's file names in the order of preference for `os`.
    pub fn part_names(os: &str) -> [String; 2] {
        [format!("Dockerfile.{os}.part"), "Dockerfile.part".to_owned()]
    }
}

/// Reads `[modes]`: a folder's path ends in a slash.
fn mode_records(
    source: &ManifestText,
    table: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<Vec<ModeRecord>, ManifestError> {
    let file = &source.file;
    let mut records: Vec<ModeRecord> = Vec::new();
    for (key, value) in table {
        let (span, written) = (key.span(), key.into_inner());
        let is_folder = written.ends_with('/');
        let plain = written.strip_suffix('/').unwrap_or(&written);
        path::check(plain).map_err(|reason| {
            source
                .error(span.clone(), format!("[modes] in `{file}` names `{written}`: {reason}"), "this path")
                .with_help("Write the path within the stage's folder, a folder's with a slash at its end.")
        })?;
        let mode: Mode = value.get_ref().parse().map_err(|error: ModeError| {
            source.error(value.span(), format!("[modes] in `{file}`, `{written}`: {error}"), "this mode")
        })?;
        if !(if is_folder { mode.is_open() } else { mode.is_readable() }) {
            let needed = if is_folder { "do everything in the folder" } else { "read the file" };
            let message = format!("[modes] in `{file}`, `{written}`: its owner must be able to {needed}");
            let help = "Take the owner's right away in the part, with RUN chmod.";
            return Err(source.error(value.span(), message, "this mode").with_help(help));
        }
        if records.iter().any(|other| other.path == plain) {
            let message = format!("[modes] in `{file}` has `{plain}` both as a file and as a folder");
            return Err(source.error(span, message, "the second"));
        }
        records.push(ModeRecord { path: plain.to_owned(), is_folder, mode, span });
    }
    Ok(records)
}

/// Returns the JSON schema of the file, made from the types that read it.
#[cfg(test)]
pub(super) fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHDOG: &str = r#"
[stage]
name = "watchdog"
version = "1.0.0"
description = "Hardware watchdog"
uses = ["board"]
pib = ">=0.1"

[support]
os = ["debian"]

[dependencies]
os = "1"

[order]
before = ["ro"]

[config.timeout]
type = "integer"
default = 15
min = 1
max = 15
"#;

    #[test]
    fn a_full_manifest_is_read() {
        let manifest = StageManifest::parse("stage.toml", WATCHDOG).unwrap();
        assert_eq!(manifest.name.as_str(), "watchdog");
        assert_eq!(manifest.uses, [Variable::Board]);
        assert_eq!(manifest.config["timeout"].max, Some(15));
        assert_eq!(manifest.support.os, Some(vec!["debian".to_owned()]));
    }

    #[test]
    fn modes_are_recorded_for_files_and_folders() {
        let with =
            |records: &str| StageManifest::parse("stage.toml", &format!("{WATCHDOG}[modes]\n{records}"));
        let manifest = with("\"files/etc/key\" = \"0600\"\n\"files/srv/\" = \"750\"\n").unwrap();
        let read: Vec<_> =
            manifest.modes.iter().map(|r| (r.path.as_str(), r.is_folder, r.mode.bits())).collect();
        assert_eq!(read, [("files/etc/key", false, 0o600), ("files/srv", true, 0o750)]);
        for (records, words) in [
            ("\"a\" = \"rw\"", "octal"),
            ("\"a\" = \"4755\"", "RUN chmod"),
            ("\"a\" = \"0200\"", "read the file"),
            ("\"a/\" = \"0600\"", "everything in the folder"),
            ("\"../a\" = \"0600\"", "`..`"),
            ("\"/a\" = \"0600\"", "absolute"),
            ("\"a\" = \"0600\"\n\"a/\" = \"0700\"", "both as a file and as a folder"),
            ("\"a\" = 0o600", "string"),
        ] {
            let error = with(records).unwrap_err();
            assert!(format!("{error} {:?}", error.advice()).contains(words), "{records}: {error}");
            assert!(error.span().is_some_and(|span| span.start > WATCHDOG.len()), "{records}");
        }
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let fails = |text: &str| StageManifest::parse("stage.toml", text).unwrap_err();
        let text = WATCHDOG.replace("version =", "verison =");
        let error = fails(&text);
        assert_eq!(error.advice(), Some("Did you mean `version`?"));
        assert_eq!(&text[error.span().unwrap()], "verison");
        let error = fails(&WATCHDOG.replace("max = 15", "max = 0"));
        assert!(error.to_string().contains("`timeout`"), "{error}");
        let error = fails(&WATCHDOG.replace("\"1.0.0\"", "\"one\""));
        assert!(error.to_string().contains("stage.toml"), "{error}");
        assert!(fails(&WATCHDOG.replace("[\"ro\"]", "[\"watchdog\"]")).to_string().contains("itself"));
        assert!(fails("[stage]\nname = \"x\"\n").to_string().contains("version"));
        for text in ["Hardware\\nwatchdog", "\\u001b[31mred"] {
            let error = fails(&WATCHDOG.replace("Hardware watchdog", text));
            assert!(error.to_string().contains("`description`"), "{error}");
            assert!(error.span().is_some_and(|span| span.len() > 4));
        }
        let error = fails(&WATCHDOG.replace("default = 15", "default = 15\nhelp = \"a\\nb\""));
        assert!(error.to_string().contains("`help`"), "{error}");
    }
}
