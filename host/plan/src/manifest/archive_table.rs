//! `[[base.OS.archive]]` of `stage.toml`: the archives of packages that a base is made of.

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::{ManifestError, ManifestText};
use crate::id::Arch;
use crate::package_archive::{ArchiveOrigin, KNOWN, PackageArchive, is_fingerprint};

/// What stands for the project's release in the name of a suite.
const RELEASE: &str = "{release}";
/// The most archives that a base may be made of.
const MOST: usize = 16;

/// An archive as a manifest describes it, for any release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArchiveEntry {
    /// The architectures that it is used for; `None` for all.
    arch: Option<Vec<Arch>>,
    /// The archive; the suite may have `{release}` in it.
    archive: PackageArchive,
}

/// The table.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ArchiveTable {
    #[cfg_attr(test, schemars(with = "String"))]
    name: Spanned<String>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    url: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    suite: Option<Spanned<String>>,
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    components: Option<Spanned<Vec<String>>>,
    arch: Option<Vec<Arch>>,
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    keys: Option<Spanned<Vec<String>>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    key_url: Option<Spanned<String>>,
}

impl ArchiveEntry {
    /// Returns the archive for a release, where it is used for the architecture.
    pub(super) fn of(&self, release: &str, arch: Arch) -> Option<PackageArchive> {
        let is_used = self.arch.as_ref().is_none_or(|archs| archs.contains(&arch));
        is_used.then(|| {
            let archive = self.archive.clone();
            PackageArchive { suite: archive.suite.replace(RELEASE, release), ..archive }
        })
    }
}

