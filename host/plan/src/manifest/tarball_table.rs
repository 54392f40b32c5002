//! `[[base.OS.tarball]]` of `stage.toml`: the signed tarballs that a distribution publishes.

use serde::Deserialize;
use toml::Spanned;

use super::archive_table::{read_address, read_keys};
use super::{ManifestError, ManifestText};
use crate::id::Arch;
use crate::signed_tarball::SignedTarball;

/// A tarball as a manifest describes it, for any release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarballEntry {
    arch: Arch,
    url: String,
    signature_url: String,
    keys: Vec<String>,
    key_url: String,
}

/// The table.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TarballTable {
    arch: Arch,
    #[cfg_attr(test, schemars(with = "String"))]
    url: Spanned<String>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    signature_url: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    keys: Spanned<Vec<String>>,
    #[cfg_attr(test, schemars(with = "String"))]
    key_url: Spanned<String>,
}

impl TarballEntry {
    /// Returns the tarball of a system, where it is for the architecture.
    pub(super) fn of(&self, (os, release): (&str, &str), arch: Arch) -> Option<SignedTarball> {
        let Self { arch: own, url, signature_url, keys, key_url } = self.clone();
        let (os, release) = (os.to_owned(), release.to_owned());
        (own == arch).then_some(SignedTarball { os, release, arch, url, signature_url, keys, key_url })
    }
}

/// Reads the tarballs of one operating system: at most one for each architecture.
pub(super) fn read(
    source: &ManifestText,
    tables: Vec<Spanned<TarballTable>>,
) -> Result<Vec<TarballEntry>, ManifestError> {
    let mut entries: Vec<TarballEntry> = Vec::new();
    for table in tables {
        let span = table.span();
        let TarballTable { arch, url, signature_url, keys, key_url } = table.into_inner();
        if entries.iter().any(|other| other.arch == arch) {
            let message = format!("`{}` names two tarballs for {arch}", source.file);
            return Err(source
                .error(span, message, "the second")
                .with_help("Leave one for each architecture."));
        }
        let url = read_address(source, &url)?;
        let signature_url = match signature_url {
            Some(own) => read_address(source, &own)?,
            None => format!("{url}.sig"),
        };
        let (keys, key_url) = (read_keys(source, &keys)?, read_address(source, &key_url)?);
        entries.push(TarballEntry { arch, url, signature_url, keys, key_url });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use crate::id::Arch;
    use crate::manifest::stage::StageManifest;

    const KEY: &str = "68B3537F39A313B3E574D06777193F152BDBE6A6";

    fn parse(base: &str) -> Result<StageManifest, super::ManifestError> {
        let head = "[stage]\nname = \"__init__\"\nversion = \"1.0.0\"\nphase = \"init\"\n\n[base.mine]\n";
        StageManifest::parse("stage.toml", &format!("{head}{base}"))
    }

    fn tarball(arch: &str, url: &str, keys: &str, more: &str) -> String {
        format!(
            "\n[[base.mine.tarball]]\narch = \"{arch}\"\nurl = \"{url}\"\nkeys = {keys}\n\
             key-url = \"https://a.example/k.asc\"\n{more}"
        )
    }

    #[test]
    fn each_architecture_has_its_tarball_and_the_signature_lies_beside_it() {
        let keys = format!("[\"{}\"]", KEY.to_lowercase());
        let other = "signature-url = \"http://a.example/other.asc\"\n";
        let text = [
            "bootstrap = \"tarball\"\nmirror = \"http://m.example/\"\n",
            &tarball("arm64", "http://a.example/64.tar.gz", &keys, ""),
            &tarball("armv7", "http://a.example/7.tar.gz", &keys, other),
        ];
        let manifest = parse(&text.concat()).unwrap();
        let recipe = &manifest.base["mine"];
        assert_eq!(recipe.mirror.as_deref(), Some("http://m.example"));
        let found = recipe.tarball(("mine", "rolling"), Arch::Arm64).unwrap();
        assert_eq!(found.signature_url, "http://a.example/64.tar.gz.sig");
        assert_eq!((found.keys, found.release.as_str()), (vec![KEY.to_owned()], "rolling"));
        let found = recipe.tarball(("mine", "rolling"), Arch::Armv7).unwrap();
        assert_eq!(found.signature_url, "http://a.example/other.asc");
        assert!(recipe.tarball(("mine", "rolling"), Arch::Armv6).is_none());
    }

    #[test]
    fn what_cannot_be_checked_or_contradicts_itself_is_refused_at_its_place() {
        let keys = format!("[\"{KEY}\"]");
        let url = "http://a.example/x.tar.gz";
        let good = format!("bootstrap = \"tarball\"\n{}", tarball("arm64", url, &keys, ""));
        assert!(parse(&good).is_ok());
        let of =
            |url: &str, keys: &str| format!("bootstrap = \"tarball\"\n{}", tarball("arm64", url, keys, ""));
        for (base, words) in [
            (of("ftp://a.example/x", &keys), "not an address"),
            (of("http://a.example/x?y", &keys), "not an address"),
            (of(url, "[]"), "without a key"),
            (of(url, "[\"2BDBE6A6\"]"), "not the fingerprint"),
            (format!("{good}{}", tarball("arm64", url, &keys, "")), "two tarballs for arm64"),
            ("bootstrap = \"tarball\"\n".to_owned(), "names no tarball"),
            (good.replace("\"tarball\"\n", "\"debian\"\n"), "has tarballs"),
            (good.replace("\"tarball\"\n", "\"tarball\"\ninclude = [\"nano\"]\n"), "has `include`"),
            (good.replace("\"tarball\"\n", "\"tarball\"\nmirror = \"m.example\"\n"), "not an address"),
        ] {
            let error = parse(&base).expect_err(&base);
            assert!(error.to_string().contains(words) && error.span().is_some(), "{base}: {error}");
        }
    }
}
