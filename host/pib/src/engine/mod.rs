//! Docker or Podman, reached over its API.
//!
//! | module | what it does |
//! |---|---|
//! | [`connect`] | finds the engine, and says what to do where there is none |
//! | `docker_host`, `context` | what names an engine: addresses, and the docker client's contexts |
//! | `dial`, `tls`, `ssh_stream` | connections to it, whatever is in between |
//! | `client`, `upgrade` | the API that all engines have, and connections that it hands over |
//! | `backend` | what differs between engines: `buildkit`, `classic`, `podman` |
//! | [`build_request`] | what an engine is asked to build |
//! | `progress`, `log_lines`, `part_location`, `merged`, `refused` | a build's messages as steps, lines and errors of stages |
//! | [`image`] | container images: look up, load a base, list, remove |
//! | [`container`] | runs a command in a container, and lists and removes pib's |
//! | `temporary` | containers that are removed whatever happens |
//! | `host_addresses` | where this machine is to a container of an engine on it |
//! | [`rootfs_tar`] | the root file system of a container image as a tar stream |
//! | [`binfmt_misc`] | whether a kernel can run the target's programs, and how to make it; `far` is another machine's |
//!
//! [`Engine`] is a client with its backend. What a backend uses knows only the client.
//!
//! With BuildKit, the build runs over a session of our own (crate `pib-buildkit`): one connection carries the context to
//! the engine, another the control calls and the progress; `upgrade` gets both out of the API. Dropping the future of a
//! build closes them, and the engine stops the build. Deliberately absent: pulling (bases are loaded), pushing, and any state on disk.

mod backend;
pub mod binfmt_misc;
pub mod build_request;
mod buildkit;
mod classic;
mod client;
pub mod connect;
pub mod container;
mod context;
mod dial;
mod docker_archive;
mod docker_host;
mod error;
mod far;
mod handler;
mod host_addresses;
pub mod image;
mod log_lines;
mod merged;
mod mirror_state;
mod owner;
mod part_location;
mod podman;
mod progress;
mod refused;
pub mod rootfs_tar;
mod ssh_stream;
mod temporary;
mod tls;
mod upgrade;

use std::path::PathBuf;

pub use backend::{Abilities, Loss};
pub use build_request::{BuildRequest, Secret};
pub use connect::{ConnectOptions, EngineInfo};
pub use container::{Container, RunRequest, Streams};
pub use error::EngineError;
pub use image::{Base, ContainerImage, ContainerImageId};
pub use rootfs_tar::RootfsTar;
pub use temporary::TEMPORARY;

use backend::Backend;
use client::Client;
use pib_event::Reporter;

/// A connection to a container engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    client: Client,
    backend: &'static dyn Backend,
}

/// Where an engine keeps its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStore {
    /// How: `overlay2`.
    pub driver: String,
    /// The folder, on the engine's machine.
    pub root: PathBuf,
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
        Ok(Self { client: Client::new(endpoint, docker, info), backend })
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
        let info = self.client.quick().info().await;
        let info = info.map_err(|error| EngineError::api("asking where it keeps layers", &error))?;
        let root = info.docker_root_dir.unwrap_or_default().into();
        Ok(EngineStore { driver: info.driver.unwrap_or_default(), root })
    }

    /// Returns what the engine said of itself.
    pub fn info(&self) -> &EngineInfo {
        self.client.info()
    }

    /// Returns what this engine can do beyond what all engines can.
    pub fn abilities(&self) -> Abilities {
        let mut abilities = self.backend.abilities();
        if self.info().rootless {
            // The kernel lets nobody but root make them, and engines pass over those of a base.
            abilities.losses.push(Loss::Devices);
            abilities.losses.sort();
        }
        abilities
    }

    /// Returns what to call the engine and its builder: "Docker 20.10.24 with BuildKit".
    pub fn builder(&self) -> String {
        self.backend.title(&self.info().name, &self.info().version)
    }

    /// Returns whether the engine runs on this machine's kernel, so that local checks speak of it.
    pub fn is_local(&self) -> bool {
        self.client.endpoint().is_local()
    }

    /// Builds the plan and returns the id of the container image, which has the request's tag and labels.
    ///
    /// Every stage is a step `stage:<name>`; what its programs print arrives as log lines. Dropping the
    /// future stops the build in the engine.
    ///
    /// # Errors
    /// When an instruction fails (with its output), or the engine refuses, vanishes or has no space.
    pub async fn build(
        &self,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<ContainerImageId, EngineError> {
        if !self.abilities().mounts && !request.secrets.is_empty() {
            return Err(EngineError::NeedsBuildKit { engine: self.builder(), why: "it uses secrets" });
        }
        self.backend.build(&self.client, request, reporter).await?;
        let image = self.container_image(request.tag).await?;
        image.map(|image| image.id).ok_or_else(|| EngineError::Api {
            doing: "building".to_owned(),
            message: format!("the build ended well, but there is no container image {}", request.tag),
        })
    }

    /// Starts to take the root file system of the container image `tag` out of the engine.
    ///
    /// With BuildKit everything is kept: owners, modes, hard links, all extended attributes. Without it,
    /// [`RootfsTar::losses`] says what is not.
    ///
    /// # Errors
    /// When there is no such container image or the engine refuses. What goes wrong later, reading tells.
    pub async fn export(&self, tag: &str) -> Result<RootfsTar, EngineError> {
        let image = self.container_image(tag).await?.ok_or_else(|| EngineError::Api {
            doing: format!("exporting {tag}"),
            message: "there is no such container image".to_owned(),
        })?;
        let start = |chunks| self.backend.export(&self.client, tag, &image.platform, chunks);
        RootfsTar::open(self.abilities().losses, start).await
    }

    /// Removes what mounts of the engine's own keep between builds whose ids start with `prefix`; returns how many bytes
    /// that frees.
    ///
    /// They have no labels, only ids. What a build uses just now stays, and so does everything in an engine that does not
    /// tell the ids: Docker 20.10.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn forget_kept(&self, prefix: &str) -> Result<u64, EngineError> {
        self.backend.forget_mounts(&self.client, prefix).await
    }

    fn client(&self) -> &Client {
        &self.client
    }
}
