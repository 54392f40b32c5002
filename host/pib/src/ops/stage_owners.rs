//! Lists and changes who owns the stages of a registry that has a server.

use pib_plan::id::StageName;
use serde::Serialize;

use super::publish_destination::PublishDestination;
use super::publish_server::RegistryServer;
use crate::project::{Error, Session};

/// The owners of a stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageOwners {
    /// The stage.
    pub stage: String,
    /// Their names; nobody where everybody may publish whose token allows it.
    pub owners: Vec<String>,
    /// The registry's address.
    pub registry: String,
}

/// What became of an owner.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChangedOwner {
    /// The stage.
    pub stage: String,
    /// Their name.
    pub owner: String,
    /// Whether they own the stage now.
    pub owns: bool,
    /// Whether that is different from before.
    pub changed: bool,
    /// The registry's address.
    pub registry: String,
}

/// Returns the owners of a stage.
///
/// # Errors
/// When the registry has no such stage or no server, or cannot be reached.
pub async fn owners(session: &Session, stage: &StageName, registry: &str) -> Result<StageOwners, Error> {
    let (server, registry) = server(session, registry)?;
    let owners = server.owners(stage).await?;
    Ok(StageOwners { stage: stage.to_string(), owners, registry })
}

/// Makes somebody an owner of a stage, or takes that back.
///
/// # Errors
/// When the server refuses it, or there is none.
pub async fn change_owner(
    session: &Session,
    stage: &StageName,
    owner: &str,
    owns: bool,
    registry: &str,
) -> Result<ChangedOwner, Error> {
    if owner.trim().is_empty() || matches!(owner, "." | "..") || owner.chars().any(char::is_control) {
        let message = format!("`{}` is not the name of an owner", owner.escape_debug());
        return Err(Error::usage(
            message,
            "Give the name that their token has: `pib whoami` shows one's own.",
        ));
    }
    let (server, registry) = server(session, registry)?;
    let changed = server.change_owner(stage, owner, owns).await?;
    Ok(ChangedOwner { stage: stage.to_string(), owner: owner.to_owned(), owns, changed, registry })
}

/// Returns the server of a registry, and the registry's address.
fn server(session: &Session, registry: &str) -> Result<(RegistryServer, String), Error> {
    let destination = PublishDestination::find(session, registry)?;
    match &destination {
        PublishDestination::Web { url, .. } => {
            Ok((destination.server(session, url)?, destination.to_string()))
        }
        PublishDestination::Folder(_) | PublishDestination::Bucket { .. } | PublishDestination::Oci(_) => {
            Err(Error::usage(
                format!(
                    "the registry {destination} has no owners: everybody may publish who may write to it"
                ),
                "Stages have owners where a server serves the registry (`pib registry serve`): name its address.",
            ))
        }
    }
}
