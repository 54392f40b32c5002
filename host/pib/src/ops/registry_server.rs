//! Serves a registry: its files, an interface to publish by, and pages for people.
//!
//! Files are sent as they are, with an `ETag`; archives never change, and may be kept for ever. Who may publish is decided by a file of
//! tokens (`registry_tokens`). A version is judged as `pib publish` judges it for a folder, and added under the folder's lock, so that
//! several servers, and people at the folder itself, may share one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use pib_event::Event;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::registry_access::Served;
use super::registry_answer::Causes;
use super::registry_catalogue::KeptCatalogue;
use super::registry_limits::Limiter;
pub use super::registry_limits::RateLimits;
pub use super::registry_log::AccessLog;
use super::registry_metrics::Metrics;
use super::registry_upload::Uploads;
use super::registry_watch::limit;
use super::served_registry::ServedRegistry;
use super::{registry_connections, registry_routes};
use crate::project::{Error, Session};

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
    /// How often clients may ask for changes.
    pub limits: RateLimits,
    /// Whether a proxy says in a header where requests come from.
    pub behind_proxy: bool,
    /// The access log.
    pub log: Option<AccessLog>,
    /// How long requests may go on when the server ends.
    pub grace: Duration,
}

/// Serves until `stopped` is ready; `started` is told the address.
///
/// # Errors
/// When there is no registry, or the address cannot be listened at.
pub async fn serve(
    session: &Session,
    options: &ServeOptions,
    started: impl FnOnce(SocketAddr) -> Result<(), Error>,
    stopped: impl Future<Output = ()>,
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
        uploads: Uploads::default(),
        limiter: Limiter::new(options.limits),
        behind_proxy: options.behind_proxy,
        metrics: Metrics::new()?,
        log: options.log.clone(),
        tasks: TaskTracker::new(),
        reporter: session.reporter.clone(),
    });
    let address = options.listen.to_string();
    let fail = |error| Error::io("listen at", Path::new(&address), error);
    let listener = TcpListener::bind(options.listen).await.map_err(fail)?;
    started(listener.local_addr().map_err(fail)?)?;
    let renewal = tokio::spawn(renew(Arc::clone(&served)));
    let router = registry_routes::router()
        .layer(from_fn_with_state(Arc::clone(&served), limit))
        .with_state(Arc::clone(&served));
    registry_connections::take(listener, (&served, router), options.grace, stopped).await;
    renewal.abort();
    if let Some(log) = &options.log {
        log.flush().await;
    }
    Ok(())
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
