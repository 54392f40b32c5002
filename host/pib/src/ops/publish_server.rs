//! Talks to a registry's server, as `host/docs/registry-api.openapi.json` describes it: the client, and the values that both sides send.

use http::Method;
use pib_net::Http;
use pib_plan::credential::Credential;
use pib_plan::id::StageName;
use pib_plan::publisher::PublisherSignature;
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::registry_tokens::Scope;
use crate::project::Error;
use crate::source::SourceError;
use crate::ui::one_line;

/// The longest answer of a server that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Where a server's interface is, below the registry's address.
const API: &str = "api/v1";

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

/// The owners of a stage.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct OwnerList {
    /// Their names.
    pub(super) owners: Vec<String>,
}

/// Returns the error where no registry can be asked.
pub(super) fn client(source: pib_net::NetError) -> Error {
    SourceError::Net { what: "a registry".to_owned(), source }.into()
}
/// A server that stages are published to.
pub(super) struct RegistryServer {
    url: Url,
    http: Http,
}

impl RegistryServer {
    /// Returns the server of the registry at an address, reached by this client.
    pub(super) fn new(url: Url, http: Http) -> Self {
        Self { url, http }
    }

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
    pub(super) async fn publish(
        &self,
        archive: Vec<u8>,
        allowed: Allowed,
        publisher: Option<PublisherSignature>,
    ) -> Result<bool, Error> {
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
        if let Some(publisher) = publisher {
            url.query_pairs_mut().append_pair("publisher", &publisher.to_string());
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

    /// Returns the owners of a stage.
    ///
    /// # Errors
    /// When the registry has no such stage, or the server cannot be reached.
    pub(super) async fn owners(&self, stage: &StageName) -> Result<Vec<String>, Error> {
        let url = self.at(&format!("stages/{stage}/owners"))?;
        self.ask(Method::GET, url, Vec::new()).await.map(|OwnerList { owners }| owners)
    }

    /// Makes somebody an owner of a stage, or takes that back; returns whether that changes anything.
    ///
    /// # Errors
    /// When the server refuses it or cannot be reached.
    pub(super) async fn change_owner(
        &self,
        stage: &StageName,
        owner: &str,
        adds: bool,
    ) -> Result<bool, Error> {
        let mut url = self.at(&format!("stages/{stage}/owners/"))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(owner);
        }
        self.send(if adds { Method::PUT } else { Method::DELETE }, url, Vec::new()).await
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
