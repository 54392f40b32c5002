//! `config.toml`: what a user has decided for all projects. A project or a stage cannot change it.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::cache_table::{CacheSchema, SharedCache};
use super::engines::{self, EngineSchema, NamedEngine};
use super::registry_key::add_key;
use super::stores::check_store;
use super::{ManifestError, ManifestText};
use crate::credential::{self, Credential, UserRegistry};
use crate::hook::Limits;
use crate::id;
use crate::object_address::{DEFAULT_TAG, ObjectAddress};
use crate::registry_snapshot::RegistryKey;

/// The file's name within pib's folder among the user's config files.
pub const FILE_NAME: &str = "config.toml";

/// A parsed and checked `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserConfig {
    /// How much hooks may use: `[hooks]`.
    pub hooks: Limits,
    /// The registries that the user has tokens or keys for, by the user's own names: `[registries.NAME]`.
    pub registries: BTreeMap<String, UserRegistry>,
    /// The keys that sign these registries, by the addresses that the registries have in a lock.
    pub registry_keys: BTreeMap<String, RegistryKey>,
    /// The servers on this machine or its network that the parts of projects may reach through pib: `[network] private`, each
    /// a host, or a host and a port.
    pub private_servers: Vec<String>,
    /// The user's mirror of Debian's archive of the past: `[network] snapshots`.
    pub snapshots: Option<Url>,
    /// The stores of recorded content that all projects use, by the user's own names: addresses, or folders: `[stores]`.
    pub stores: BTreeMap<String, String>,
    /// The shared cache of built stages: `[cache]`.
    pub cache: Option<SharedCache>,
    /// The engines that builds of several targets are spread over, by the user's own names: `[engines.NAME]`.
    pub engines: BTreeMap<String, NamedEngine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    cache: Option<CacheSchema>,
    #[serde(default)]
    engines: BTreeMap<Spanned<String>, EngineSchema>,
    hooks: Option<Spanned<Limits>>,
    #[serde(default)]
    network: NetworkSchema,
    #[serde(default)]
    registries: BTreeMap<Spanned<String>, RegistrySchema>,
    #[serde(default)]
    stores: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkSchema {
    private: Vec<Spanned<String>>,
    snapshots: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrySchema {
    index: Spanned<String>,
    key: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
}

impl UserConfig {
    /// Parses `text`, which was read from `file`.
    ///
    /// # Errors
    /// When the text does not fit the schema, a limit is out of its range, or a token cannot be sent to its registry.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        Self::parse_shown(file, text).map_err(|error| {
            let (redacted, values) = redacted(text);
            error.redacted(&redacted, &values)
        })
    }

    /// Parses `text`; errors may show a token.
    fn parse_shown(file: &str, text: &str) -> Result<Self, ManifestError> {
        let source = ManifestText::new(file, text);
        let schema: Schema = source.parse()?;
        let registry_keys = registry_keys(&source, &schema.registries)?;
        let registries = schema.registries.into_iter().map(|(name, found)| registry(&source, &name, found));
        let registries = registries.collect::<Result<_, _>>()?;
        let private_servers = schema.network.private.into_iter().map(|name| private_server(&source, &name));
        let private_servers = private_servers.collect::<Result<_, _>>()?;
        let snapshots = schema.network.snapshots.map(|address| snapshots(&source, &address)).transpose()?;
        let stores = schema.stores.into_iter().map(|(name, place)| check_store(&source, name, place));
        let stores = stores.collect::<Result<_, _>>()?;
        let cache = schema.cache.map(|cache| cache.check(&source)).transpose()?;
        let engines = engines::check(&source, schema.engines)?;
        let hooks = Limits::default();
        let found =
            Self { hooks, registries, registry_keys, private_servers, snapshots, stores, cache, engines };
        let Some(hooks) = schema.hooks else { return Ok(found) };
        hooks.get_ref().check().map_err(|problem| {
            source.error(hooks.span(), format!("limit of hooks: {problem}"), "in this table")
        })?;
        Ok(Self { hooks: hooks.into_inner(), ..found })
    }

    /// Returns whether the file holds a token, so that nobody else may read it.
    pub fn has_token(&self) -> bool {
        self.registries.values().any(|registry| registry.token.is_some())
    }
}

