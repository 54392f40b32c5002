//! Keeps the user's tokens for registries' servers: takes one, says whose it is, forgets it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use pib_event::ReporterExt as _;
use pib_file::Folder;
use pib_plan::credential::{self, Credential, CredentialError};
use pib_plan::id;
use pib_plan::manifest::edit::EditError;
use pib_plan::manifest::user::{self, UserConfig};
use pib_plan::manifest::user_edit;
use serde::Serialize;

use super::publish_destination::PublishDestination;
pub use super::publish_server::Bearer;
use super::publish_server::RegistryServer;
use crate::project::{self, Error, Project, Session, files, user_config};

/// Which registry a token is for.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// What the user calls the registry.
    pub registry: String,
    /// Its address.
    pub index: String,
    /// The token.
    pub token: String,
}

/// A token that a registry's server knows.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Login {
    /// The registry's address.
    pub registry: String,
    /// Whose the token is, and what it allows.
    #[serde(flatten)]
    pub bearer: Bearer,
    /// The file that the token was written to, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "crate::project::path_text::lossy_option")]
    pub file: Option<PathBuf>,
}

/// What became of a token.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Logout {
    /// What the user calls the registry.
    pub registry: String,
    /// Whether there was a token.
    pub removed: bool,
}

/// Returns the address of the registry that a token would be for: the one that is given, or that of the user's config.
///
/// # Errors
/// When the registry cannot be called so, or the address is not known or takes no token.
pub fn address_of(session: &Session, registry: &str, given: Option<String>) -> Result<String, Error> {
    id::check_name(registry).map_err(|error| {
        let help =
            "Give the registry a name of your own first, and its address after it: pib login NAME ADDRESS";
        Error::usage(format!("`{registry}` cannot be the name of a registry: {error}"), help)
    })?;
    let config = user_config::load(session)?;
    let index = match given {
        Some(index) => index,
        None => known_index(session, &config, registry)?,
    };
    credential::scope(&index).map_err(|error| unusable(&error))?;
    Ok(index)
}

/// Writes a token into the user's config, once the registry's server has said that it knows it.
///
/// # Errors
/// When the server does not know the token, or the config cannot be written.
pub async fn login(session: &Session, options: &LoginOptions) -> Result<Login, Error> {
    let LoginOptions { registry, index, token } = options;
    session.mask.hide(token.as_bytes());
    let credential = Credential::new(index, token).map_err(|error| unusable(&error))?;
    let bearer = RegistryServer::of(&credential)?.bearer().await?;
    let set = |text: &str| user_edit::set_token(text, registry, index, token).map(|text| (text, ()));
    let (file, ()) = change_config(session, set)?;
    Ok(Login { registry: address(&credential), bearer, file: Some(file) })
}

/// Asks the servers of the registries that the user has tokens for whose these are: of one registry, or of all.
///
/// # Errors
/// When there is no token, or no server knows it or can be reached.
pub async fn whoami(session: &Session, registry: Option<&str>) -> Result<Vec<Login>, Error> {
    let url = match registry.map(|named| PublishDestination::find(session, named)).transpose()? {
        Some(PublishDestination::Web { url, .. }) => Some(url),
        Some(other) => {
            let message = format!("the registry {other} has no server, and takes no token");
            return Err(Error::usage(message, "Name a registry with the address https://HOST/PATH."));
        }
        None => None,
    };
    let credentials = user_config::all_credentials(session)?;
    let chosen: BTreeMap<String, &Credential> = match &url {
        Some(url) => credentials.for_registry(url.as_str()).into_iter().map(by_address).collect(),
        None => credentials.iter().map(by_address).collect(),
    };
    if chosen.is_empty() {
        // An address may have a password in it.
        let named = url.as_ref().and_then(url::Url::host_str).or(registry);
        let what = named.map_or("any registry".to_owned(), |name| format!("the registry `{name}`"));
        return Err(Error::usage(format!("you have no token for {what}"), LOG_IN));
    }
    let (mut logins, mut failure) = (Vec::new(), None);
    for (registry, credential) in chosen {
        match RegistryServer::of(credential)?.bearer().await {
            Ok(bearer) => logins.push(Login { registry, bearer, file: None }),
            Err(error) if url.is_some() => return Err(error),
            // The others are asked all the same.
            Err(error) => {
                session.reporter.warn(format!("{registry}: {error}"));
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if logins.is_empty() => Err(error),
        _ => Ok(logins),
    }
}

/// Removes the token for a registry from the user's config. Its address stays there.
///
/// # Errors
/// When the config cannot be written.
pub fn logout(session: &Session, registry: &str) -> Result<Logout, Error> {
    let (_, removed) = change_config(session, |text| user_edit::remove_token(text, registry))?;
    Ok(Logout { registry: registry.to_owned(), removed })
}

const LOG_IN: &str = "Ask the registry's operator for one, then: pib login NAME ADDRESS";

fn by_address(credential: &Credential) -> (String, &Credential) {
    (address(credential), credential)
}

fn address(credential: &Credential) -> String {
    credential.scope().as_str().trim_end_matches('/').to_owned()
}

/// Returns the address of the registry that the user's own config calls `name`. A project's name for a registry does not
/// decide where a token goes; it only makes the advice better.
fn known_index(session: &Session, config: &UserConfig, name: &str) -> Result<String, Error> {
    if let Some(registry) = config.registries.get(name) {
        return Ok(registry.index.clone());
    }
    let project = project::find(session).and_then(|_| Project::load(session)).ok();
    let help = match project.and_then(|project| project.manifest.registries.get(name).cloned()) {
        Some(index) => format!(
            "pib.toml gives that name to {index}. If your token is for that registry: pib login {name} {index}"
        ),
        None => format!("Give its address: pib login {name} https://HOST/PATH"),
    };
    Err(Error::usage(format!("your config does not say where the registry `{name}` is"), help))
}

fn unusable(error: &CredentialError) -> Error {
    let help = match error {
        CredentialError::BadToken => "Copy the whole token, as `pib registry token` showed it.",
        _ => "Give the registry's address as https://HOST/PATH.",
    };
    Error::usage(error.to_string(), help)
}

/// Replaces the user's config by what `change` makes of it, in a file that nobody else can read.
fn change_config<T>(
    session: &Session,
    change: impl FnOnce(&str) -> Result<(String, T), EditError>,
) -> Result<(PathBuf, T), Error> {
    let Some(folder) = &session.config else { return Err(Error::NoConfig) };
    let path = folder.join(user::FILE_NAME);
    let fail = |error| Error::io("change", &path, error);
    let folder = Folder::make(folder).map_err(fail)?;
    // Two programs that each change it take turns, for the moment that this takes.
    let lock = folder.open_or_create(".config-lock").map_err(fail)?;
    lock.lock().map_err(fail)?;
    files::remove_left(&folder);
    let before = files::read_text(&path)?.unwrap_or_default();
    let (text, outcome) = change(&before).map_err(|error| fail(std::io::Error::other(error)))?;
    if text != before {
        let write = || {
            let mut file = folder.output(user::FILE_NAME)?.create()?;
            file.file().write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.keep(std::fs::Permissions::from_mode(0o600))
        };
        write().map_err(fail)?;
    }
    Ok((path, outcome))
}
