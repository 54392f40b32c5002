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
use super::registry_pages::{self, StagePage};

/// Nothing on a page comes from elsewhere, and no script or style runs but the program's own, whatever a stage's texts say.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

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
    let (text, kind) = match name.as_str() {
        "registry.css" => (include_str!("registry_face/registry.css"), "text/css; charset=utf-8"),
        "registry.js" => (include_str!("registry_face/registry.js"), "text/javascript; charset=utf-8"),
        "icon.svg" => (include_str!("registry_face/icon.svg"), "image/svg+xml"),
        _ => return Err(Refusal::missing("file")),
    };
    Ok(send_file(&headers, text.as_bytes().to_vec(), FileKind { mime: kind, never_changes: false }))
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
    Ok(page(StatusCode::OK, registry_pages::list(&catalogue, &wanted, from)))
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
    let stage =
        StagePage { entry: &entry, file: &versions, readme: readme.as_deref(), catalogue: &catalogue };
    Ok(page(StatusCode::OK, stage.to_html()))
}

fn page(status: StatusCode, html: String) -> Response {
    let mut response = respond(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