/// Returns a server that parts may reach, as the host of an address is compared: in lower case, without the dot at the end.
fn private_server(source: &ManifestText, name: &Spanned<String>) -> Result<String, ManifestError> {
    let text = name.get_ref();
    let wrong = |reason: &str| {
        let error = source.error(name.span(), format!("`private` in [network]: {reason}"), "this server");
        Err(error.with_help(
            "Name a host, or a host and a port: private = [\"pypi.corp.example\", \"git.corp.example:8443\", \"10.0.0.7\"].",
        ))
    };
    if text.contains("://") {
        return wrong("it is an address, where a host is wanted");
    }
    if text.contains('*') || text.contains("/") {
        return wrong("it is a pattern, a range or a path, where one host is wanted");
    }
    // What addresses are read by, reads it, so that what is compared later has the same form.
    let Ok(url) = Url::parse(&format!("http://{text}/")) else { return wrong("it is not a host") };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
    let Some(host) = url.host_str().filter(|_| is_plain && url.query().is_none() && url.fragment().is_none())
    else {
        return wrong("it is not a host");
    };
    // The port 80 is the scheme's own, and is left out of what was read.
    let port = text.rsplit_once(':').filter(|(before, _)| !before.is_empty() && !text.ends_with(']'));
    match port.map(|(_, port)| port.parse::<u16>()) {
        None => Ok(host.to_owned()),
        Some(Ok(port)) if port != 0 => Ok(format!("{host}:{port}")),
        Some(_) => wrong("its port is not a number from 1 to 65535"),
    }
}

/// Returns the address of a mirror of Debian's archive of the past.
fn snapshots(source: &ManifestText, address: &Spanned<String>) -> Result<Url, ManifestError> {
    let parsed = Url::parse(address.get_ref()).ok();
    let usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
    };
    parsed.filter(usable).ok_or_else(|| {
        let message = "`snapshots` in [network]: it is not an address of a web server";
        source.error(address.span(), message, "this address").with_help(
            "Name what stands before the archive's name there: snapshots = \"https://snapshot.debian.org/archive\".",
        )
    })
}

fn registry_keys(
    source: &ManifestText,
    registries: &BTreeMap<Spanned<String>, RegistrySchema>,
) -> Result<BTreeMap<String, RegistryKey>, ManifestError> {
    let mut keys = BTreeMap::new();
    for (name, registry) in registries {
        let Some(text) = &registry.key else { continue };
        add_key(source, &mut keys, (name.get_ref(), registry.index.get_ref()), text)?;
    }
    Ok(keys)
}

fn registry(
    source: &ManifestText,
    name: &Spanned<String>,
    schema: RegistrySchema,
) -> Result<(String, UserRegistry), ManifestError> {
    id::check_name(name.get_ref())
        .map_err(|error| source.error(name.span(), format!("name of a registry: {error}"), "this name"))?;
    let RegistrySchema { index, key: _, token } = schema;
    if ObjectAddress::is_meant(index.get_ref()) {
        return object_registry(source, name, &index, token.as_ref());
    }
    let address = credential::scope(index.get_ref());
    address.map_err(|error| {
        let error = source.error(index.span(), error.to_string(), "this address");
        error.with_help("Write it as index = \"https://HOST/PATH\". Registries in folders take no token.")
    })?;
    if let Some(token) = &token {
        let credential = Credential::new(index.get_ref(), token.get_ref());
        // The line is not shown: it has the token.
        credential.map_err(|error| {
            source.error(name.span(), format!("registry `{}`: {error}", name.get_ref()), "of this registry")
        })?;
    }
    let registry = UserRegistry { index: index.into_inner(), token: token.map(Spanned::into_inner) };
    Ok((name.get_ref().clone(), registry))
}

