//! Docker or Podman, reached over its API.
//!
//! | module | what it does |
//! |---|---|
//! | [`connect`] | finds the engine, and says what to do where there is none |
//! | `address`, `context` | what names an engine: addresses, and the docker client's contexts |
//! | `dial`, `tls`, `ssh` | connections to it, whatever is in between |
//! | `backend` | what differs between engines: `buildkit`, `classic`, `podman` |
//! | [`image`] | container images: look up, load a base, list, remove |
//! | [`build`] | builds a plan: over BuildKit where the engine has it, else by the classic builder |
//! | [`container`] | runs a command in a container, and lists and removes pib's |
//! //! | [`export`] | takes the root file system of a container image out as a tar stream |
//! | [`binfmt`] | whether a kernel can run the target's programs, and how to make it; `far` is another machine's |
//!
//! With BuildKit, the build runs over a session of our own (crate `pib-buildkit`): one connection carries the context to
//! the engine, another the control calls and the progress; `upgrade` gets both out of the API. Dropping the future of a
//! build closes them, and the engine stops the build. Deliberately absent: pulling (bases are loaded), pushing, and any state on disk.

mod address;
mod archive;
mod backend;
pub mod binfmt;
pub mod build;
mod buildkit;
mod classic;
pub mod connect;
pub mod container;
mod context;
mod dial;
mod error;
pub mod export;
mod far;
mod handler;
pub mod image;
mod lines;
mod locate;
mod merged;
mod mirror_state;
mod owner;
mod podman;
mod progress;
mod refused;
mod ssh;
mod task;
mod tls;
mod upgrade;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;

pub use backend::{Abilities, Loss};
pub use build::{BuildRequest, ContainerImageId, Secret};
pub use connect::{ConnectOptions, EngineInfo};
pub use container::{Container, RunRequest, Streams};
pub use error::EngineError;
pub use export::RootfsTar;
pub use image::{Base, ContainerImage};

use backend::Backend;
use dial::Endpoint;

/// How long a question that the engine answers from memory may take.
const SHORT: Duration = Duration::from_secs(60);
/// How long a call that moves data may take until its answer begins; builds and uploads end by themselves.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// A connection to a container engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// Where an engine keeps its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStore {
    /// How: `overlay2`.
    pub driver: String,
    /// The folder, on the engine's machine.
    pub root: PathBuf,
}

struct Inner {
    endpoint: Arc<Endpoint>,
    docker: Docker,
    info: EngineInfo,
    backend: &'static dyn Backend,
}

impl Engine {
    /// Finds the engine, and checks that it answers and is new enough.
    ///
    /// # Errors
    /// When there is none, it may not be used, does not answer within seconds, or is too old; each says
    /// what to run.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, EngineError> {
        let (endpoint, docker, mut info) = connect::connect(options).await?;
        info.buildkit &= !options.classic;
        let backend: &'static dyn Backend = match (info.buildkit, info.name.as_str()) {
            (true, _) => &buildkit::BuildKit,
            (false, connect::PODMAN) => &podman::Podman,
            (false, _) => &classic::Classic,
        };
        Ok(Self { inner: Arc::new(Inner { endpoint, docker, info, backend }) })
    }

    /// Returns whether these options lead to this machine, whether or not there is an engine.
    pub fn would_be_local(options: &ConnectOptions) -> bool {
        connect::is_local(options)
    }

    /// Returns where the engine keeps its layers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn store(&self) -> Result<EngineStore, EngineError> {
        let info = self.quick().info().await;
        let info = info.map_err(|error| EngineError::api("asking where it keeps layers", &error))?;
        let root = info.docker_root_dir.unwrap_or_default().into();
        Ok(EngineStore { driver: info.driver.unwrap_or_default(), root })
    }

    /// Returns what the engine said of itself.
    pub fn info(&self) -> &EngineInfo {
        &self.inner.info
    }

    /// Returns what this engine can do beyond what all engines can.
    pub fn abilities(&self) -> Abilities {
        let mut abilities = self.inner.backend.abilities();
        if self.info().rootless {
            // The kernel lets nobody but root make them, and engines pass over those of a base.
            abilities.losses.push(Loss::Devices);
            abilities.losses.sort();
        }
        abilities
    }

    /// Returns what to call the engine and its builder: "Docker 20.10.24 with BuildKit".
    pub fn builder(&self) -> String {
        self.inner.backend.title(&self.info().name, &self.info().version)
    }

    /// Returns whether the engine runs on this machine's kernel, so that local checks speak of it.
    pub fn is_local(&self) -> bool {
        self.inner.endpoint.is_local()
    }

    fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    fn backend(&self) -> &'static dyn Backend {
        self.inner.backend
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
