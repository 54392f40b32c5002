//! Podman, by the part of its API that follows Docker's.

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::backend::{Abilities, Backend, Chunk, Loss};
use super::build_request::BuildRequest;
use super::classic;
use super::client::Client;
use super::error::EngineError;
use pib_event::{Reporter, ReporterExt as _};

/// Podman.
pub(super) struct Podman;

/// Tells, when a build is abandoned, that Podman does not stop at once.
struct Abandoned<'a> {
    reporter: &'a dyn Reporter,
    building: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if self.building {
            self.reporter.warn(
                "Podman ends a build only with the instruction that is under way: it may run on for a while",
            );
        }
    }
}

#[async_trait::async_trait]
impl Backend for Podman {
    fn abilities(&self) -> Abilities {
        Abilities { mounts: false, stops: false, losses: vec![Loss::Attributes, Loss::Volumes] }
    }

    fn title(&self, name: &str, version: &str) -> String {
        format!("{name} {version}")
    }

    async fn build(
        &self,
        client: &Client,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let mut abandoned = Abandoned { reporter, building: true };
        let result = classic::build(client, request, reporter).await;
        abandoned.building = false;
        result
    }

    async fn export(
        &self,
        client: &Client,
        tag: &str,
        _: &str,
        chunks: mpsc::Sender<Chunk>,
    ) -> Result<AbortOnDropHandle<()>, EngineError> {
        classic::export(client, tag, chunks).await
    }
}
