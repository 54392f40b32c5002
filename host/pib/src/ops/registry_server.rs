//! Serves a registry: its files, an interface to publish by, and pages for people.
//!
//! Files are sent as they are, with an `ETag`; archives never change, and may be kept for ever. Who may publish is decided by a file of
//! tokens (`registry_tokens`). A version is judged as `pib publish` judges it for a folder, and added under the folder's lock, so that
//! several servers, and people at the folder itself, may share one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as InPath, Request, State};
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::routing::{get, put};
use http::{HeaderMap, Method, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pib_event::{Event, Reporter, ReporterExt as _};
use pib_plan::id::StageName;
use semver::Version;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::publish::{Allowed, judge};
use super::publish_destination::{API, Bearer, Changed, Denial};
use super::registry_files::{is_file, respond, send_file};
use super::registry_pages;
use super::registry_tokens::{self, Scope, Token};
use super::served_registry::ServedRegistry;
use crate::project::{Error, Session};
use crate::source::archive::{self, MAX_ARCHIVE};
use crate::source::{SourceError, registry_folder};

/// How long a client may take for the head of a request, or be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long it may take for an archive.
const UPLOAD: Duration = Duration::from_secs(600);
/// How many connections there are at most; more wait.
const CONNECTIONS: usize = 16_384;
/// How often the server looks whether the registry's snapshot is to be renewed.
const RENEWAL: Duration = Duration::from_secs(600);
/// How many publications are judged at the same time: each may unpack a large archive.
const PUBLICATIONS: usize = 4;

/// What is served, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The registry's folder, or the address of its bucket.
    pub registry: PathBuf,
    /// The address that is listened at; port 0 for a free one.
    pub listen: SocketAddr,
    /// The file of tokens; without one nothing can be published.
    pub tokens: Option<PathBuf>,
    /// The file of the key that signs the registry.
    pub key: Option<PathBuf>,
}

/// What all requests share.
struct Served {
    registry: ServedRegistry,
    tokens: Option<PathBuf>,
    publications: Semaphore,
    reporter: Arc<dyn Reporter>,
}

/// Serves until it is ended from outside; `started` is told the address.
///
/// # Errors
/// When there is no registry, or the address cannot be listened at.
pub async fn serve(
    session: &Session,
    options: &ServeOptions,
    started: impl FnOnce(SocketAddr) -> Result<(), Error>,
) -> Result<(), Error> {
    let registry = ServedRegistry::open(session, &options.registry, options.key.as_deref()).await?;
    let tokens = options.tokens.as_ref().map(|path| session.cwd.join(path));
    let served = Arc::new(Served {
        registry,
        tokens,
        publications: Semaphore::new(PUBLICATIONS),
        reporter: session.reporter.clone(),
    });
    let address = options.listen.to_string();
    let fail = |error| Error::io("listen at", Path::new(&address), error);
    let listener = TcpListener::bind(options.listen).await.map_err(fail)?;
    started(listener.local_addr().map_err(fail)?)?;
    tokio::spawn(renew(Arc::clone(&served)));
    let router = router(served);
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return Ok(()) };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // A client that is gone already, or no file handle that is free: others go on meanwhile.
            Err(error) => {
                session.reporter.note(format!("a connection failed: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            let http = http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // A client that breaks off is no fault of the server's.
            _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

/// Has the snapshot of a signed registry count on, for as long as the server runs.
async fn renew(served: Arc<Served>) {
    loop {
        if let Err(error) = served.registry.renew().await {
            let message = format!("the registry's snapshot could not be renewed: {}", Causes(&error));
            served.reporter.report(Event::Warning { message });
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route(&format!("/{API}/stages"), put(publish))
        .route(&format!("/{API}/stages/{{name}}/{{version}}/yank"), put(yank).delete(yank))
        .route(&format!("/{API}/me"), get(me))
        .route("/health", get(|| async { "ok\n" }))
        .route("/", get(registry_page))
        .route("/stages/{name}", get(stage_page))
        .fallback(file)
        .layer(map_response_with_state(Arc::clone(&served), tell_fault))
        .with_state(served)
}

/// Tells whoever runs the server what is wrong with it.
async fn tell_fault(State(served): State<Arc<Served>>, response: Response) -> Response {
    if let Some(Fault(what)) = response.extensions().get() {
        served.reporter.report(Event::Warning { message: format!("a request failed: {what}") });
    }
    response
}

/// Why a request is refused.
struct Refusal {
    status: StatusCode,
    denial: Denial,
    /// What is wrong on the server: whoever runs it sees that, the client does not.
    fault: Option<Fault>,
}

/// Something that is wrong on the server.
#[derive(Debug, Clone)]
struct Fault(String);

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, denial: Denial { error: error.into(), problems: Vec::new() }, fault: None }
    }

    /// Returns the refusal of a request that the server itself cannot fulfil.
    fn internal(error: &dyn std::fmt::Display) -> Self {
        let refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the registry cannot be used");
        Self { fault: Some(Fault(error.to_string())), ..refusal }
    }
}

/// An error with all that caused it, on one line.
struct Causes<'a>(&'a SourceError);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::AlreadyPublished { name, version, .. } => {
                let what = format!("stage `{name}` {version} is published already, with another content");
                Self::new(StatusCode::CONFLICT, what)
            }
            SourceError::Unyankable { reason, .. } => Self::new(StatusCode::NOT_FOUND, reason.clone()),
            SourceError::Io { .. }
            | SourceError::Objects { .. }
            | SourceError::BadRegistry { .. }
            | SourceError::NoArchive { .. } => Self::internal(&Causes(&error)),
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        }
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.denial);
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(fault);
        }
        response
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    respond(status, "application/json", body)
}

