//! `pib.toml`: one device image, described by its project.

mod bad_name;
mod facts;
mod fitness;
mod image;
mod options;
mod parsed;
mod project_order;
mod schema;
#[cfg(test)]
mod schema_of;
mod sources;
mod target;
mod variables;

use std::collections::BTreeMap;

use toml::Spanned;

use super::stores::check_store;
use super::{ManifestError, ManifestText};
use crate::id::{Digest, StageName};
use crate::variable::Variable;
use bad_name::bad_name;
pub(crate) use facts::is_hostname;
pub use facts::{Places, Project};
pub use fitness::{Build, Doubt};
pub use image::ImageOptions;
pub use options::{Bill, BuildOptions, Compression, Losses, Network};
pub use parsed::{BaseRequest, ConfigEntry, ProjectManifest, RequestSource, StageRequest};
pub use project_order::{OrderRule, OrderedStage, ProjectOrder};
use schema::{BaseSchema, Schema, StageSchema, Stages};

/// The file's name within a project.
pub const FILE_NAME: &str = "pib.toml";

impl ProjectManifest {
    /// Parses `text`, which was read from `file`.
    ///
    /// # Errors
    /// When the text does not fit the schema, or a value is no name, board, host name or source.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let source = ManifestText::new(file, text);
        let mut schema: Schema = source.parse()?;
        target::place_texts(&mut schema);
        let targets = std::mem::take(&mut schema.targets);
        let mut manifest = Self::new(&source, schema.clone(), None)?;
        for (name, target) in targets {
            let variant = target::variant(&source, &schema, &name, target)?;
            let name = name.into_inner();
            let variant = Self::new(&source, variant, Some(&name));
            let variant = variant.map_err(|error| target::within(&name, error))?;
            manifest.targets.insert(name, variant);
        }
        Ok(manifest)
    }

    fn new(source: &ManifestText, schema: Schema, target: Option<&str>) -> Result<Self, ManifestError> {
        let project = Project::check(source, schema.project, target)?;
        let base = schema.base.map(|base| check_base(source, base)).transpose()?;
        let registry_keys = sources::registry_keys(source, &schema.registries)?;
        let registries: BTreeMap<_, _> =
            schema.registries.into_iter().map(|(name, registry)| (name, registry.index)).collect();
        let requests = |stages: Stages<StageSchema>| -> Result<Vec<_>, _> {
            stages.0.into_iter().map(|(name, stage)| request(source, &registries, &name, stage)).collect()
        };
        let stages = requests(schema.stages)?;
        let patch = requests(schema.patch)?;
        patch.iter().try_for_each(|patch| check_patch(source, patch))?;
        let stores = schema.stores.into_iter().map(|(name, place)| check_store(source, name, place));
        let stores = stores.collect::<Result<_, _>>()?;
        let cache = schema.cache.map(|cache| cache.check_of_project(source)).transpose()?;
        let vendor = schema.vendor.map(|vendor| sources::vendor(source, vendor)).transpose()?;
        let image = ImageOptions::check(source, schema.image, &project)?;
        let order = ProjectOrder::check(source, schema.order)?;
        let variables = variables::check(source, schema.variables)?;
        Ok(Self {
            source: source.clone(),
            project,
            stages,
            patch,
            image,
            build: schema.build,
            base,
            registries,
            registry_keys,
            stores,
            cache,
            vendor,
            order,
            variables,
            targets: BTreeMap::new(),
        })
    }

    /// Returns the value of a variable that the manifest decides; mirrors depend on the host.
    pub fn variable(&self, variable: Variable) -> Option<String> {
        let project = &self.project;
        let text = match variable {
            Variable::Name => &project.name,
            Variable::Os => &project.os,
            Variable::Release => &project.release,
            Variable::Board => &project.board,
            Variable::Arch => project.arch.as_str(),
            Variable::Hostname => &project.hostname,
            Variable::Locale => &project.locale,
            Variable::Timezone => &project.timezone,
            Variable::RootDevice => return self.image.layout.root_device(),
            // One line, so that it fits into one of a Dockerfile; no field of these lines has a semicolon.
            Variable::Fstab => return Some(self.image.layout.fstab().join(";")),
            Variable::Mirror | Variable::SecurityMirror => return None,
            Variable::PublicMirror | Variable::PublicSecurityMirror => return None,
        };
        Some(text.to_owned())
    }
}

fn has_login(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
}

fn check_base(source: &ManifestText, base: Spanned<BaseSchema>) -> Result<BaseRequest, ManifestError> {
    let span = base.span();
    let BaseSchema { url, path, image, digest } = base.into_inner();
    let help = "Give `url` and `digest`, or `path` and `digest`, or `image = \"name@sha256:...\"`.";
    let fail = |message: &str| Err(source.error(span.clone(), message, "in this table").with_help(help));
    match (url, path, image, digest) {
        (Some(url), None, None, Some(_)) if has_login(&url) => {
            fail("the base's address has a login in it, which pib.lock would show to everybody")
        }
        (Some(url), None, None, Some(digest)) => Ok(BaseRequest::Url { url, digest }),
        (None, Some(path), None, Some(digest)) => Ok(BaseRequest::Path { path, digest }),
        (None, None, Some(image), None) => {
            match image.split_once('@').map(|(name, digest)| (name, digest.parse::<Digest>())) {
                Some((name, _)) if !is_image_name(name) => {
                    fail("the base's container image has a name that none can have")
                }
                Some((_, Ok(_))) => Ok(BaseRequest::Image(image)),
                _ => fail("the base's container image is not named with a digest"),
            }
        }
        (Some(_), None, None, None) | (None, Some(_), None, None) => {
            fail("the base's tarball has no `digest`")
        }
        _ => fail("`[base]` does not say where the base comes from in exactly one way"),
    }
}

