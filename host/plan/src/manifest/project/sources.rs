//! Where `pib.toml` says that a stage comes from.

use std::collections::BTreeMap;
use std::ops::Range;

use semver::VersionReq;
use toml::Spanned;

use super::parsed::RequestSource;
use super::schema::{RegistrySchema, StageTable, VendorSchema};
use crate::id::StageName;
use crate::index::{GitReference, GitSource};
use crate::manifest::registry_key::add_key;
use crate::manifest::{ManifestError, ManifestText};
use crate::path::is_git;
use crate::registry_snapshot::RegistryKey;
use crate::suggest;

/// Returns the keys of the registries that have one, by the addresses that these have in a lock.
pub(super) fn registry_keys(
    source: &ManifestText,
    registries: &BTreeMap<String, RegistrySchema>,
) -> Result<BTreeMap<String, RegistryKey>, ManifestError> {
    let mut keys = BTreeMap::new();
    for (name, registry) in registries {
        let Some(text) = &registry.key else { continue };
        add_key(source, &mut keys, (name, &registry.index), text)?;
    }
    Ok(keys)
}

/// Returns the one source that the table of the stage `name` gives, taking its keys out of it.
pub(super) fn origin(
    source: &ManifestText,
    registries: &BTreeMap<String, String>,
    name: &StageName,
    span: &Range<usize>,
    table: &mut StageTable,
) -> Result<RequestSource, ManifestError> {
    let fail = |message: String, help: &str| Err(source.error(span.clone(), message, "here").with_help(help));
    if let Some(url) = table.git.take() {
        if table.version.is_some() || table.registry.is_some() {
            let help = "Give either `git`, or `version` and perhaps `registry`.";
            return fail(format!("stage `{name}` has two sources"), help);
        }
        return git(source, name, &url, table);
    }
    for (key, value) in [("branch", &table.branch), ("tag", &table.tag), ("rev", &table.rev)] {
        if let Some(value) = value {
            let message = format!("stage `{name}` has a `{key}` but no `git`");
            let help = "Add the repository: git = \"https://...\".";
            return Err(source.error(value.span(), message, "of which repository?").with_help(help));
        }
    }
    match (table.version.take(), table.path.take(), table.registry.take()) {
        (None, Some(path), None) => Ok(RequestSource::Path(path.into_inner())),
        (Some(version), None, registry) => {
            if let Some(registry) = registry.as_ref().filter(|name| !registries.contains_key(name.get_ref()))
            {
                let message =
                    format!("registry `{}` is not described in `{}`", registry.get_ref(), source.file);
                let near = suggest::nearest(registry.get_ref(), registries.keys().map(String::as_str));
                let help = match near {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => format!(
                        "Add its address: [registries.{}] and, below that, index = \"https://...\".",
                        registry.get_ref()
                    ),
                };
                return Err(source.error(registry.span(), message, "this registry").with_help(help));
            }
            let registry = registry.map(Spanned::into_inner);
            Ok(RequestSource::Registry { version: requirement(source, name, &version)?, registry })
        }
        (None, None, _) => {
            fail(format!("stage `{name}` has no source"), "Give it a `version`, a `path` or a `git` URL.")
        }
        (_, Some(_), _) => fail(
            format!("stage `{name}` has two sources"),
            "Give it either `path`, or `version` and perhaps `registry`.",
        ),
    }
}

/// Returns the folder of `[vendor]`, which is one within the project: `pib vendor` writes and removes files there.
pub(super) fn vendor(source: &ManifestText, vendor: VendorSchema) -> Result<String, ManifestError> {
    let path = vendor.path.get_ref();
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    if path.split('/').all(|part| plain(part) && !is_git(part))
        && path != "target"
        && !path.starts_with("target/")
    {
        return Ok(vendor.path.into_inner());
    }
    let message = format!("`{path}` cannot be the folder of vendored stages");
    let help = "Name a folder of their own inside the project: path = \"vendor\".";
    Err(source.error(vendor.path.span(), message, "this folder").with_help(help))
}

