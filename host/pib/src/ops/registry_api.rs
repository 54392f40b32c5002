//! The interface of a registry's server that programs use: publishing, yanking, and whose a token is.
//!
//! `host/docs/registry-api.openapi.json` describes it.

use std::sync::Arc;

use axum::extract::{Path as InPath, Request, State};
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use pib_plan::id::StageName;
use pib_plan::publisher::{PublisherError, PublisherSignature};
use semver::Version;

use super::publish::{Allowed, judge};
use super::publish_server::{Bearer, Changed};
use super::registry_access::{Named, Served, bearer, require, require_owner};
use super::registry_answer::{Refusal, json, parameter};
use super::registry_caller::Caller;
use super::registry_files::respond;
use super::registry_metrics::PublishResult;
use super::registry_ownership;
use super::registry_tokens::{Scope, Token};
use super::registry_upload::Upload;
use crate::source::archive;
use crate::source::registry_list::StageList;
use crate::source::{SourceError, registry_audit, registry_folder, registry_publisher};

/// The description of the interface.
const DESCRIPTION: &str = include_str!("../../../docs/registry-api.openapi.json");

/// `GET health`.
pub(super) async fn health() -> Response {
    respond(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// `GET metrics`.
pub(super) async fn metrics(State(served): State<Arc<Served>>) -> Result<Response, Refusal> {
    served.metrics.page().map_err(|error| Refusal::internal(&error))
}

/// `GET openapi.json`.
pub(super) async fn description() -> Response {
    respond(StatusCode::OK, "application/json", DESCRIPTION)
}

/// Returns what a publisher allows by the parameter `allow`: words between commas.
fn allowed(request: &Request) -> Result<Allowed, Refusal> {
    let mut allowed = Allowed { dirty: true, ..Allowed::default() };
    let words = parameter(request.uri(), "allow").unwrap_or_default();
    for word in words.split(',').filter(|_| !words.is_empty()) {
        match word {
            "breaking" => allowed.breaking = true,
            "similar" => allowed.similar = true,
            "incomplete" => allowed.incomplete = true,
            _ => {
                let what = "`allow` takes `breaking`, `similar` and `incomplete`, with commas between them";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
            }
        }
    }
    Ok(allowed)
}

/// `GET stages`: the stages that a search finds.
pub(super) async fn stages(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let wanted = parameter(request.uri(), "q").unwrap_or_default();
    let catalogue = served.catalogue.get(&served.registry.registry).await?;
    let found = catalogue.search(&wanted).into_iter().cloned();
    Ok(json(StatusCode::OK, &StageList { stages: found.collect() }))
}

/// `PUT stages`: the body is an archive.
pub(super) async fn publish(
    State(served): State<Arc<Served>>,
    request: Request,
) -> Result<Response, Refusal> {
    let count = |result: &Result<bool, Refusal>| match result {
        Ok(true) => PublishResult::New,
        Ok(false) => PublishResult::Unchanged,
        Err(refusal) if refusal.status.is_server_error() => PublishResult::Failed,
        Err(_) => PublishResult::Refused,
    };
    let received = match receive(&served, request).await {
        Ok(received) => received,
        Err(refusal) => {
            let result = Err(refusal);
            served.metrics.published(count(&result));
            return result.map(|changed| json(StatusCode::OK, &Changed { changed }));
        }
    };
    let shared = Arc::clone(&served);
    let work = async move {
        let busy = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
        let _permit = shared.publications.acquire().await.map_err(busy)?;
        let added = add(&shared, &received).await;
        shared.metrics.published(count(&added));
        added
    };
    let changed = served.change(work).await?;
    Ok(json(StatusCode::OK, &Changed { changed }))
}

/// What somebody sends who publishes.
struct Received {
    token: Token,
    allowed: Allowed,
    publisher: Option<PublisherSignature>,
    upload: Upload,
}

/// Receives an archive from somebody who has a token.
async fn receive(served: &Served, request: Request) -> Result<Received, Refusal> {
    let token = bearer(served, &request)?;
    let allowed = allowed(&request)?;
    let publisher = parameter(request.uri(), "publisher").map(|text| text.parse()).transpose();
    let publisher = publisher.map_err(|error: PublisherError| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("`publisher`: {error}"))
    })?;
    let caller = Caller::of(&request);
    let upload = served.uploads.receive(request, &caller).await?;
    Ok(Received { token, allowed, publisher, upload })
}

