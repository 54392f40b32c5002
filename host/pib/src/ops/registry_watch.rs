//! What happens around every request to a registry's server: it is counted and logged, and turned away where there are too many.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, Uri, header};
use pib_event::Event;
use pib_plan::moment::Moment;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tower_service::Service as _;

use super::registry_access::Served;
use super::registry_answer::Fault;
use super::registry_caller::Caller;
use super::registry_limits::Limit;
use super::registry_log::{LoggedRequest, loggable};
use super::registry_metrics::Answered;

/// What stands for the addresses that the server does not have, and for that of a request that nobody has looked at.
const NO_ROUTE: &str = "none";

/// What stands in the log and in the counters for the status of a request that was not answered, since its client, or the server's end,
/// closed the connection before; nginx writes the same. No answer has it.
const ABANDONED: u16 = 499;

/// Has a router answer a request, counts and logs it, and tells the person who runs the server what is wrong with it. A request counts
/// from this call on, also where nobody ever waits for what is returned.
pub(super) fn observe(
    served: &Arc<Served>,
    mut router: Router,
    mut request: Request,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    let caller = Arc::new(Caller::new(&request, served.behind_proxy));
    request.extensions_mut().insert(Arc::clone(&caller));
    let mut observed = Observed {
        method: request.method().clone(),
        uri: request.uri().clone(),
        agent: request.headers().get(header::USER_AGENT).cloned(),
        since: Instant::now(),
        is_answered: false,
        served: Arc::clone(served),
        caller,
    };
    // A router is always ready.
    let answer = router.call(request);
    async move {
        let response = answer.await?;
        if let Some(Fault(what)) = response.extensions().get() {
            let message = format!("a request failed: {what}");
            observed.served.reporter.report(Event::Warning { message });
        }
        observed.is_answered = true;
        let sent = response.body().size_hint().exact().unwrap_or_default();
        if let Some(logged) = observed.end(response.status().as_u16(), sent) {
            _ = logged.await;
        }
        Ok(response)
    }
}

/// A request. It is dropped without an answer where its client does not wait for one.
struct Observed {
    served: Arc<Served>,
    caller: Arc<Caller>,
    method: Method,
    uri: Uri,
    agent: Option<HeaderValue>,
    since: Instant,
    is_answered: bool,
}

impl Observed {
    /// Counts and logs the request; what is returned ends once its line is on the way to the log, whatever becomes of the connection.
    fn end(&self, status: u16, sent: u64) -> Option<JoinHandle<()>> {
        let Self { served, caller, .. } = self;
        let answered = Answered {
            method: self.method.as_str(),
            route: caller.route.get().map_or(NO_ROUTE, MatchedPath::as_str),
            status,
            sent,
            received: caller.received(),
            took: self.since.elapsed(),
        };
        served.metrics.answered(&answered);
        let log = served.log.as_ref()?;
        let path = percent_encoding::percent_decode_str(self.uri.path()).decode_utf8_lossy();
        let line = LoggedRequest {
            time: now(),
            address: caller.address.to_string(),
            user: caller.user.get().map(String::as_str),
            method: loggable(answered.method),
            path: loggable(&path),
            status,
            received: answered.received,
            sent,
            seconds: answered.took.as_secs_f64(),
            agent: self.agent.as_ref().and_then(|agent| agent.to_str().ok()).map(loggable),
        };
        // A runtime that is being taken down runs nothing any more.
        let runtime = Handle::try_current().ok()?;
        Some(served.tasks.spawn_on(log.add(&line), &runtime))
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.is_answered {
            self.end(ABANDONED, 0);
        }
    }
}

/// Notes which of the server's addresses a request is for, and turns changes away from an address that asks for too many.
pub(super) async fn limit(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let caller = Caller::of(&request);
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        _ = caller.route.set(route.clone());
    }
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    match is_change.then(|| served.limiter.from(caller.address)).flatten() {
        Some(wait) => served.too_many(Limit::Address, wait).into_response(),
        None => next.run(request).await,
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)).to_string()
}
