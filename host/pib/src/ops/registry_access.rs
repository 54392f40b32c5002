//! What the requests to a registry's server share: the registry, and who may change what in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Path as InPath;
use axum::extract::rejection::PathRejection;
use http::{HeaderMap, StatusCode, header};
use pib_event::Reporter;
use pib_plan::id::StageName;
use tokio::sync::Semaphore;

use super::registry_answer::Refusal;
use super::registry_catalogue::KeptCatalogue;
use super::registry_tokens::{self, Scope, Token};
use super::served_registry::ServedRegistry;
use crate::source::registry_owners::Owners;

/// What all requests share.
pub(super) struct Served {
    /// The registry.
    pub(super) registry: ServedRegistry,
    /// Its stages, as the pages list them.
    pub(super) catalogue: KeptCatalogue,
    /// The file of tokens.
    pub(super) tokens: Option<PathBuf>,
    /// Taken while a publication is judged.
    pub(super) publications: Semaphore,
    /// Shows the server's own faults to the person who runs it.
    pub(super) reporter: Arc<dyn Reporter>,
}

/// What a path names.
pub(super) type Named<T> = Result<InPath<T>, PathRejection>;

/// Returns the token that a request bears.
pub(super) fn bearer(served: &Served, headers: &HeaderMap) -> Result<Token, Refusal> {
    let unknown = |why: &str| Refusal::new(StatusCode::UNAUTHORIZED, why);
    let Some(file) = &served.tokens else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "nothing can be published here: the server has no tokens",
        ));
    };
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = text.and_then(|text| text.strip_prefix("Bearer "));
    let secret = secret.ok_or_else(|| unknown("this takes a token, and none was sent"))?;
    let found = registry_tokens::find(file, secret, SystemTime::now());
    let found = found.map_err(|error| Refusal::internal(&error))?;
    found.ok_or_else(|| unknown("the registry does not know this token, or the token has expired"))
}

/// Checks that a token allows something to be done to a stage.
pub(super) fn require(token: &Token, scope: Scope, stage: &StageName) -> Result<(), Refusal> {
    match token.allows(scope, stage) {
        true => Ok(()),
        false => {
            let what = format!("the token does not allow `{}` for stage `{stage}`", scope.name());
            Err(Refusal::new(StatusCode::FORBIDDEN, what))
        }
    }
}

/// Checks that the owners of a stage, where it has any, are the token's bearer and others.
pub(super) fn require_owner(
    token: &Token,
    owners: Option<&Owners>,
    stage: &StageName,
) -> Result<(), Refusal> {
    match owners {
        Some(owners) if !owners.contains(&token.name) => {
            let names = owners.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = format!("stage `{stage}` belongs to {names}, and the token is of {}", token.name);
            Err(Refusal::new(StatusCode::FORBIDDEN, what))
        }
        _ => Ok(()),
    }
}
