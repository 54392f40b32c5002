//! `[stores]`, in `pib.toml` and in `config.toml`: where recorded content is kept.

use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::object_address::ObjectAddress;

/// Checks a store: its name, and that its place is a web server, a bucket, a repository or a folder.
pub(super) fn check_store(
    source: &ManifestText,
    name: Spanned<String>,
    place: Spanned<String>,
) -> Result<(String, String), ManifestError> {
    crate::id::check_name(name.get_ref())
        .map_err(|error| source.error(name.span(), format!("name of a store: {error}"), "this name"))?;
    let text = place.get_ref();
    if ObjectAddress::is_meant(text) {
        if let Err(error) = text.parse::<ObjectAddress>() {
            let message =
                format!("the store `{}` has an address that pib cannot use: {error}", name.get_ref());
            let help = "Write s3://BUCKET/PREFIX or oci://HOST/REPOSITORY:TAG. Users, passwords and keys stand elsewhere: \
                        pib takes those that `aws` and `docker login` use.";
            return Err(source.error(place.span(), message, "this address").with_help(help));
        }
        return Ok((name.into_inner(), place.into_inner()));
    }
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let has_password =
        url::Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if text.is_empty() || has_password || (text.contains("://") && !is_web) {
        let help = "Write the address of a web server, https://HOST/PATH, of a bucket, s3://BUCKET/PREFIX, of a repository, \
                    oci://HOST/REPOSITORY, or a folder.";
        let message = format!("the store `{}` has an address that pib cannot use", name.get_ref());
        return Err(source.error(place.span(), message, "this address").with_help(help));
    }
    Ok((name.into_inner(), place.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::super::project::ProjectManifest;
    use super::super::user::UserConfig;

    const HEAD: &str = "[project]\nname = \"r\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\n\
                        arch = \"arm64\"\n\n[stages]\n";

    #[test]
    fn stores_are_of_four_kinds() {
        for good in ["store", "../x", "https://x.example/s", "s3://team/pib", "oci://ghcr.io/acme/store:v1"] {
            let text = format!("[stores]\nown = \"{good}\"\n");
            assert_eq!(
                ProjectManifest::parse("pib.toml", &format!("{HEAD}{text}")).unwrap().stores["own"],
                good
            );
            assert_eq!(UserConfig::parse("config.toml", &text).unwrap().stores["own"], good);
        }
        for (bad, words) in [
            ("", "cannot use"),
            ("ftp://x", "cannot use"),
            ("https://me:hunter2@x.example", "cannot use"),
            ("s3://me:hunter2@team", "not the name of a bucket"),
            ("oci://me:hunter2@x.example/a", "no valid host"),
            ("oci://x.example/A", "not a repository"),
        ] {
            let text = format!("[stores]\nown = \"{bad}\"\n");
            let error = ProjectManifest::parse("pib.toml", &format!("{HEAD}{text}")).unwrap_err();
            assert!(error.to_string().contains(words) && error.span().is_some(), "{bad}: {error}");
            assert!(UserConfig::parse("config.toml", &text).unwrap_err().span().is_some(), "{bad}");
        }
        assert!(UserConfig::parse("config.toml", "[stores]\n\"a b\" = \"x\"\n").is_err());
    }
}
