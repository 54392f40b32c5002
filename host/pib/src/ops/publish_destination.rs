//! Finds the registry that a command line means, and talks to its server where it has one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use pib_net::Http;
use pib_objects::{Bucket, ObjectServers, Repositories};
use pib_plan::credential::Credential;
use pib_plan::id::StageName;
use pib_plan::object_address::ObjectAddress;
use pib_plan::suggest;
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::registry_tokens::Scope;
use crate::project::{self, Error, Project, Session, user_config};
use crate::source::SourceError;
use crate::source::registry::Registry;
use crate::source::registry_oci::OciRegistry;
use crate::source::registry_sign::SignableRegistry;
use crate::ui::one_line;

/// The longest answer of a server that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Where a server's interface is, below the registry's address.
pub(super) const API: &str = "api/v1";

/// What is published although something speaks against it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Files that differ from the last commit.
    pub dirty: bool,
    /// A version that may break projects, and whose number does not say so.
    pub breaking: bool,
    /// A stage whose name is one edit away from another one's.
    pub similar: bool,
    /// A stage without licence, description or readme.
    pub incomplete: bool,
}

/// A registry that is published to.
#[derive(Debug, Clone)]
pub(super) enum PublishDestination {
    /// A folder of this machine.
    Folder(PathBuf),
    /// What is below a prefix in a bucket.
    Bucket {
        /// Its address.
        address: ObjectAddress,
        /// The bucket.
        bucket: Arc<Bucket>,
    },
    /// A namespace of an OCI registry.
    Oci(OciRegistry),
    /// A server.
    Web {
        /// What the user calls it.
        name: Option<String>,
        /// Its address.
        url: Url,
    },
}

/// What a server answers to a publish or a yank.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Changed {
    /// Whether anything is different now.
    pub(super) changed: bool,
}

/// What a server says against a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Denial {
    /// A sentence.
    pub(super) error: String,
    /// What speaks against a stage, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
}

/// Whose a token is, and what it allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bearer {
    /// Whose it is.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The stages that it is for, each a name or the beginning of names with a `*`; all where there is none.
    pub stages: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

impl PublishDestination {
    /// Returns the registry at a path or an address, or that of the project or the user with this name.
    ///
    /// # Errors
    /// When the address is not that of a registry.
    pub(super) fn find(session: &Session, named: &str) -> Result<Self, Error> {
        if named.contains("://") {
            return Self::at(session, None, named);
        }
        let folder = session.path(named);
        if named.contains('/') {
            return Ok(Self::Folder(folder));
        }
        let project = match project::find(session) {
            // A manifest with a mistake may have been about to name the registry.
            Ok(_) if !folder.is_dir() => Some(Project::load(session)?),
            Ok(_) => Project::load(session).ok(),
            Err(_) => None,
        };
        let user = user_config::load(session)?;
        let own = project.iter().flat_map(|project| &project.manifest.registries);
        let all =
            || own.clone().chain(user.registries.iter().map(|(name, registry)| (name, &registry.index)));
        match all().find(|(name, _)| *name == named) {
            Some((_, index)) => Self::at(session, Some(named.to_owned()), index),
            None if folder.is_dir() => Ok(Self::Folder(folder)),
            // A mistyped name makes no folder.
            None => Err(no_such(named, all().map(|(name, _)| name.as_str()))),
        }
    }

    /// Returns the folder of a registry that must be in one.
    ///
    /// # Errors
    /// When it has a server.
    pub(super) fn folder(session: &Session, named: &str) -> Result<PathBuf, Error> {
        match Self::find(session, named)? {
            Self::Folder(folder) => Ok(folder),
            Self::Web { url, .. } => Err(Error::usage(
                format!("the registry at {url} is not in a folder"),
                "Name the folder that its server serves, or a clone of it.",
            )),
            Self::Bucket { .. } | Self::Oci(_) => Err(Error::usage(
                format!("the registry at {named} is not in a folder"),
                "Name the folder of a copy of it.",
            )),
        }
    }

    /// Returns the OCI registry that a path of the command line is the address of; `None` where it is something else.
    ///
    /// # Errors
    /// When the address is not that of a registry.
    pub(super) fn oci(session: &Session, named: &Path) -> Result<Option<OciRegistry>, Error> {
        let Some(text) = named.to_str().filter(|text| text.starts_with("oci://")) else { return Ok(None) };
        match Self::at(session, None, text)? {
            Self::Oci(registry) => Ok(Some(registry)),
            Self::Folder(_) | Self::Bucket { .. } | Self::Web { .. } => Ok(None),
        }
    }