fn requirement(
    source: &ManifestText,
    name: &StageName,
    text: &Spanned<String>,
) -> Result<VersionReq, ManifestError> {
    text.get_ref().parse().map_err(|error| {
        let message = format!("stage `{name}`: `{}` is not a version requirement: {error}", text.get_ref());
        let help =
            "Requirements look like \"1\", \"1.2\", \"=1.2.3\" or \">=1.2, <3\"; \"*\" is any version.";
        source.error(text.span(), message, "this requirement").with_help(help)
    })
}

fn git(
    source: &ManifestText,
    name: &StageName,
    url: &Spanned<String>,
    table: &mut StageTable,
) -> Result<RequestSource, ManifestError> {
    let branch = table.branch.take().map(|text| (text.span(), GitReference::Branch(text.into_inner())));
    let tag = table.tag.take().map(|text| (text.span(), GitReference::Tag(text.into_inner())));
    let rev = table.rev.take().map(|text| (text.span(), GitReference::Rev(text.into_inner())));
    let mut references = [branch, tag, rev].into_iter().flatten();
    let reference = references.next().map_or(GitReference::Default, |(_, reference)| reference);
    if let Some((span, _)) = references.next() {
        let message = format!("stage `{name}` asks for two things of its repository");
        let help = "Give one of `branch`, `tag` and `rev`.";
        return Err(source.error(span, message, "one too many").with_help(help));
    }
    let path = table.path.take().map(Spanned::into_inner);
    GitSource::new(url.get_ref(), reference, path.as_deref()).map(RequestSource::Git).map_err(|error| {
        let message = format!("stage `{name}`: {error}");
        source.error(url.span(), message, "this repository").with_help(
            "Write it as git = \"https://...\" or \"ssh://...\", with at most one of `branch`, `tag` and \
             `rev`, and `path` for a folder inside it.",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::manifest::project::{ProjectManifest, RequestSource};

    const HEAD: &str = "[project]\nname = \"r\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\n\
                        arch = \"arm64\"\n\n[stages]\n";

    fn source(stage: &str) -> Result<String, String> {
        let text = format!("{HEAD}kvm = {stage}\n");
        let manifest = ProjectManifest::parse("pib.toml", &text).map_err(|error| error.to_string())?;
        match &manifest.stages[0].source {
            RequestSource::Git(git) => Ok(git.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn git_stages_name_a_repository_and_what_to_take_of_it() {
        let url = "git = \"https://example.org/kvm\"";
        let cases = [
            ("", ""),
            (", tag = \"v3\", path = \"stages/kvm\"", "?tag=v3&path=stages/kvm"),
            (", branch = \"next\"", "?branch=next"),
            (", rev = \"a1b2c3d\", config = { x = 1 }", "?rev=a1b2c3d"),
        ];
        for (keys, text) in cases {
            let found = source(&format!("{{ {url}{keys} }}"));
            assert_eq!(found, Ok(format!("https://example.org/kvm{text}")), "{keys}");
        }
    }

    #[test]
    fn vendored_stages_are_inside_the_project() {
        let vendor = |path: &str| {
            let text = format!("{HEAD}\n[vendor]\npath = \"{path}\"\n");
            ProjectManifest::parse("pib.toml", &text).map(|manifest| manifest.vendor.unwrap())
        };
        for good in ["vendor", "third-party/stages"] {
            assert_eq!(vendor(good).unwrap(), good);
        }
        for bad in ["", ".", "../x", "/x", "a//b", "a/../../b", "target", "target/x", "a/"] {
            let error = vendor(bad).unwrap_err();
            assert!(error.to_string().contains("cannot be the folder"), "{bad}: {error}");
        }
    }

    #[test]
    fn contradictory_git_stages_are_refused() {
        let cases = [
            ("{ git = \"https://e.org/k\", tag = \"a\", rev = \"b\" }", "two things"),
            ("{ git = \"https://e.org/k\", version = \"1\" }", "two sources"),
            ("{ tag = \"v1\", version = \"1\" }", "no `git`"),
            ("{ git = \"https://e.org/k?x\" }", "no `?`"),
            ("{ git = \"https://e.org/k\", tag = \"\" }", "empty"),
        ];
        for (stage, words) in cases {
            let message = source(stage).unwrap_err();
            assert!(message.contains(words), "{stage}: {message}");
        }
    }
}