/// Returns whether a container image may be called so: the letters that its grammar has
/// (<https://pkg.go.dev/github.com/distribution/reference>), none of which ends the word in a Dockerfile.
fn is_image_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && name.chars().all(is_letter)
}

/// A patch says where else a stage comes from, and nothing more.
fn check_patch(source: &ManifestText, patch: &StageRequest) -> Result<(), ManifestError> {
    if matches!(patch.source, RequestSource::Registry { registry: None, .. }) {
        let message =
            format!("the patch of stage `{}` does not say where else the stage comes from", patch.name);
        let help = "Give it a `path`, a `git` URL or a `registry`; a version is chosen in [stages].";
        return Err(source.error(patch.span.clone(), message, "this patch").with_help(help));
    }
    if let Some(entry) = patch.config.first() {
        let message = format!("the patch of stage `{}` has config, which patches cannot have", patch.name);
        let help = format!("Write it in [stages]: {} = {{ ..., config = {{ ... }} }}.", patch.name);
        return Err(source.error(entry.span.clone(), message, "this key").with_help(help));
    }
    Ok(())
}

fn request(
    source: &ManifestText,
    registries: &BTreeMap<String, String>,
    name: &Spanned<String>,
    stage: Spanned<StageSchema>,
) -> Result<StageRequest, ManifestError> {
    let span = name.span().start..stage.span().end.max(name.span().end);
    let mut table = stage.into_inner().0;
    let parsed: StageName = name.get_ref().parse().map_err(|error| bad_name(source, name, error))?;
    let origin = sources::origin(source, registries, &parsed, &span, &mut table)?;
    let config = table
        .config
        .into_iter()
        .map(|(key, value)| ConfigEntry {
            span: key.span().start..value.span().end,
            key: key.into_inner(),
            value: value.into_inner(),
        })
        .collect();
    Ok(StageRequest { name: parsed, span, source: origin, config })
}

/// Returns the JSON schema of the file, made from the types that read it.
#[cfg(test)]
pub(super) fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::ConfigValue;

    const ROUTER: &str = r#"# a router
[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
watchdog = { version = "1", config = { timeout = 10 } }
os = "1"

[stages.mine]
path = "stages/mine"
config.keys = ["a", "b"]
"#;

    fn fails(text: &str) -> ManifestError {
        ProjectManifest::parse("pib.toml", text).unwrap_err()
    }

    #[test]
    fn stages_keep_their_order_and_places() {
        let manifest = ProjectManifest::parse("pib.toml", ROUTER).unwrap();
        let names: Vec<_> = manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["watchdog", "os", "mine"]);
        assert_eq!(manifest.project.hostname, "router");
        assert_eq!(&ROUTER[manifest.stages[0].config[0].span.clone()], "timeout = 10");
        assert_eq!(manifest.stages[2].config[0].value, ConfigValue::List(vec!["a".into(), "b".into()]));
        assert_eq!(manifest.project.file_stem(), "router-rpi4-arm64");
    }

    #[test]
    fn mistakes_point_at_their_text() {
        let cases = [
            ("board = \"rpi4\"", "board = \"rpi44\"", "rpi44", Some("Did you mean `rpi4`?")),
            ("arch = \"arm64\"", "arch = \"arm\"", "\"arm\"", None),
            ("release =", "relaese =", "relaese", Some("Did you mean `release`?")),
            ("version = \"1\"", "vresion = \"1\"", "vresion", Some("Did you mean `version`?")),
            ("os = \"1\"", "os = \"one\"", "\"one\"", None),
            ("name = \"router\"", "name = \"My Router\"", "My Router", None),
        ];
        for (good, bad, marked, help) in cases {
            let text = ROUTER.replacen(good, bad, 1);
            let error = fails(&text);
            let span = error.span().unwrap();
            assert!(text[span.clone()].contains(marked), "{bad}: {error}: marked {:?}", &text[span]);
            if help.is_some() {
                assert_eq!(error.advice(), help, "{bad}");
            }
        }
    }

    #[test]
    fn a_stage_has_exactly_one_source() {
        assert!(fails(&ROUTER.replace("path = \"stages/mine\"\n", "")).to_string().contains("no source"));
        let both = ROUTER.replace("path = \"stages/mine\"", "path = \"x\"\nversion = \"1\"");
        assert!(fails(&both).to_string().contains("two sources"));
        let unknown = ROUTER.replace("path = \"stages/mine\"", "registry = \"acme\"\nversion = \"1\"");
        assert!(fails(&unknown).to_string().contains("`acme`"));
    }

    #[test]
    fn bases_name_their_digest() {
        let with = |base: &str| ProjectManifest::parse("pib.toml", &format!("{ROUTER}\n[base]\n{base}\n"));
        let digest = Digest::of(b"x");
        assert!(with(&format!("url = \"https://example.org/b.tar\"\ndigest = \"{digest}\"")).is_ok());
        assert!(with(&format!("image = \"debian@{digest}\"")).is_ok());
        for name in ["ghcr.io/a_b/c-d:1.0", "[::1]:5000/x"] {
            assert!(with(&format!("image = \"{name}@{digest}\"")).is_ok(), "{name}");
        }
        for name in ["", "x AS y", "x\\nRUN true\\nFROM x", "x\\ty", "$X", "-x", "x\u{e9}"] {
            assert!(with(&format!("image = \"{name}@{digest}\"")).is_err(), "{name}");
        }
        assert!(with("image = \"debian:latest\"").unwrap_err().to_string().contains("digest"));
        assert!(with("path = \"b.tar\"").unwrap_err().to_string().contains("digest"));
    }
}
