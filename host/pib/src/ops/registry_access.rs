//! What the requests to a registry's server share: the registry, and who may change what in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path as InPath, Request};
use http::{Method, StatusCode, header};
use pib_event::Reporter;
use pib_plan::id::StageName;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::registry_answer::Refusal;
use super::registry_caller::Caller;
use super::registry_catalogue::KeptCatalogue;
use super::registry_limits::{Limit, Limiter};
use super::registry_log::AccessLog;
use super::registry_metrics::Metrics;
use super::registry_tokens::{self, Scope, Token};
use super::registry_upload::Uploads;
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
    /// Taken while an archive is received.
    pub(super) uploads: Uploads,
    /// How often clients may ask for changes.
    pub(super) limiter: Limiter,
    /// Whether a proxy says where requests come from.
    pub(super) behind_proxy: bool,
    /// What is counted.
    pub(super) metrics: Metrics,
    /// The access log.
    pub(super) log: Option<AccessLog>,
    /// What the server waits for before it ends: connections, and changes to the registry.
    pub(super) tasks: TaskTracker,
    /// Shows the server's own faults to the person who runs it.
    pub(super) reporter: Arc<dyn Reporter>,
}

impl Served {
    /// Makes a change to the registry to its end, also where the client breaks off and where the server is ending.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.tasks.spawn(work).await.map_err(|error| Refusal::internal(&error))?
    }

    /// Returns the refusal of a request that a limit turns away.
    pub(super) fn too_many(&self, limit: Limit, wait: Duration) -> Refusal {
        self.metrics.limited(limit);
        let what = match limit {
            Limit::Token => "too many changes with this token",
            Limit::Address => "too many changes from your address",
            Limit::Failures => "too many unknown tokens from your address",
        };
        Refusal::later(StatusCode::TOO_MANY_REQUESTS, what, wait)
    }
}

/// What a path names.
pub(super) type Named<T> = Result<InPath<T>, PathRejection>;

/// Returns the token that a request bears.
pub(super) fn bearer(served: &Served, request: &Request) -> Result<Token, Refusal> {
    let unknown = |why: &str| Refusal::new(StatusCode::UNAUTHORIZED, why);
    let Some(file) = &served.tokens else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "nothing can be published here: the server has no tokens",
        ));
    };
    let caller = Caller::of(request);
    if let Some(wait) = served.limiter.is_shut(caller.address) {
        return Err(served.too_many(Limit::Failures, wait));
    }
    let text = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = text.and_then(|text| text.strip_prefix("Bearer "));
    let secret = secret.ok_or_else(|| unknown("this takes a token, and none was sent"))?;
    let found = registry_tokens::find(file, secret, SystemTime::now());
    let found = found.map_err(|error| Refusal::internal(&error))?;
    let Some(token) = found else {
        served.limiter.failed(caller.address);
        return Err(unknown("the registry does not know this token, or the token has expired"));
    };
    _ = caller.user.set(token.name.clone());
    let wait = if request.method() == Method::GET { None } else { served.limiter.with(&token.digest) };
    match wait {
        Some(wait) => Err(served.too_many(Limit::Token, wait)),
        None => Ok(token),
    }
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
