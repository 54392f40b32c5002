//! `[cache]`, in `config.toml` and in `pib.toml`: where stages that others built are kept.

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::object_address::ObjectAddress;

/// A shared cache of built stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// Where it is.
    pub location: CacheLocation,
    /// When this machine adds to it.
    pub write: CacheWrite,
}

/// Where a shared cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheLocation {
    /// A bucket, or a repository of an OCI registry.
    Objects(ObjectAddress),
    /// A folder; a relative path starts at the folder of `config.toml`.
    Folder(String),
}

/// When a machine adds to a shared cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CacheWrite {
    /// Never: it only reads.
    Never,
    /// Where the variable `CI` is set, as CI systems do.
    #[default]
    Ci,
    /// After every build.
    Always,
}

impl CacheWrite {
    /// Returns how it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Ci => "ci",
            Self::Always => "always",
        }
    }
}

#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct CacheSchema {
    #[cfg_attr(test, schemars(with = "String"))]
    url: Spanned<String>,
    #[serde(default)]
    write: CacheWrite,
}

impl CacheSchema {
    /// Checks the table of a project, which names no folder: what is outside of the project's is not its matter, and what is in
    /// it is nobody else's.
    pub(super) fn check_of_project(self, source: &ManifestText) -> Result<SharedCache, ManifestError> {
        let span = self.url.span();
        let cache = self.check(source)?;
        match cache.location {
            CacheLocation::Objects(_) => Ok(cache),
            CacheLocation::Folder(_) => {
                let what = "`url` in [cache]: a project cannot name a folder as its shared cache";
                let help = "Write oci://HOST/REPOSITORY or s3://BUCKET/PREFIX, or name the folder in [cache] of your own config.toml.";
                Err(source.error(span, what, "this folder").with_help(help))
            }
        }
    }

    /// Checks the table.
    pub(super) fn check(self, source: &ManifestText) -> Result<SharedCache, ManifestError> {
        let Self { url, write } = self;
        let text = url.get_ref();
        let fail = |what: String| {
            let error = source.error(url.span(), format!("`url` in [cache]: {what}"), "this address");
            Err(error.with_help(
                "Write oci://HOST/REPOSITORY, s3://BUCKET/PREFIX, file:///PATH or the path of a folder. Users, passwords and keys \
                 stand elsewhere: pib takes those that `aws` and `docker login` use.",
            ))
        };
        let location = if ObjectAddress::is_meant(text) {
            match text.parse() {
                Ok(address) => CacheLocation::Objects(address),
                Err(error) => return fail(error.to_string()),
            }
        } else {
            match text.strip_prefix("file://") {
                Some(path) if path.starts_with('/') => CacheLocation::Folder(path.to_owned()),
                Some(_) => return fail("after `file://` comes a path that starts with `/`".to_owned()),
                None if text.is_empty() => return fail("it is empty".to_owned()),
                None if text.contains("://") => {
                    return fail("pib does not know this kind of address".to_owned());
                }
                None => CacheLocation::Folder(text.clone()),
            }
        };
        Ok(SharedCache { location, write })
    }
}

impl std::fmt::Display for CacheLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Objects(address) => address.fmt(f),
            Self::Folder(path) => path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::project::ProjectManifest;
    use super::super::user::UserConfig;
    use super::*;

    fn parse(lines: &str) -> Result<SharedCache, ManifestError> {
        UserConfig::parse("config.toml", &format!("[cache]\n{lines}\n")).map(|config| config.cache.unwrap())
    }

    #[test]
    fn a_cache_is_a_repository_a_bucket_or_a_folder() {
        for (url, shown) in [
            ("oci://ghcr.io/acme/cache", "oci://ghcr.io/acme/cache"),
            ("s3://team/cache", "s3://team/cache"),
            ("file:///srv/cache", "/srv/cache"),
            ("/srv/cache", "/srv/cache"),
            ("cache", "cache"),
        ] {
            let cache = parse(&format!("url = \"{url}\"")).unwrap();
            assert_eq!(cache.location.to_string(), shown);
            assert_eq!(cache.write, CacheWrite::Ci);
        }
        for (bad, words) in [
            ("", "is empty"),
            ("https://x.example", "does not know"),
            ("file://srv", "starts with `/`"),
            ("s3://me:hunter2@team", "not the name of a bucket"),
        ] {
            let error = parse(&format!("url = \"{bad}\"")).unwrap_err();
            assert!(error.to_string().contains(words) && error.span().is_some(), "{bad}: {error}");
        }
    }

    #[test]
    fn a_project_names_a_server_and_no_folder() {
        let parse = |url: &str| {
            let head = "[project]\nname = \"r\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n[stages]\n";
            ProjectManifest::parse("pib.toml", &format!("{head}\n[cache]\nurl = \"{url}\"\n"))
        };
        let cache = parse("oci://ghcr.io/acme/cache").unwrap().cache.unwrap();
        assert_eq!(
            (cache.location.to_string().as_str(), cache.write),
            ("oci://ghcr.io/acme/cache", CacheWrite::Ci)
        );
        for folder in ["/srv/cache", "cache", "file:///srv/cache"] {
            let error = parse(folder).unwrap_err();
            assert!(
                error.to_string().contains("a project cannot name a folder") && error.span().is_some(),
                "{error}"
            );
            assert!(error.advice().is_some_and(|advice| advice.contains("config.toml")));
        }
    }

    #[test]
    fn writing_is_one_of_three_words() {
        for write in [CacheWrite::Never, CacheWrite::Ci, CacheWrite::Always] {
            let text = format!("url = \"/c\"\nwrite = \"{}\"", write.as_str());
            assert_eq!(parse(&text).unwrap().write, write);
        }
        assert!(parse("url = \"/c\"\nwrite = \"yes\"").is_err());
        assert!(parse("write = \"ci\"").is_err());
    }
}
