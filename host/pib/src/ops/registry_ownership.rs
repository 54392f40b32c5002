//! The owners of stages on a registry's server: who publishes a stage first owns it, and names others.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as InPath, Request, State};
use axum::response::Response;
use http::{Method, StatusCode};
use pib_plan::id::StageName;

use super::publish_server::{Changed, OwnerList};
use super::registry_access::{Named, Served, bearer, require, require_owner};
use super::registry_answer::{Refusal, json};
use super::registry_tokens::{self, Scope, Token};
use crate::source::registry_owners::Owners;

/// Makes the bearer of a token the owner of a stage that is new in the registry. Of two who publish it at the same time, one is.
pub(super) async fn claim(served: &Served, token: &Token, stage: &StageName) -> Result<(), Refusal> {
    let claimed = |owners: Option<&Owners>| match owners {
        Some(owners) => require_owner(token, Some(owners), stage).map(|()| None),
        None => Ok(Some(Owners::from([token.name.clone()]))),
    };
    served.registry.owners().change(stage, claimed).await.map(drop)
}

/// `GET stages/NAME/owners`.
pub(super) async fn list(
    State(served): State<Arc<Served>>,
    named: Named<String>,
) -> Result<Response, Refusal> {
    let stage = named.ok().and_then(|InPath(name)| name.parse::<StageName>().ok());
    let stage = existing(&served, stage).await?;
    let owners = served.registry.owners().read(&stage).await?.unwrap_or_default();
    Ok(json(StatusCode::OK, &OwnerList { owners: owners.into_iter().collect() }))
}

/// `PUT` and `DELETE stages/NAME/owners/OWNER`.
pub(super) async fn change(
    State(served): State<Arc<Served>>,
    named: Named<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let token = bearer(&served, &request)?;
    let InPath((stage, owner)) = named.map_err(|_| Refusal::missing("stage"))?;
    let stage = existing(&served, stage.parse().ok()).await?;
    require(&token, Scope::ChangeOwners, &stage)?;
    let adds = request.method() == Method::PUT;
    if let (true, Some(file)) = (adds, &served.tokens) {
        check_known(file, &owner)?;
    }
    let shared = Arc::clone(&served);
    let work = async move {
        let next = |owners: Option<&Owners>| changed_owners(&token, &stage, (&owner, adds), owners);
        shared.registry.owners().change(&stage, next).await
    };
    let (_, changed) = served.change(work).await?;
    Ok(json(StatusCode::OK, &Changed { changed }))
}

/// Returns the owners that a stage has after one was added or removed; `None` where that changes nothing.
fn changed_owners(
    token: &Token,
    stage: &StageName,
    (owner, adds): (&str, bool),
    owners: Option<&Owners>,
) -> Result<Option<Owners>, Refusal> {
    require_owner(token, owners, stage)?;
    let mut next = owners.cloned().unwrap_or_default();
    let changes = if adds { next.insert(owner.to_owned()) } else { next.remove(owner) };
    match (changes, next.is_empty()) {
        (false, _) => Ok(None),
        (true, true) => {
            let what = format!("{owner} is the only owner of stage `{stage}`: add another one first");
            Err(Refusal::new(StatusCode::CONFLICT, what))
        }
        (true, false) => Ok(Some(next)),
    }
}

/// Returns a stage that the registry has.
async fn existing(served: &Served, stage: Option<StageName>) -> Result<StageName, Refusal> {
    let stage = stage.ok_or_else(|| Refusal::missing("stage"))?;
    match served.registry.registry.versions(&stage).await?.versions.is_empty() {
        true => Err(Refusal::missing("stage")),
        false => Ok(stage),
    }
}

/// Checks that a token is of this name: nobody could ever publish in the name of one that is mistyped.
fn check_known(tokens: &Path, owner: &str) -> Result<(), Refusal> {
    let tokens = registry_tokens::read(tokens).map_err(|error| Refusal::internal(&error))?;
    match tokens.iter().any(|token| token.name == owner) {
        true => Ok(()),
        false => {
            let what = "nobody of that name has a token for this registry";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, what))
        }
    }
}
