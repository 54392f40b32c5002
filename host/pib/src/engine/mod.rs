//! Docker or Podman, reached over its API.
//!
//! | module | what it does |
//! |---|---|
//! | [`connect`] | finds the engine, and says what to do where there is none |
//! | [`image`] | container images: look up, load a base, list, remove |
//! | [`build`] | builds a plan: over BuildKit where the engine has it, else by the classic builder |
//! | [`container`] | runs a command in a container, and lists and removes pib's |
//! | [`kept`] | what mounts of the engine's own keep between builds |
//! | [`export`] | takes the root file system of a container image out as a tar stream |
//! | [`binfmt`] | whether this kernel can run the target's programs, and how to make it |
//!
//! The build runs over a BuildKit session of our own (`session`): one connection carries the context to the
//! engine, another the control calls and the progress. Dropping the future of a build closes both, and the
//! engine stops the build. Deliberately absent: pulling (bases are loaded), pushing, and any state on disk.

mod archive;
pub mod binfmt;
pub mod build;
mod classic;
pub mod connect;
pub mod container;
mod error;
pub mod export;
mod filesync;
mod handler;
pub mod image;
pub mod kept;
mod lines;
mod place;
mod progress;
mod session;
mod solve;

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;

pub use build::{BuildRequest, BuilderChoice, ContainerImageId, Secret};
pub use connect::{ConnectOptions, EngineInfo};
pub use container::{Container, RunRequest, Streams};
pub use error::EngineError;
pub use export::RootfsTar;
pub use image::{Base, ContainerImage};

use connect::Endpoint;

/// How long a question that the engine answers from memory may take.
const SHORT: Duration = Duration::from_secs(60);
/// How long a call that moves data may take until its answer begins; builds and uploads end by themselves.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// A connection to a container engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    docker: Docker,
    info: EngineInfo,
}

impl Engine {
    /// Finds the engine, and checks that it answers and is new enough.
    ///
    /// # Errors
    /// When there is none, it may not be used, does not answer within seconds, or is too old; each says
    /// what to run.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, EngineError> {
        let (endpoint, docker, info) = connect::connect(options).await?;
        Ok(Self { inner: Arc::new(Inner { endpoint, docker, info }) })
    }

    /// Returns what the engine said of itself.
    pub fn info(&self) -> &EngineInfo {
        &self.inner.info
    }

    /// Returns whether the engine runs on this machine's kernel, so that local checks speak of it.
    pub fn is_local(&self) -> bool {
        self.inner.endpoint.is_local()
    }

    fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Returns the client for questions with quick answers.
    fn quick(&self) -> Docker {
        self.inner.docker.clone().with_timeout(SHORT)
    }

    /// Returns the client for calls that move data.
    fn patient(&self) -> Docker {
        self.inner.docker.clone().with_timeout(LONG)
    }
}
