//! What happens around every request to a registry's server: it is counted and logged, and turned away where there are too many.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, header};
use pib_event::Event;
use pib_plan::moment::Moment;

use super::registry_access::Served;
use super::registry_answer::Fault;
use super::registry_caller::Caller;
use super::registry_limits::Limit;
use super::registry_log::{LoggedRequest, loggable};
use super::registry_metrics::Answered;

/// What stands for the addresses that the server does not have.
const NO_ROUTE: &str = "none";

/// Counts and logs a request, and tells the person who runs the server what is wrong with it.
pub(super) async fn observe(State(served): State<Arc<Served>>, mut request: Request, next: Next) -> Response {
    let since = Instant::now();
    let caller = Arc::new(Caller::new(&request, served.behind_proxy));
    request.extensions_mut().insert(Arc::clone(&caller));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let agent = request.headers().get(header::USER_AGENT).cloned();

    let response = next.run(request).await;

    if let Some(Fault(what)) = response.extensions().get() {
        served.reporter.report(Event::Warning { message: format!("a request failed: {what}") });
    }
    let answered = Answered {
        method: method.as_str(),
        route,
        status: response.status(),
        sent: response.body().size_hint().exact().unwrap_or_default(),
        received: caller.received(),
        took: since.elapsed(),
    };
    served.metrics.answered(&answered);
    if let Some(log) = &served.log {
        let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8_lossy();
        let line = LoggedRequest {
            time: now(),
            address: caller.address.to_string(),
            user: caller.user.get().map(String::as_str),
            method: loggable(answered.method),
            path: loggable(&path),
            status: answered.status.as_u16(),
            received: answered.received,
            sent: answered.sent,
            seconds: answered.took.as_secs_f64(),
            agent: agent.as_ref().and_then(|agent| agent.to_str().ok()).map(loggable),
        };
        log.add(&line).await;
    }
    response
}

/// Turns changes away from an address that asks for too many.
pub(super) async fn limit(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let address = Caller::of(&request).address;
    match is_change.then(|| served.limiter.from(address)).flatten() {
        Some(wait) => served.too_many(Limit::Address, wait).into_response(),
        None => next.run(request).await,
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)).to_string()
}