/// Checks a registry in a bucket or an OCI registry, where the user's own keys or logins let in, and no token does.
fn object_registry(
    source: &ManifestText,
    name: &Spanned<String>,
    index: &Spanned<String>,
    token: Option<&Spanned<String>>,
) -> Result<(String, UserRegistry), ManifestError> {
    let fail = |message: String| {
        let error = source.error(index.span(), message, "this address");
        Err(error.with_help(
            "Write it as index = \"s3://BUCKET/PREFIX\" or \"oci://HOST/NAMESPACE\", without a token.",
        ))
    };
    match index.get_ref().parse::<ObjectAddress>() {
        Err(error) => fail(format!("the address of registry `{}`: {error}", name.get_ref())),
        Ok(ObjectAddress::Oci { tag, .. }) if tag != DEFAULT_TAG => fail(format!(
            "the address of registry `{}` has the tag `{tag}`; a registry of stages is a namespace without a tag",
            name.get_ref()
        )),
        Ok(ObjectAddress::Oci { .. }) if token.is_some() => fail(format!(
            "registry `{}` is an OCI registry, which takes the login of `docker login` and no token",
            name.get_ref()
        )),
        Ok(_) if token.is_some() => {
            fail(format!("registry `{}` is in a bucket, which takes keys and no token", name.get_ref()))
        }
        Ok(_) => Ok((name.get_ref().clone(), UserRegistry { index: index.get_ref().clone(), token: None })),
    }
}

