//! Serves a registry: its files, an interface to publish by, and pages for people.
//!
//! Files are sent as they are, with an `ETag`; archives never change, and may be kept for ever. Who may publish is decided by a file of
//! tokens (`registry_tokens`). A version is judged as `pib publish` judges it for a folder, and added under the folder's lock, so that
//! several servers, and people at the folder itself, may share one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::map_response_with_state;
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pib_event::{Event, ReporterExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::registry_access::Served;
use super::registry_answer::{Causes, Fault};
use super::registry_catalogue::KeptCatalogue;
use super::registry_routes;
use super::served_registry::ServedRegistry;
use crate::project::{Error, Session};

/// How long a client may take for the head of a request, or be idle.
const HEAD: Duration = Duration::from_secs(30);
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

/// Serves until it is ended from outside; `started` is told the address.
///
/// # Errors
/// When there is no registry, or the address cannot be listened at.
pub async fn serve(
    session: &Session,
    options: &ServeOptions,
    started: impl FnOnce(SocketAddr) -> Result<(), Error>,
) -> Result<(), Error> {
    // Without tokens nobody publishes.
    let is_read_only = options.tokens.is_none();
    let key = options.key.as_deref();
    let registry = ServedRegistry::open(session, &options.registry, key, is_read_only).await?;
    let tokens = options.tokens.as_ref().map(|path| session.cwd.join(path));
    let served = Arc::new(Served {
        registry,
        catalogue: KeptCatalogue::default(),
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
    registry_routes::router()
        .layer(map_response_with_state(Arc::clone(&served), tell_fault))
        .with_state(served)
}

/// Tells the person who runs the server what is wrong with it.
async fn tell_fault(State(served): State<Arc<Served>>, response: Response) -> Response {
    if let Some(Fault(what)) = response.extensions().get() {
        served.reporter.report(Event::Warning { message: format!("a request failed: {what}") });
    }
    response
}
