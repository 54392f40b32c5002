//! Tokens for private registries, and which of them goes where.
//!
//! A token belongs to the registry that its owner says it is for, by address. A project gives registries names and
//! addresses as it likes, so a name in a project never decides where a token goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use url::{Host, Url};

/// A token, and the registry that it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    scope: Url,
    token: Arc<str>,
}

/// Says why a token cannot be used for a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The registry's address is not one.
    #[error("`{index}` is not the address of a registry behind a web server")]
    NoAddress {
        /// The address.
        index: String,
    },
    /// Anybody on the way could read the token.
    #[error(
        "a token for `{index}` would be sent unprotected; it is sent over https only, and over http to this machine itself"
    )]
    Unprotected {
        /// The address.
        index: String,
    },
    /// The address has a user or a password.
    #[error("the address of a registry has no user and no password before the host `{host}`")]
    HasUser {
        /// The host.
        host: String,
    },
    /// The token has characters that no header can carry.
    #[error("the token has blanks, control characters or letters beyond ASCII")]
    BadToken,
}

/// Says what is wrong with a variable about a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {variable} cannot be used")]
pub struct VariableError {
    /// The variable's name.
    pub variable: String,
    /// What is wrong with it.
    #[source]
    pub source: CredentialError,
}

/// A registry that the user has a token for.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRegistry {
    /// Its address.
    pub index: String,
    /// The token, where it does not stand in a variable.
    pub token: Option<String>,
}

impl fmt::Debug for UserRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRegistry").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The variables of the environment about registries, by the part of their names that names the registry.
#[derive(Clone, Default)]
pub struct RegistryVariables {
    /// `PIB_REGISTRIES_NAME_TOKEN`.
    pub tokens: BTreeMap<String, String>,
    /// `PIB_REGISTRIES_NAME_INDEX`.
    pub indexes: BTreeMap<String, String>,
}

/// All tokens of a user.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    known: Vec<(String, Credential)>,
    /// The registries, as variables name them, of tokens without an address.
    homeless: Vec<String>,
}

/// Why a registry that has the name of a token does not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The user has not said which registry the token is for.
    NoIndex {
        /// The variable that has the token.
        token: String,
        /// The variable that would say it.
        index: String,
    },
    /// The token is for a registry at another address.
    Elsewhere {
        /// The address that it is for.
        index: Url,
    },
}

impl Credential {
    /// Returns the token for the registry at `index`.
    ///
    /// # Errors
    /// When that is not an address that a token may be sent to, or the token is none.
    pub fn new(index: &str, token: &str) -> Result<Self, CredentialError> {
        let scope = scope(index)?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CredentialError::BadToken);
        }
        Ok(Self { scope, token: token.into() })
    }

    /// Returns whether the token may be sent with a request for `url`: at the registry's origin, and below its address.
    pub fn covers(&self, url: &Url) -> bool {
        let path = url.path().to_ascii_lowercase();
        // A server may take an encoded slash for a slash, and so leave the folder by `..%2f`.
        let is_plain = !path.contains("%2f") && !path.contains("%5c") && !path.contains("%2e");
        let has_user = !url.username().is_empty() || url.password().is_some();
        // Without its user, a URL leads where it seems to.
        !has_user
            && url.origin() == self.scope.origin()
            && is_plain
            && url.path().starts_with(self.scope.path())
    }

    /// Returns the registry's address, which ends with a slash.
    pub fn scope(&self) -> &Url {
        &self.scope
    }

    /// Returns the token.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scope", &self.scope.as_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RegistryVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.tokens.keys().collect();
        f.debug_struct("RegistryVariables").field("tokens", &names).field("indexes", &self.indexes).finish()
    }
}

