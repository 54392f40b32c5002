//! The engine's API, as all engines have it.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;

use super::connect::EngineInfo;
use super::dial::{Endpoint, SHORT};

/// How long a call that moves data may take until its answer begins; builds and uploads end by themselves.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// A client of one engine. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    docker: Docker,
    info: Arc<EngineInfo>,
}

impl Client {
    /// Returns the client of an engine that has answered.
    pub(super) fn new(endpoint: Arc<Endpoint>, docker: Docker, info: EngineInfo) -> Self {
        Self { endpoint, docker, info: Arc::new(info) }
    }

    /// Returns what the engine said of itself.
    pub(super) fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Returns where the engine is.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the client for questions with quick answers.
    pub(super) fn quick(&self) -> Docker {
        self.docker.clone().with_timeout(SHORT)
    }

    /// Returns the client for calls that move data.
    pub(super) fn patient(&self) -> Docker {
        self.docker.clone().with_timeout(LONG)
    }
}
