//! The connections of a registry's server: each bounded, and ended in order when the server ends.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pib_event::ReporterExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::registry_access::Served;
use super::registry_caller::Peer;
use super::registry_watch::observe;

/// How long a client may take for the head of a request, or be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(30);
/// How many connections there are at most; more wait.
const CONNECTIONS: usize = 16_384;

/// Takes connections until `stopped` is ready. Requests that have begun by then go on for `grace`, and changes to the registry to
/// their end.
pub(super) async fn take(
    listener: TcpListener,
    (served, router): (&Arc<Served>, Router),
    grace: Duration,
    stopped: impl Future<Output = ()>,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let stop = CancellationToken::new();
    let mut stopped = pin!(stopped);
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut stopped => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // A client that is gone already, or no file handle that is free: others go on meanwhile.
            Err(error) => {
                served.reporter.note(format!("a connection failed: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let router = router.clone();
        let connection = Connection { served: Arc::clone(served), router, peer: Peer(address.ip()), grace };
        let (shared, stop) = (Arc::clone(served), stop.clone());
        served.tasks.spawn(async move {
            shared.metrics.connections.inc();
            connection.serve(stream, &stop).await;
            shared.metrics.connections.dec();
            drop(permit);
        });
    }
    // Who connects from now on is refused.
    drop(listener);
    stop.cancel();
    served.tasks.close();
    served.tasks.wait().await;
}

struct Connection {
    served: Arc<Served>,
    router: Router,
    peer: Peer,
    grace: Duration,
}

impl Connection {
    /// Serves a connection until its client ends it, or the server does.
    async fn serve(self, stream: TcpStream, stop: &CancellationToken) {
        let Self { served, router, peer, grace } = self;
        let has_asked = AtomicBool::new(false);
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            observe(&served, router.clone(), request.map(Body::new))
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALL));
        let mut http = hyper::server::conn::http1::Builder::new();
        let http = http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::select! {
            // A client that breaks off is no fault of the server's.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => {}
        }
        // Who has asked for nothing yet waits for nothing.
        if has_asked.load(Ordering::Relaxed) {
            connection.as_mut().graceful_shutdown();
            _ = tokio::time::timeout(grace, connection).await;
        }
    }
}