/// Returns the address of a registry that a token may be sent to.
///
/// # Errors
/// When it is not one.
pub fn scope(index: &str) -> Result<Url, CredentialError> {
    let no_address = || CredentialError::NoAddress { index: index.chars().take(200).collect() };
    let mut url = Url::parse(index).map_err(|_| no_address())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(no_address)?.to_owned();
    if !url.username().is_empty() || url.password().is_some() {
        return Err(CredentialError::HasUser { host });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(no_address());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_this_machine(&url) => {}
        "http" => return Err(CredentialError::Unprotected { index: index.to_owned() }),
        _ => return Err(no_address()),
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Returns whether what is sent to `url` stays on this machine.
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Returns a registry's name as it stands in the names of variables.
fn in_variables(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn variable(name: &str, what: &str) -> String {
    format!("PIB_REGISTRIES_{}_{what}", in_variables(name))
}

impl Credentials {
    /// Collects the tokens of the user's config file and of the environment. A variable counts before the file.
    ///
    /// # Errors
    /// When a variable holds what cannot be used.
    pub fn new(
        registries: &BTreeMap<String, UserRegistry>,
        variables: &RegistryVariables,
    ) -> Result<Self, VariableError> {
        let mut all = Self::default();
        for (name, token) in &variables.tokens {
            let configured = registries
                .iter()
                .find(|(own, _)| in_variables(own) == *name)
                .map(|(_, own)| own.index.as_str());
            match variables.indexes.get(name).map(String::as_str).or(configured) {
                Some(index) => {
                    let wrong = |source: CredentialError| VariableError {
                        variable: match source {
                            CredentialError::BadToken => variable(name, "TOKEN"),
                            _ => variable(name, "INDEX"),
                        },
                        source,
                    };
                    all.known.push((name.clone(), Credential::new(index, token).map_err(wrong)?));
                }
                None => all.homeless.push(name.clone()),
            }
        }
        for (name, registry) in registries {
            // It was checked when the file was read.
            let token = registry.token.as_deref();
            let credential = token.and_then(|token| Credential::new(&registry.index, token).ok());
            all.known.extend(credential.map(|credential| (in_variables(name), credential)));
        }
        Ok(all)
    }

    /// Returns the token for a registry at `url`: the one whose address says most about it.
    pub fn for_registry(&self, url: &str) -> Option<&Credential> {
        let url = Url::parse(&format!("{}/", url.trim_end_matches('/'))).ok()?;
        let fit = self.known.iter().filter(|(_, credential)| credential.covers(&url));
        // The first of several that say the same: a variable.
        fit.map(|(_, credential)| credential).rev().max_by_key(|credential| credential.scope.path().len())
    }

    /// Returns why the registry that a project calls `name` does not get the token of that name; `None` where there is no
    /// such token, or the registry at `url` has one.
    pub fn withheld(&self, name: &str, url: &str) -> Option<Withheld> {
        if self.for_registry(url).is_some() {
            return None;
        }
        let own = in_variables(name);
        if let Some((_, credential)) = self.known.iter().find(|(known, _)| *known == own) {
            return Some(Withheld::Elsewhere { index: credential.scope.clone() });
        }
        let (token, index) = (variable(name, "TOKEN"), variable(name, "INDEX"));
        self.homeless.contains(&own).then_some(Withheld::NoIndex { token, index })
    }

    /// Returns the tokens that have an address; for an address with several the one that is used comes last.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.known.iter().rev().map(|(_, credential)| credential)
    }

    /// Returns the tokens that have an address.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|(_, credential)| credential.token())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(index: &str) -> Credential {
        Credential::new(index, "secret").unwrap()
    }

    fn covers(index: &str, url: &str) -> bool {
        credential(index).covers(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_token_goes_to_its_origin_and_below_its_address() {
        let index = "https://stages.example/acme";
        for url in ["https://stages.example/acme/", "https://stages.example:443/acme/ab/cd/abcd"] {
            assert!(covers(index, url), "{url}");
        }
        for url in [
            "http://stages.example/acme/",
            "https://stages.example:8443/acme/",
            "https://stages.example.evil.example/acme/",
            "https://evil.example/acme/",
            "https://stages.example@evil.example/acme/",
            "https://me@stages.example/acme/",
            "https://me:secret@stages.example/acme/",
            "https://stages.example./acme/",
            "https://stages.example/acme",
            "https://stages.example/acmes/",
            "https://stages.example/ACME/",
            "https://stages.example/acme/../evil/",
            "https://stages.example/acme/%2e%2e/evil/",
            "https://stages.example/acme/..%2fevil/",
            "https://stages.example/acme/..%5Cevil/",
            "file:///acme/",
        ] {
            assert!(!covers(index, url), "{url}");
        }
        assert!(covers("https://stages.example", "https://stages.example/any"));
        assert!(covers("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x/y"));
        assert!(!covers("http://127.0.0.1:8000/x", "http://127.0.0.1:8001/x/y"));
        assert!(!covers("http://127.0.0.1:8000/", "http://localhost:8000/"));
    }

    #[test]
    fn only_protected_addresses_have_tokens() {
        for index in ["https://x.example", "http://localhost:1", "http://127.1.2.3/x", "http://[::1]:80/"] {
            assert!(scope(index).is_ok(), "{index}");
        }
        let fails = |index| scope(index).unwrap_err();
        for index in ["http://x.example/", "http://localhost.evil.example/", "http://10.0.0.1/"] {
            assert_eq!(fails(index), CredentialError::Unprotected { index: index.to_owned() });
        }
        for index in ["", "acme", "file:///srv/x", "ftp://x.example/", "https://x.example/?a", "https://"] {
            assert!(matches!(fails(index), CredentialError::NoAddress { .. }), "{index}");
        }
        let error = fails("https://me:hunter2@x.example/");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        for token in ["", "a b", "a\nb", "ä"] {
            assert_eq!(Credential::new("https://x.example", token), Err(CredentialError::BadToken));
        }
        assert!(!format!("{:?}", credential("https://x.example")).contains("secret"));
    }

    fn variables(tokens: &[(&str, &str)], indexes: &[(&str, &str)]) -> RegistryVariables {
        let map =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        RegistryVariables { tokens: map(tokens), indexes: map(indexes) }
    }

    fn registry(index: &str, token: Option<&str>) -> UserRegistry {
        UserRegistry { index: index.to_owned(), token: token.map(str::to_owned) }
    }

    #[test]
    fn a_project_cannot_claim_a_token_by_its_name() {
        let none = BTreeMap::new();
        let url = "https://evil.example/";
        let homeless = Credentials::new(&none, &variables(&[("MY_ACME", "secret")], &[])).unwrap();
        assert!(homeless.for_registry(url).is_none());
        let said = homeless.withheld("my-acme", url).unwrap();
        let (token, index) =
            ("PIB_REGISTRIES_MY_ACME_TOKEN".to_owned(), "PIB_REGISTRIES_MY_ACME_INDEX".to_owned());
        assert_eq!(said, Withheld::NoIndex { token, index });
        assert_eq!(homeless.withheld("other", url), None);
        let own = "https://stages.example/";
        let known =
            Credentials::new(&none, &variables(&[("ACME", "secret")], &[("ACME", "https://stages.example")]))
                .unwrap();
        assert!(known.for_registry(url).is_none());
        assert_eq!(known.withheld("acme", url), Some(Withheld::Elsewhere { index: own.parse().unwrap() }));
        // Whatever a project calls it, it is the registry.
        assert_eq!(known.for_registry(own).unwrap().token(), "secret");
        assert_eq!(known.withheld("acme", own), None);
    }

    #[test]
    fn the_nearest_address_counts_and_a_variable_before_the_file() {
        let registries = BTreeMap::from([
            ("all".to_owned(), registry("https://x.example", Some("wide"))),
            ("one".to_owned(), registry("https://x.example/one", Some("narrow"))),
            ("bare".to_owned(), registry("https://bare.example", None)),
        ]);
        let of = |variables: &RegistryVariables, url: &str| {
            let all = Credentials::new(&registries, variables).unwrap();
            all.for_registry(url).map(|credential| credential.token().to_owned())
        };
        let no = variables(&[], &[]);
        assert_eq!(of(&no, "https://x.example/one").as_deref(), Some("narrow"));
        assert_eq!(of(&no, "https://x.example/two").as_deref(), Some("wide"));
        assert_eq!(of(&no, "https://bare.example"), None);
        let set = variables(&[("ONE", "fresh"), ("BARE", "bare")], &[]);
        assert_eq!(of(&set, "https://x.example/one").as_deref(), Some("fresh"));
        assert_eq!(of(&set, "https://bare.example/").as_deref(), Some("bare"));
        // The file's token does not move to the variable's address.
        let moved = variables(&[], &[("ALL", "https://evil.example")]);
        assert_eq!(of(&moved, "https://evil.example"), None);
        let wrong = variables(&[("ONE", "a")], &[("ONE", "http://evil.example")]);
        let error = Credentials::new(&registries, &wrong).unwrap_err();
        assert_eq!(error.variable, "PIB_REGISTRIES_ONE_INDEX");
        let wrong = variables(&[("ONE", "a b")], &[]);
        assert_eq!(Credentials::new(&registries, &wrong).unwrap_err().variable, "PIB_REGISTRIES_ONE_TOKEN");
    }
}