/// Reads the archives of one operating system.
pub(super) fn read(
    source: &ManifestText,
    tables: Vec<Spanned<ArchiveTable>>,
) -> Result<Vec<ArchiveEntry>, ManifestError> {
    let mut entries: Vec<ArchiveEntry> = Vec::new();
    for table in tables {
        let span = table.span();
        if entries.len() == MOST {
            let message = format!("`{}` names more than {MOST} archives for one system", source.file);
            return Err(source.error(span, message, "one too many"));
        }
        let entry = read_one(source, table)?;
        let overlaps = |other: &ArchiveEntry| match (&entry.arch, &other.arch) {
            (Some(one), Some(two)) => one.iter().any(|arch| two.contains(arch)),
            _ => true,
        };
        if entries.iter().any(|other| other.archive.name == entry.archive.name && overlaps(other)) {
            let message = format!("`{}` names the archive `{}` twice", source.file, entry.archive.name);
            return Err(source.error(span, message, "the second").with_help(
                "Give each archive a name of its own, or say by `arch` which architectures each is for.",
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_one(source: &ManifestText, table: Spanned<ArchiveTable>) -> Result<ArchiveEntry, ManifestError> {
    let span = table.span();
    let ArchiveTable { name, url, suite, components, arch, keys, key_url } = table.into_inner();
    let word = |text: &Spanned<String>, what: &str| check_word(source, text, what);
    word(&name, "name of an archive")?;
    let is_known = KNOWN.contains(&name.get_ref().as_str());
    let origin = match (url, keys, key_url) {
        (None, None, None) if is_known => None,
        (Some(url), Some(keys), Some(key_url)) if !is_known => Some(ArchiveOrigin {
            url: read_address(source, &url)?,
            keys: read_keys(source, &keys)?,
            key_url: read_address(source, &key_url)?,
        }),
        _ => {
            let name = name.get_ref();
            let (message, help) = match is_known {
                true => (
                    format!("pib knows the address and the keys of the archive `{name}` itself"),
                    "Remove `url`, `keys` and `key-url`, or give the archive another name.",
                ),
                false => (
                    format!("the archive `{name}` needs an address and the keys that sign it"),
                    "Give it `url`, `keys` (their full fingerprints) and `key-url` (where the keys are).",
                ),
            };
            return Err(source.error(span, message, "this archive").with_help(help));
        }
    };
    let suite = match suite {
        Some(suite) => {
            let plain = suite.get_ref().replace(RELEASE, "release");
            word(&Spanned::new(suite.span(), plain), "name of a suite")?;
            suite.into_inner()
        }
        None if name.get_ref() == KNOWN[1] => format!("{RELEASE}-security"),
        None => RELEASE.to_owned(),
    };
    let components = match components {
        Some(list) => {
            for component in list.get_ref() {
                word(&Spanned::new(list.span(), component.clone()), "name of a component")?;
            }
            if list.get_ref().is_empty() {
                return Err(source.error(
                    list.span(),
                    "an archive without components has no packages",
                    "here",
                ));
            }
            list.into_inner()
        }
        None => vec!["main".to_owned()],
    };
    let archive = PackageArchive { name: name.into_inner(), suite, components, origin };
    Ok(ArchiveEntry { arch, archive })
}

/// Checks a word that becomes part of addresses, of file names and of the device's list of archives.
fn check_word(source: &ManifestText, text: &Spanned<String>, what: &str) -> Result<(), ManifestError> {
    let word = text.get_ref();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let starts = word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && word.len() <= 64 && word.chars().all(fits) && !word.contains("..") {
        return Ok(());
    }
    let shown: String = word.chars().take(80).collect();
    let help = "It is made of a-z, 0-9, `-` and `.`, and starts with a letter or digit.";
    Err(source.error(text.span(), format!("`{shown}` is not the {what}"), "this one").with_help(help))
}

/// Reads an address that is fetched by http or https.
pub(super) fn read_address(source: &ManifestText, text: &Spanned<String>) -> Result<String, ManifestError> {
    let address = text.get_ref().trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\`$<>{}".contains(c);
    let url = Url::parse(address).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.filter(|url| url.has_host() && url.query().is_none() && url.fragment().is_none());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    if url.is_some() && address.chars().all(is_plain) {
        return Ok(address.to_owned());
    }
    let message =
        format!("`{}` is not an address that pib can use", address.chars().take(80).collect::<String>());
    let help = "Write it as https://archive.example.org/debian, without a user, a query or a fragment.";
    Err(source.error(text.span(), message, "this address").with_help(help))
}

/// Reads the fingerprints of keys.
pub(super) fn read_keys(
    source: &ManifestText,
    list: &Spanned<Vec<String>>,
) -> Result<Vec<String>, ManifestError> {
    let wrong = list.get_ref().iter().find(|key| !is_fingerprint(key));
    if list.get_ref().is_empty() || wrong.is_some() {
        let message = match wrong {
            Some(key) => {
                format!("`{}` is not the fingerprint of a key", key.chars().take(80).collect::<String>())
            }
            None => "without a key, nothing can be checked".to_owned(),
        };
        let help = "Write the whole fingerprint, 40 hexadecimal digits without spaces: `gpg --show-keys FILE` prints it.";
        return Err(source.error(list.span(), message, "these keys").with_help(help));
    }
    Ok(list.get_ref().iter().map(|key| key.to_uppercase()).collect())
}

#[cfg(test)]
mod tests {
    use crate::id::Arch;
    use crate::manifest::stage::StageManifest;

    const KEY: &str = "CF8A1AF502A2AA2D763BAE7E82B129927FA3303E";

    fn parse(archives: &str) -> Result<StageManifest, super::ManifestError> {
        let text = format!(
            "[stage]\nname = \"__init__\"\nversion = \"1.0.0\"\nphase = \"init\"\n\n[base.mine]\nbootstrap = \"debian\"\n{archives}"
        );
        StageManifest::parse("stage.toml", &text)
    }

    fn archive(more: &str) -> String {
        format!("\n[[base.mine.archive]]\n{more}\n")
    }

    #[test]
    fn archives_are_those_of_the_architecture_and_the_release() {
        let mine = format!(
            "name = \"mine\"\nurl = \"http://a.example/x/\"\nkeys = [\"{}\"]\nkey-url = \"https://a.example/k\"\n\
             components = [\"main\", \"non-free\"]",
            KEY.to_lowercase()
        );
        let debian = "name = \"debian\"\narch = [\"arm64\"]";
        let security = "name = \"debian-security\"\narch = [\"arm64\"]";
        let manifest = parse(&[&mine, debian, security].map(archive).concat()).unwrap();
        let recipe = &manifest.base["mine"];
        let on = |arch| recipe.archives("trixie", arch);
        let names = |arch| on(arch).iter().map(|own| own.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(Arch::Arm64), ["mine", "debian", "debian-security"]);
        assert_eq!(names(Arch::Armv6), ["mine"]);
        let found = on(Arch::Arm64);
        assert_eq!([&found[0].suite, &found[2].suite], ["trixie", "trixie-security"]);
        assert_eq!(found[0].components, ["main", "non-free"]);
        let origin = found[0].origin.as_ref().unwrap();
        assert_eq!(
            (origin.url.as_str(), origin.keys.as_slice()),
            ("http://a.example/x", &[KEY.to_owned()][..])
        );
    }

    #[test]
    fn what_cannot_be_checked_or_would_mean_more_is_refused_at_its_place() {
        let full = |url: &str, keys: &str, rest: &str| {
            archive(&format!(
                "name = \"mine\"\nurl = \"{url}\"\nkeys = {keys}\nkey-url = \"http://a.example/k\"\n{rest}"
            ))
        };
        let good = full("http://a.example/x", &format!("[\"{KEY}\"]"), "");
        assert!(parse(&good).is_ok());
        let keys = format!("[\"{KEY}\"]");
        for (archives, words) in [
            (archive("name = \"mine\""), "needs an address and the keys"),
            (archive("name = \"mine\"\nurl = \"http://a.example/x\""), "needs an address and the keys"),
            (good.replace("\"mine\"", "\"debian\""), "knows the address and the keys"),
            (good.replace("\"mine\"", "\"../x\""), "not the name of an archive"),
            (full("ftp://a.example/x", &keys, ""), "not an address"),
            (full("http://a.example/x y", &keys, ""), "not an address"),
            (full("http://me:pw@a.example/x", &keys, ""), "not an address"),
            (full("http://a.example/x?y", &keys, ""), "not an address"),
            (full("http://a.example/x", "[]", ""), "without a key"),
            (full("http://a.example/x", "[\"7FA3303E\"]", ""), "not the fingerprint"),
            (full("http://a.example/x", &keys, "suite = \"a b\""), "not the name of a suite"),
            (full("http://a.example/x", &keys, "components = []"), "no packages"),
            (full("http://a.example/x", &keys, "components = [\"a\\nb\"]"), "not the name of a component"),
            (good.repeat(2), "twice"),
        ] {
            let error = parse(&archives).expect_err(&archives);
            assert!(error.to_string().contains(words) && error.span().is_some(), "{archives}: {error}");
        }
    }
}