/// Returns the token that a request bears.
fn bearer(served: &Served, headers: &HeaderMap) -> Result<Token, Refusal> {
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

fn require(token: &Token, scope: Scope, stage: &StageName) -> Result<(), Refusal> {
    match token.allows(scope, stage) {
        true => Ok(()),
        false => {
            let what = format!("the token does not allow `{}` for stage `{stage}`", scope.name());
            Err(Refusal::new(StatusCode::FORBIDDEN, what))
        }
    }
}

/// Returns the values of a query's parameter, of which there are several between commas.
fn parameter(request: &http::Uri, name: &str) -> Option<String> {
    let query = url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes());
    query.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `PUT stages`: the body is an archive.
async fn publish(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let token = bearer(&served, request.headers())?;
    let allow = parameter(request.uri(), "allow").unwrap_or_default();
    let has = |name: &str| allow.split(',').any(|word| word == name);
    let allowed = Allowed {
        dirty: true,
        breaking: has("breaking"),
        similar: has("similar"),
        incomplete: has("incomplete"),
    };
    let large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the archive is too large, or was broken off");
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_ARCHIVE) {
        return Err(large());
    }
    let busy = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
    let _permit = served.publications.acquire().await.map_err(busy)?;
    let slow = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the archive came too slowly");
    let body = axum::body::to_bytes(request.into_body(), MAX_ARCHIVE as usize);
    let body = tokio::time::timeout(UPLOAD, body).await.map_err(slow)?;
    let large =
        |_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the archive is too large, or was broken off");
    let body = body.map_err(large)?;
    let changed = add(&served, &token, body, allowed).await?;
    Ok(json(StatusCode::OK, &Changed { changed }))
}

/// Judges an archive and adds it to the registry; returns whether it is new there.
async fn add(served: &Served, token: &Token, body: Bytes, allowed: Allowed) -> Result<bool, Refusal> {
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
    let (_, problems) =
        judge(&candidates, &registry.all_names().await.map_err(hide)?.unwrap_or_default(), allowed);
    if !problems.is_empty() {
        let error = "the stage is not fit to be published".to_owned();
        return Err(Refusal {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            denial: Denial { error, problems },
            fault: None,
        });
    }
    let Some(candidate) = candidates.pop() else { return Ok(false) };
    served.registry.publish(candidate).await.map_err(hide)
}

/// `PUT` and `DELETE stages/NAME/VERSION/yank`.
async fn yank(
    State(served): State<Arc<Served>>,
    InPath((name, version)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let token = bearer(&served, request.headers())?;
    let bad = |what: &str| Refusal::new(StatusCode::NOT_FOUND, format!("there is no {what}"));
    let name: StageName = name.parse().map_err(|_| bad("such stage"))?;
    let version: Version = version.parse().map_err(|_| bad("such version"))?;
    require(&token, Scope::Yank, &name)?;
    let reason = parameter(request.uri(), "reason");
    let yanked = request.method() == Method::PUT;
    let changed = served.registry.yank(name, version, yanked, reason.filter(|_| yanked)).await?;
    Ok(json(StatusCode::OK, &Changed { changed }))
}

/// `GET me`: whose the token is.
async fn me(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let token = bearer(&served, request.headers())?;
    let Token { name, digest: _, scopes, stages, expires } = token;
    Ok(json(StatusCode::OK, &Bearer { name, scopes, stages, expires }))
}

/// Sends a file of the registry.
async fn file(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let missing = || Refusal::new(StatusCode::NOT_FOUND, "there is no such file");
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "files are only read"));
    }
    let path =
        percent_encoding::percent_decode_str(request.uri().path().trim_start_matches('/')).decode_utf8();
    let path = path.map_err(|_| missing())?.into_owned();
    let never_changes = is_file(&path).ok_or_else(missing)?;
    let bytes = served.registry.read(path).await?.ok_or_else(missing)?;
    Ok(send_file(request.headers(), bytes, never_changes))
}

/// The list of all stages, or of those that a search finds.
async fn registry_page(State(served): State<Arc<Served>>, request: Request) -> Result<Response, Refusal> {
    let wanted = parameter(request.uri(), "q").unwrap_or_default();
    let registry = &served.registry.registry;
    let mut newest = Vec::new();
    for name in registry.all_names().await?.unwrap_or_default() {
        newest.extend(registry_pages::newest(&registry.versions(&name).await?));
    }
    Ok(page(registry_pages::list(&newest, &wanted)))
}

/// The page of one stage.
async fn stage_page(
    State(served): State<Arc<Served>>,
    InPath(name): InPath<String>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::new(StatusCode::NOT_FOUND, "there is no such stage");
    let name: StageName = name.parse().map_err(|_| missing())?;
    let registry = &served.registry.registry;
    let versions = registry.versions(&name).await?;
    let entry = registry_pages::newest(&versions).ok_or_else(missing)?;
    let archive = registry.archive(&entry).await?;
    let readme = tokio::task::spawn_blocking(move || registry_pages::readme(&archive));
    let readme = readme.await.map_err(|error| Refusal::internal(&error))?;
    Ok(page(registry_pages::stage(&entry, &versions, readme.as_deref())))
}

fn page(html: String) -> Response {
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", html);
    // Nothing on the page comes from elsewhere, and no script runs, whatever a stage's texts say.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, http::HeaderValue::from_static(policy));
    response
}
