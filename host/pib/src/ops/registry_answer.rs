//! What a registry's server answers beside files and pages: values as JSON, and why a request is refused.

use std::time::Duration;

use axum::response::Response;
use http::{StatusCode, header};
use serde::Serialize;

use super::publish_server::Denial;
use super::registry_files::respond;
use crate::source::SourceError;

/// Why a request is refused.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) denial: Denial,
    /// A fault of the server itself. The person who runs it is told; the client is not.
    fault: Option<Fault>,
    /// After how long the client may ask again.
    wait: Option<Duration>,
}

/// Something that is wrong on the server.
#[derive(Debug, Clone)]
pub(super) struct Fault(pub(super) String);

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, denial: Denial { error: error.into(), problems: Vec::new() }, fault: None, wait: None }
    }

    /// Returns the refusal of a request that may be repeated after a while.
    pub(super) fn later(status: StatusCode, what: &str, wait: Duration) -> Self {
        // In whole seconds, after which there really is room again.
        let seconds = wait.as_secs() + 1;
        let refusal = Self::new(status, format!("{what}; try again in {seconds} seconds"));
        Self { wait: Some(Duration::from_secs(seconds)), ..refusal }
    }

    /// Returns the refusal of a stage that these problems speak against.
    pub(super) fn unfit(problems: Vec<String>) -> Self {
        let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "the stage is not fit to be published");
        Self { denial: Denial { problems, ..refusal.denial }, ..refusal }
    }

    /// Returns the refusal of a request for something that the registry does not have.
    pub(super) fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Returns the refusal of a request that the server itself cannot fulfil.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        let refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the registry cannot be used");
        Self { fault: Some(Fault(error.to_string())), ..refusal }
    }
}

/// An error with all that caused it, on one line.
pub(super) struct Causes<'a>(pub(super) &'a SourceError);

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
        if let Some(wait) = self.wait {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().into());
        }
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(fault);
        }
        response
    }
}

/// Returns an answer with a value.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    respond(status, "application/json", body)
}

/// Returns the value of a query's parameter.
pub(super) fn parameter(request: &http::Uri, name: &str) -> Option<String> {
    let query = url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes());
    query.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
