//! What a registry's server sends to people: its pages, what these are made with, and the registry's files.

use std::sync::Arc;

use axum::extract::{Path as InPath, Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pib_plan::id::StageName;

use super::registry_access::{Named, Served};
use super::registry_answer::{Refusal, parameter};
use super::registry_catalogue::newest;
use super::registry_files::{FileKind, file_kind, respond, send_file};
use super::registry_pages::{self, Pages, StagePage};

/// What pages of a server may do, beside what all pages may.
const POLICY: &str = "frame-ancestors 'none'";

/// The most stages that a page passes over.
const MAX_FROM: usize = 1_000_000;

/// Sends a file of the registry.
pub(super) async fn file(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let missing = || Refusal::missing("file");
    let path =
        percent_encoding::percent_decode_str(request.uri().path().trim_start_matches('/')).decode_utf8();
    let path = path.map_err(|_| missing())?.into_owned();
    let kind = file_kind(&path).ok_or_else(missing)?;
    let bytes = served.registry.read(path).await?.ok_or_else(missing)?;
    Ok(send_file(request.headers(), bytes, kind))
}

/// Answers where there is nothing.
pub(super) async fn nothing() -> Refusal {
    Refusal::missing("file")
}

/// Answers where there is something, and not by this method.
pub(super) async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
}

/// Sends one of the files that pages are made with.
pub(super) async fn asset(name: Named<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let InPath(name) = name.map_err(|_| Refusal::missing("file"))?;
    let found = registry_pages::ASSETS.iter().find(|asset| asset.name == name);
    let asset = found.ok_or_else(|| Refusal::missing("file"))?;
    Ok(send_file(&headers, asset.text.into(), FileKind { mime: asset.mime, never_changes: false }))
}

/// Sends the feed of the whole registry.
pub(super) async fn feed(State(served): State<Arc<Served>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let catalogue = served.catalogue.get(&served.registry.registry).await?;
    Ok(send_feed(&headers, &registry_pages::feed(&catalogue.history, Pages::Served)))
}

/// Sends the feed of one stage.
pub(super) async fn stage_feed(
    State(served): State<Arc<Served>>,
    file: Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let missing = || Refusal::missing("feed");
    let InPath(file) = file.map_err(|_| missing())?;
    let name: StageName =
        file.strip_suffix(".atom").and_then(|name| name.parse().ok()).ok_or_else(missing)?;
    let versions = served.registry.registry.versions(&name).await?;
    match versions.versions.is_empty() {
        true => Err(missing()),
        false => Ok(send_feed(&headers, &registry_pages::stage_feed(&name, &versions, Pages::Served))),
    }
}

fn send_feed(headers: &HeaderMap, text: &str) -> Response {
    const FEED: FileKind = FileKind { mime: "application/atom+xml", never_changes: false };
    send_file(headers, text.into(), FEED)
}

/// The list of all stages, or of those that a search finds.
pub(super) async fn registry_page(
    State(served): State<Arc<Served>>,
    request: Request,
) -> Result<Response, Refusal> {
    let wanted = parameter(request.uri(), "q").unwrap_or_default();
    let from = parameter(request.uri(), "from").unwrap_or("0".to_owned());
    let from = from.parse().ok().filter(|from| *from <= MAX_FROM);
    let from = from.ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("`from` is a number from 0 to {MAX_FROM}"))
    })?;
    let catalogue = served.catalogue.get(&served.registry.registry).await?;
    Ok(page(StatusCode::OK, registry_pages::list(&catalogue, &wanted, from, Pages::Served)))
}

/// The page of one stage.
pub(super) async fn stage_page(
    State(served): State<Arc<Served>>,
    name: Named<String>,
) -> Result<Response, Refusal> {
    let missing = || page(StatusCode::NOT_FOUND, registry_pages::missing());
    let Some(name) = name.ok().and_then(|InPath(name)| name.parse::<StageName>().ok()) else {
        return Ok(missing());
    };
    let registry = &served.registry.registry;
    let versions = registry.versions(&name).await?;
    let Some(entry) = newest(&versions) else { return Ok(missing()) };
    let archive = registry.archive(&entry).await?;
    let readme = tokio::task::spawn_blocking(move || registry_pages::readme(&archive));
    let readme = readme.await.map_err(|error| Refusal::internal(&error))?;
    let catalogue = served.catalogue.get(registry).await?;
    let (entry, file, readme) = (&entry, &versions, readme.as_deref());
    let stage = StagePage { entry, file, readme, catalogue: &catalogue, pages: Pages::Served };
    Ok(page(StatusCode::OK, stage.to_html()))
}

fn page(status: StatusCode, html: String) -> Response {
    let mut response = respond(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    let policy = format!("{}; {POLICY}", registry_pages::POLICY);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
