//! Finds the registry that a command line means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_net::Http;
use pib_objects::{Bucket, ObjectServers, Repositories};
use pib_plan::object_address::ObjectAddress;
use pib_plan::suggest;
use url::Url;

use super::publish_server::{RegistryServer, client};
use crate::project::{self, Error, Project, Session, user_config};
use crate::source::SourceError;
use crate::source::registry::Registry;
use crate::source::registry_oci::OciRegistry;
use crate::source::registry_sign::SignableRegistry;

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
            Self::Oci(registry) => return Ok(Some(SignableRegistry::Oci(registry.clone()))),
            Self::Web { .. } => "its server signs what is published: `pib registry serve --key FILE`",
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
        Ok(RegistryServer::new(url.clone(), self.http(session, url)?))
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