/// Judges an archive and adds it to the registry; returns whether it is new there.
async fn add(served: &Served, received: &Received) -> Result<bool, Refusal> {
    let Received { token, allowed, publisher, upload } = received;
    let body = upload.bytes.clone();
    let opened = tokio::task::spawn_blocking(move || archive::open(&body, "the stage"));
    let (folder, package) = opened.await.map_err(|error| Refusal::internal(&error))??;
    let registry = &served.registry.registry;
    let folders = [folder.path().to_owned()];
    // Where it was unpacked is nobody's business.
    let shown = folder.path().display().to_string();
    let hide = |error: SourceError| {
        let mut refusal = Refusal::from(error);
        refusal.denial.error = refusal.denial.error.replace(&shown, "its folder");
        refusal
    };
    let mut candidates = registry_folder::candidates(&folders, registry).await.map_err(hide)?;
    let is_new = candidates.iter().any(|candidate| candidate.is_new_name);
    require(token, if is_new { Scope::PublishNew } else { Scope::PublishUpdate }, &package.name)?;
    let owners = served.registry.owners().read(&package.name).await.map_err(hide)?;
    require_owner(token, owners.as_ref(), &package.name)?;
    let names = registry.all_names().await.map_err(hide)?.unwrap_or_default();
    let (_, mut problems) = judge(&candidates, &names, *allowed);
    for candidate in &mut candidates {
        candidate.packed.entry.publisher = *publisher;
        if !registry_publisher::is_signed(&candidate.packed.entry) {
            problems
                .push("its publisher's signature is not one of this stage, version and content".to_owned());
        }
    }
    if !problems.is_empty() {
        return Err(Refusal::unfit(problems));
    }
    let Some(candidate) = candidates.pop() else { return Ok(false) };
    if is_new {
        registry_ownership::claim(served, token, &package.name).await?;
    }
    let added = served.registry.publish(candidate.packed).await.map_err(hide);
    served.catalogue.forget().await;
    added
}

/// `PUT` and `DELETE stages/NAME/VERSION/yank`.
pub(super) async fn yank(
    State(served): State<Arc<Served>>,
    named: Named<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let token = bearer(&served, &request)?;
    let InPath((name, version)) = named.map_err(|_| Refusal::missing("stage"))?;
    let name: StageName = name.parse().map_err(|_| Refusal::missing("stage"))?;
    let version: Version = version.parse().map_err(|_| Refusal::missing("version"))?;
    require(&token, Scope::Yank, &name)?;
    require_owner(&token, served.registry.owners().read(&name).await?.as_ref(), &name)?;
    let yanked = request.method() == Method::PUT;
    let reason = parameter(request.uri(), "reason").filter(|_| yanked);
    if reason.as_deref().is_some_and(|reason| !registry_audit::is_reason(reason)) {
        let what = format!("a reason is one line of at most {} characters", registry_audit::MAX_REASON);
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, what));
    }
    let shared = Arc::clone(&served);
    let work = async move {
        let changed = shared.registry.yank(name, version, yanked, reason).await?;
        shared.catalogue.forget().await;
        Ok::<_, Refusal>(changed)
    };
    let changed = served.change(work).await?;
    Ok(json(StatusCode::OK, &Changed { changed }))
}

/// `GET me`: whose the token is.
pub(super) async fn me(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let token = bearer(&served, &request)?;
    let Token { name, digest: _, scopes, stages, expires } = token;
    let mut response = json(StatusCode::OK, &Bearer { name, scopes, stages, expires });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
