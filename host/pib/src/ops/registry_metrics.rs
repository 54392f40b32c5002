//! What a registry's server counts, in the text format of Prometheus.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::registry_files::respond;
use super::registry_limits::Limit;
use crate::project::Error;

/// The upper ends of the histogram's buckets, in seconds: files take milliseconds, large archives minutes.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// The format's name, as servers are to send it.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    sent: IntCounterVec,
    received: IntCounter,
    publishes: IntCounterVec,
    limited: IntCounterVec,
    /// The connections that are open.
    pub(super) connections: IntGauge,
}

/// An answer to a request.
pub(super) struct Answered<'a> {
    /// The request's method.
    pub(super) method: &'a str,
    /// The pattern of its path.
    pub(super) route: &'a str,
    /// The answer's status, or 499 where the connection ended before there was an answer.
    pub(super) status: u16,
    /// The size of the answer's body.
    pub(super) sent: u64,
    /// What was read of the request's body.
    pub(super) received: u64,
    /// How long it took.
    pub(super) took: Duration,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy)]
pub(super) enum PublishResult {
    /// The registry has the version now.
    New,
    /// It had the version already.
    Unchanged,
    /// Something speaks against the version or its publisher.
    Refused,
    /// Something is wrong on the server.
    Failed,
}

impl PublishResult {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Returns counters that stand at zero.
    ///
    /// # Errors
    /// When two have one name.
    pub(super) fn new() -> Result<Self, Error> {
        Self::made().map_err(|error| Error::io("count requests", "", std::io::Error::other(error)))
    }

    fn made() -> Result<Self, prometheus::Error> {
        let name = |name: &str| format!("pib_registry_{name}");
        let counters =
            |what: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name(what), help), labels);
        let seconds = HistogramOpts::new(name("request_duration_seconds"), "How long requests take.");
        let metrics = Self {
            registry: Registry::new(),
            requests: counters("requests_total", "Requests.", &["method", "route", "status"])?,
            seconds: HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["route"])?,
            sent: counters("sent_bytes_total", "Bytes of answers, without their heads.", &["route"])?,
            received: IntCounter::new(name("received_bytes_total"), "Bytes of archives that were received.")?,
            publishes: counters("publishes_total", "Publishes, and what became of them.", &["result"])?,
            limited: counters("limited_total", "Requests that a limit turned away.", &["limit"])?,
            connections: IntGauge::new(name("connections"), "Connections that are open.")?,
        };
        // What never happened is zero, not unknown.
        for result in
            [PublishResult::New, PublishResult::Unchanged, PublishResult::Refused, PublishResult::Failed]
        {
            metrics.publishes.with_label_values(&[result.name()]);
        }
        for limit in [Limit::Token, Limit::Address, Limit::Failures] {
            metrics.limited.with_label_values(&[limit.name()]);
        }
        metrics.registry.register(Box::new(metrics.requests.clone()))?;
        metrics.registry.register(Box::new(metrics.seconds.clone()))?;
        metrics.registry.register(Box::new(metrics.sent.clone()))?;
        metrics.registry.register(Box::new(metrics.received.clone()))?;
        metrics.registry.register(Box::new(metrics.publishes.clone()))?;
        metrics.registry.register(Box::new(metrics.limited.clone()))?;
        metrics.registry.register(Box::new(metrics.connections.clone()))?;
        Ok(metrics)
    }

    /// Counts a request that has ended.
    pub(super) fn answered(&self, answered: &Answered<'_>) {
        let Answered { method, route, status, sent, received, took } = answered;
        // Who asks chooses the method: a few are known, so that nobody can fill the memory with others.
        let method = match *method {
            known @ ("GET" | "HEAD" | "PUT" | "DELETE" | "POST" | "OPTIONS") => known,
            _ => "other",
        };
        self.requests.with_label_values(&[method, *route, status.to_string().as_str()]).inc();
        self.seconds.with_label_values(&[*route]).observe(took.as_secs_f64());
        self.sent.with_label_values(&[*route]).inc_by(*sent);
        self.received.inc_by(*received);
    }

    /// Counts a publish.
    pub(super) fn published(&self, result: PublishResult) {
        self.publishes.with_label_values(&[result.name()]).inc();
    }

    /// Counts a request that a limit turned away.
    pub(super) fn limited(&self, limit: Limit) {
        self.limited.with_label_values(&[limit.name()]).inc();
    }

    /// Returns the page that Prometheus reads.
    ///
    /// # Errors
    /// When the counters cannot be written.
    pub(super) fn page(&self) -> Result<Response, prometheus::Error> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        Ok(respond(StatusCode::OK, FORMAT, text))
    }
}
