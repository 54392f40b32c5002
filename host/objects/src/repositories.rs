//! Repositories of OCI registries, each connected to once, and the lists of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, Request, StatusCode};
use serde::Deserialize;

use crate::access::Access;
use crate::error::ObjectError;
use crate::oci::Repository;
use crate::oci_host::{OciConnection, OciHost, Resource, Scope};
use crate::oci_manifests::pages;

/// The repositories that a run of the program uses. Clones share them.
#[derive(Clone, Default)]
pub struct Repositories {
    access: Access,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    hosts: BTreeMap<String, Arc<OciHost>>,
    repositories: BTreeMap<(String, String), Arc<Repository>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Repositories {
    /// Returns no repository yet; `access` lets the user in.
    pub fn new(access: Access) -> Self {
        Self { access, known: Arc::default() }
    }

    /// Returns a repository. Nothing is asked of its registry yet.
    ///
    /// # Errors
    /// When the host is none, or the HTTP client cannot be made.
    pub fn get(&self, host: &str, name: &str) -> Result<Arc<Repository>, ObjectError> {
        let server = self.host(host)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), name.to_owned());
        let found = known.repositories.entry(key);
        Ok(Arc::clone(found.or_insert_with(|| Arc::new(Repository::new(server, name)))))
    }

    fn host(&self, host: &str) -> Result<Arc<OciHost>, ObjectError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.hosts.get(host) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(OciHost::new(host, &self.access)?);
        known.hosts.insert(host.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    /// Checks that there is a registry at a host. Nobody is logged in for that.
    ///
    /// # Errors
    /// When nothing answers, or something else than a registry does.
    pub async fn check(&self, host: &str) -> Result<(), ObjectError> {
        let connection = OciConnection::new(self.host(host)?, Resource::Catalog);
        let url = connection.url("")?;
        let answer = connection.send_once(Scope::Pull, &|| Request::new(Method::GET, url.clone())).await?;
        let asks = answer.headers().contains_key(WWW_AUTHENTICATE);
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED if asks => Ok(()),
            status => Err(ObjectError::Server(format!(
                "there is no OCI registry at {host}: `/v2/` is answered with {status}"
            ))),
        }
    }

    /// Returns the names of a registry's repositories below a prefix, without that; `None` where the registry does not list them,
    /// or not for this user.
    ///
    /// # Errors
    /// When the registry cannot be asked, or has more than `limit` repositories.
    pub async fn list(
        &self,
        host: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Option<Vec<String>>, ObjectError> {
        let connection = OciConnection::new(self.host(host)?, Resource::Catalog);
        let first = connection.url("_catalog?n=1000")?;
        let read = |bytes: &[u8]| {
            Some(serde_json::from_slice::<Catalog>(bytes).ok()?.repositories.unwrap_or_default())
        };
        let found = match pages(&connection, first, "listing the repositories", limit, &read).await {
            Err(ObjectError::Denied(_)) => return Ok(None),
            found => found?,
        };
        let below = |name: String| Some(name.strip_prefix(prefix)?.strip_prefix('/')?.to_owned());
        Ok(found.map(|names| names.into_iter().filter_map(below).collect()))
    }
}

impl fmt::Debug for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repositories").finish_non_exhaustive()
    }
}