    /// Returns the registry in a bucket that a path of the command line is the address of; `None` where it is a path.
    ///
    /// # Errors
    /// When the address is not that of a bucket.
    pub(super) fn bucket(
        session: &Session,
        named: &Path,
    ) -> Result<Option<(ObjectAddress, Arc<Bucket>)>, Error> {
        let Some(text) = named.to_str().filter(|text| ObjectAddress::is_meant(text)) else { return Ok(None) };
        match Self::at(session, None, text)? {
            Self::Bucket { address, bucket } => Ok(Some((address, bucket))),
            Self::Oci(registry) => Err(Error::usage(
                format!("the registry at {registry} is an OCI registry, which needs none of this"),
                "`pib publish` makes repositories and their index, and the registry serves them itself.",
            )),
            Self::Folder(_) | Self::Web { .. } => Ok(None),
        }
    }

    fn at(session: &Session, name: Option<String>, index: &str) -> Result<Self, Error> {
        if ObjectAddress::is_meant(index) {
            return Self::in_objects(session, index);
        }
        let url = Url::parse(&format!("{}/", index.trim_end_matches('/'))).ok();
        let destination = url.and_then(|url| match url.scheme() {
            "file" => url.to_file_path().ok().map(Self::Folder),
            "http" | "https" => Some(Self::Web { name, url }),
            _ => None,
        });
        destination.ok_or_else(|| {
            Error::usage(
                format!("`{index}` is not the address of a registry"),
                "Give it as https://HOST/PATH, s3://BUCKET/PREFIX, oci://HOST/NAMESPACE or file:///FOLDER, or name a folder.",
            )
        })
    }

    fn in_objects(session: &Session, index: &str) -> Result<Self, Error> {
        const HELP: &str = "Registries are in folders, behind servers (https://HOST/PATH), in buckets (s3://BUCKET/PREFIX), and in OCI registries \
                            (oci://HOST/NAMESPACE).";
        let wrong =
            |why: String| Error::usage(format!("`{index}` is not the address of a registry: {why}"), HELP);
        let address = index.trim_end_matches('/').parse::<ObjectAddress>();
        let address = address.map_err(|error| wrong(error.to_string()))?;
        match &address {
            ObjectAddress::Oci { .. } => {
                let repositories = Repositories::new(session.object_access());
                OciRegistry::at(index, &repositories).map(Self::Oci).map_err(wrong)
            }
            ObjectAddress::Bucket { bucket, prefix } => {
                let bucket = Bucket::new(bucket, prefix, &session.object_access());
                let bucket = bucket.map_err(|source| SourceError::Objects {
                    action: "using",
                    what: format!("the registry {address}"),
                    source,
                })?;
                Ok(Self::Bucket { bucket: Arc::new(bucket), address })
            }
        }
    }

    /// Returns the registry, to be signed.
    ///
    /// # Errors
    /// When its server signs it, or nobody.
    pub(super) fn signable(&self, key: Option<&Path>) -> Result<Option<SignableRegistry>, Error> {
        let why = match self {
            Self::Folder(folder) => return Ok(Some(SignableRegistry::Folder(folder.clone()))),
            Self::Bucket { address, bucket } => {
                return Ok(Some(SignableRegistry::Bucket(Arc::clone(bucket), address.to_string())));
            }
            Self::Web { .. } => "its server signs what is published: `pib registry serve --key FILE`",
            Self::Oci(_) => "an OCI registry has no signed snapshot",
        };
        match key {
            Some(_) => {
                Err(Error::usage(format!("the registry {self} takes no key: {why}"), "Leave --key out."))
            }
            None => Ok(None),
        }
    }

    /// Returns the registry, to be read.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub(super) fn registry(&self, session: &Session) -> Result<Registry, Error> {
        match self {
            Self::Folder(folder) => Ok(Registry::folder(folder)?),
            Self::Bucket { address, .. } => Self::in_store(session, &address.to_string()),
            Self::Oci(registry) => Self::in_store(session, &registry.to_string()),
            Self::Web { url, .. } => {
                let http = self.http(session, url)?;
                Ok(Registry::at(url.as_str(), &session.cache, None, &ObjectServers::default(), || Ok(http))?)
            }
        }
    }

    fn in_store(session: &Session, address: &str) -> Result<Registry, Error> {
        let objects = ObjectServers::new(session.object_access());
        let http = || Http::new().map_err(SourceError::client);
        Ok(Registry::at(address, &session.cache, None, &objects, http)?)
    }

    /// Returns the registry's server, with the user's token for it.
    ///
    /// # Errors
    /// When the user's config cannot be used.
    pub(super) fn server(&self, session: &Session, url: &Url) -> Result<RegistryServer, Error> {
        Ok(RegistryServer { url: url.clone(), http: self.http(session, url)? })
    }

    fn http(&self, session: &Session, url: &Url) -> Result<Http, Error> {
        let name = match self {
            Self::Web { name: Some(name), .. } => name.clone(),
            _ => url.host_str().unwrap_or_default().to_owned(),
        };
        let address = url.as_str().trim_end_matches('/').to_owned();
        let credentials = user_config::credentials(session, &BTreeMap::from([(name, address.clone())]))?;
        let http = Http::new().map_err(client)?;
        match credentials.for_registry(&address) {
            Some(credential) => http.with_credential(credential).map_err(client),
            None => Ok(http),
        }
    }
}