/// Returns the text with `*` for every byte of a value that may be a token, also a mistyped one's; and these values.
///
/// A mistake is shown with the lines around it, and the file may be no TOML at all: so what is known to be harmless is
/// shown, and nothing else.
fn redacted(text: &str) -> (String, Vec<&str>) {
    let (mut shown, mut values) = (String::with_capacity(text.len()), Vec::new());
    let mut in_hooks = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let start = content.trim_start();
        let from = match content.split_once('=') {
            // Also what was a line once.
            _ if start.starts_with('#') => content.len() - start.len() + 1,
            _ if start.starts_with('[') && !content.contains('=') => {
                in_hooks = start.starts_with("[hooks]");
                content.len()
            }
            Some((key, _)) if key.trim() == "index" => content.len(),
            Some(_) if in_hooks && !content.contains("token") => content.len(),
            Some((key, _)) => key.len() + 1,
            None => 0,
        };
        let (plain, value) = content.split_at(from);
        shown.push_str(plain);
        shown.extend(std::iter::repeat_n('*', value.len()));
        shown.push_str(&line[content.len()..]);
        values.extend(value.split(['"', '\'', ' ']).filter(|part| part.len() >= 4));
    }
    (shown, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::ByteSize;

    #[test]
    fn what_is_not_set_stays_as_it_is() {
        assert_eq!(UserConfig::parse("config.toml", "").unwrap(), UserConfig::default());
        let config = UserConfig::parse("config.toml", "[hooks]\nmemory = \"1GiB\"\nfuel = 7\n").unwrap();
        let expected = Limits { memory: ByteSize(1 << 30), fuel: 7, ..Limits::default() };
        assert_eq!(config.hooks, expected);
    }

    #[test]
    fn servers_of_the_users_own_network_are_named() {
        let config =
            UserConfig::parse("config.toml", "[network]\nprivate = [\"pypi.corp.example\"]\n").unwrap();
        assert_eq!(config.private_servers, ["pypi.corp.example"]);
    }

    #[test]
    fn an_archive_of_the_past_is_a_web_server() {
        let parse = |address: &str| {
            UserConfig::parse("config.toml", &format!("[network]\nsnapshots = \"{address}\"\n"))
        };
        let address = "https://past.corp.example/archive";
        assert_eq!(parse(address).unwrap().snapshots.unwrap().as_str(), address);
        for address in
            ["", "past.corp.example", "ftp://past.corp.example", "/srv/past", "https://a.example/?x"]
        {
            let error = parse(address).expect_err(address);
            assert!(error.advice().is_some_and(|advice| advice.contains("snapshot.debian.org")), "{error}");
        }
    }

    #[test]
    fn a_server_is_a_host_or_a_host_and_a_port() {
        let parse = |name: &str| {
            UserConfig::parse("config.toml", &format!("[network]\nprivate = [\"{name}\"]\n"))
                .map(|config| config.private_servers)
        };
        for (text, expected) in [
            ("PyPI.corp.example", "pypi.corp.example"),
            ("git.corp.example:8443", "git.corp.example:8443"),
            ("git.corp.example:80", "git.corp.example:80"),
            ("10.0.0.7", "10.0.0.7"),
            ("localhost:3000", "localhost:3000"),
            ("[fd00::1]", "[fd00::1]"),
            ("[fd00::1]:8080", "[fd00::1]:8080"),
        ] {
            assert_eq!(parse(text).unwrap(), [expected]);
        }
        for text in [
            "",
            " ",
            "a b",
            "https://git.corp.example",
            "git.corp.example/x",
            "10.0.0.0/8",
            "*.corp.example",
            "user@git.corp.example",
            "git.corp.example:0",
            "git.corp.example:65536",
            "git.corp.example:http",
            "git.corp.example:",
            "git.corp.example?x",
            "git.corp.example#x",
            "fd00::1",
            ":80",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains("`private` in [network]"), "{error}");
            assert!(error.advice().is_some_and(|advice| advice.contains("pypi.corp.example")));
        }
    }

    #[test]
    fn mistakes_are_told() {
        let fails = |text: &str| UserConfig::parse("config.toml", text).unwrap_err();
        assert!(fails("[hook]\n").to_string().contains("unknown key `hook`"));
        assert_eq!(fails("[hooks]\nmemroy = \"1GiB\"\n").advice(), Some("Did you mean `memory`?"));
        assert!(fails("[hooks]\nstack = \"1k\"\n").to_string().contains("`stack` is 1024"));
        assert!(fails("[hooks]\nfuel = -1\n").to_string().contains("the number `-1`"));
        let registry = |text: &str| fails(&format!("[registries.acme]\n{text}\n"));
        assert_eq!(registry("indx = \"https://x.example\"").advice(), Some("Did you mean `index`?"));
        assert!(registry("token = \"secret\"").to_string().contains("does not say `index`"));
        let plain = registry("index = \"http://x.example\"");
        assert!(plain.to_string().contains("unprotected") && plain.span() == Some(26..44), "{plain}");
        let bad = registry("index = \"https://x.example\"\ntoken = \"a b\"");
        assert!(bad.to_string().contains("the token has blanks"), "{bad}");
        assert!(fails("[registries.Acme]\nindex = \"https://x.example\"\n").to_string().contains("`Acme`"));
    }

    #[test]
    fn registries_have_addresses_and_perhaps_tokens() {
        let text = "[registries.acme]\nindex = \"https://x.example/acme\"\n";
        let config = UserConfig::parse("config.toml", text).unwrap();
        assert!(config.registries["acme"].index == "https://x.example/acme" && !config.has_token());
        let config = UserConfig::parse("config.toml", &format!("{text}token = \"hunter2\"\n")).unwrap();
        assert!(config.has_token() && !format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn registries_have_perhaps_a_key() {
        let key = format!("ed25519:{}", "ab".repeat(32));
        let of = |index: &str, key: &str| {
            let text = format!("[registries.acme]\nindex = \"{index}\"\nkey = \"{key}\"\n");
            UserConfig::parse("config.toml", &text)
        };
        let addresses =
            ["https://x.example/acme", "https://x.example/acme/", "s3://team/stages", "oci://x.example/a"];
        for index in addresses {
            let config = of(index, &key).unwrap();
            let address = format!("{}/", index.trim_end_matches('/'));
            assert_eq!(config.registry_keys[&address].to_string(), key);
        }
        // A token in the wrong line is not shown.
        let error = of("https://x.example", "pib_hunter2").unwrap_err().to_string();
        assert!(error.contains("is not the key of a registry") && !error.contains("hunter2"), "{error}");
        let other = key.replace("ab", "cd");
        let text = format!(
            "[registries.a]\nindex = \"https://x.example\"\nkey = \"{key}\"\n\
             [registries.b]\nindex = \"https://x.example/\"\nkey = \"{other}\"\n"
        );
        let error = UserConfig::parse("config.toml", &text).unwrap_err().to_string();
        assert!(error.contains("another key elsewhere"), "{error}");
    }

    #[test]
    fn a_registry_in_a_bucket_or_an_oci_registry_takes_no_token() {
        let of =
            |text: &str| UserConfig::parse("config.toml", &format!("[registries.a]\nindex = \"{text}\n"));
        assert_eq!(of("s3://team/stages\"").unwrap().registries["a"].index, "s3://team/stages");
        assert_eq!(of("oci://x.example/a\"").unwrap().registries["a"].index, "oci://x.example/a");
        for (text, words) in [
            ("s3://team/stages\"\ntoken = \"x\"", "no token"),
            ("s3://T/\"", "not the name of a bucket"),
            ("oci://x.example/a:v1\"", "without a tag"),
            ("oci://x.example/a\"\ntoken = \"x\"", "docker login"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn no_mistake_shows_a_token() {
        use miette::Diagnostic as _;
        for text in [
            "[registries.acme]\nindex = \"https://x.example\"\ntoken = \"hunter2\"\nx = 1\n",
            "[registries.acme]\nindex = \"http://x.example\"\ntoken = \"hunter2\"\n",
            "[registries.acme]\nindx = \"https://x.example\"\ntoken = \"hunter2\"\n",
            "[registries.acme]\nindex = \"https://x.example\"\ntokn = \"hunter2\"\n",
            "[registries.acme]\nindex = \"https://x.example\"\ntoken = \"hunter2\"; x\n",
            "[registries.acme]\nindex = \"https://x.example\"\ntoken = hunter2\n",
            "[registries.acme]\nindex = \"https://x.example\"\ntoken = \"hunter2 b\"\n",
            "[registries.acme]\nindex = \"https://x.example\"\ntoken = \"\"\"\nhunter2\"\"\"\nx = 1\n",
            "[registries]\nacme = \"hunter2\"\n",
            "[registries]\nacme = { index = \"https://x.example\", token = \"hunter2\", x = 1 }\n",
            "registries.acme.token = \"hunter2\"\n[hooks]\nx = 1\n",
            "[hooks]\nx = 1\n[registries.acme]\ntoken = \"hunter2\"\n",
            "hunter2\n[hooks]\nx = 1\n",
            "[hooks]\nx = 1\n# token = \"hunter2\"\n",
        ] {
            let error = UserConfig::parse("config.toml", text).unwrap_err();
            let all = error.source_code().unwrap().read_span(&(0..0).into(), 0, 99).unwrap().data().to_vec();
            let all = format!("{error} {:?} {}", error.advice(), String::from_utf8(all).unwrap());
            assert!(!all.contains("hunter2"), "{all}");
            assert!(error.span().is_some_and(|span| span.end <= text.len()), "{all}");
        }
        let (shown, _) = redacted("[hooks]\nfuel = 7\r\n[registries.a]\nindex = 1\ntoken = \"ä\"\n");
        assert_eq!(shown, "[hooks]\nfuel = 7\r\n[registries.a]\nindex = 1\ntoken =*****\n");
    }
}