impl fmt::Display for PublishDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket { address, .. } => address.fmt(f),
            Self::Oci(registry) => registry.fmt(f),
            Self::Web { url, .. } => url.as_str().trim_end_matches('/').fmt(f),
        }
    }
}

/// Returns the folder of a registry that the command line names.
///
/// # Errors
/// When there is none.
pub(super) fn existing(session: &Session, folder: &Path) -> Result<PathBuf, Error> {
    let registry = session.cwd.join(folder);
    match registry.is_dir() {
        true => Ok(registry),
        false => Err(Error::usage(
            format!("there is no folder `{}`", session.show(&registry).display()),
            "Name the folder of a registry; `pib registry init DIR` makes one.",
        )),
    }
}

/// Returns the error for a word that is neither a registry's name nor a folder.
fn no_such<'a>(named: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let meant = suggest::nearest(named, known).map(|near| format!("Did you mean `{near}`? "));
    Error::usage(
        format!("no registry is called `{named}`, and there is no folder of that name"),
        format!(
            "{}To begin a registry in a folder, write it as a path: `./{named}`.",
            meant.unwrap_or_default()
        ),
    )
}

fn client(source: pib_net::NetError) -> Error {
    SourceError::Net { what: "a registry".to_owned(), source }.into()
}

/// A server that stages are published to.
pub(super) struct RegistryServer {
    url: Url,
    http: Http,
}

impl RegistryServer {
    /// Returns the server of the registry that a token is for, with that token.
    ///
    /// # Errors
    /// When there cannot be a client.
    pub(super) fn of(credential: &Credential) -> Result<Self, Error> {
        let http = Http::new().and_then(|http| http.with_credential(credential)).map_err(client)?;
        Ok(Self { url: credential.scope().clone(), http })
    }

    /// Publishes a stage's archive; returns whether the registry did not have it.
    ///
    /// # Errors
    /// When the server refuses it or cannot be reached.
    pub(super) async fn publish(&self, archive: Vec<u8>, allowed: Allowed) -> Result<bool, Error> {
        let allow = [
            ("breaking", allowed.breaking),
            ("similar", allowed.similar),
            ("incomplete", allowed.incomplete),
        ];
        let allow: Vec<&str> = allow.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        let mut url = self.at("stages")?;
        if !allow.is_empty() {
            url.query_pairs_mut().append_pair("allow", &allow.join(","));
        }
        self.send(Method::PUT, url, archive).await
    }

    /// Yanks a version, or takes that back; returns whether that changes anything.
    ///
    /// # Errors
    /// When the server refuses it or cannot be reached.
    pub(super) async fn yank(
        &self,
        stage: &StageName,
        version: &Version,
        yanked: bool,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        // The `+` of build metadata would be a space in a query; in a path it is itself.
        let mut url = self.at(&format!("stages/{stage}/{version}/yank"))?;
        if let Some(reason) = reason {
            url.query_pairs_mut().append_pair("reason", reason);
        }
        self.send(if yanked { Method::PUT } else { Method::DELETE }, url, Vec::new()).await
    }

    fn at(&self, path: &str) -> Result<Url, Error> {
        let url = self.url.join(&format!("{API}/{path}"));
        url.map_err(|error| {
            Error::usage(format!("{} has no `{path}` ({error})", self.url), "Check the address.")
        })
    }

    /// Asks whose the token is, and what it allows.
    ///
    /// # Errors
    /// When the server does not know the token or cannot be reached.
    pub(super) async fn bearer(&self) -> Result<Bearer, Error> {
        self.ask(Method::GET, self.at("me")?, Vec::new()).await
    }

    async fn send(&self, method: Method, url: Url, body: Vec<u8>) -> Result<bool, Error> {
        self.ask(method, url, body).await.map(|Changed { changed }| changed)
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, url: Url, body: Vec<u8>) -> Result<T, Error> {
        let (status, answer) = self.http.send(method, &url, body, MAX_ANSWER).await.map_err(client)?;
        if status.is_success()
            && let Ok(value) = serde_json::from_slice(&answer)
        {
            return Ok(value);
        }
        match serde_json::from_slice(&answer) {
            Ok(Denial { problems, .. }) if !problems.is_empty() => {
                let problems = problems.iter().map(|problem| one_line(problem)).collect();
                Err(SourceError::Unpublishable { problems }.into())
            }
            Ok(Denial { error, .. }) => {
                let error = one_line(&error);
                Err(SourceError::Denied { server: self.url.to_string(), status, error }.into())
            }
            // Some other server, or one that serves files only.
            Err(_) => Err(SourceError::Denied {
                server: self.url.to_string(),
                status,
                error: "it is no server that `pib registry serve` runs".to_owned(),
            }
            .into()),
        }
    }
}
