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

/// How often a build is tried that met the removal of another image.
const ATTEMPTS: usize = 5;

/// Returns whether a build failed since Podman looked for earlier results among all images, and found one whose layers
/// somebody was removing. No instruction has run then.
fn met_a_removal(error: &EngineError) -> bool {
    let EngineError::BuildFailed { message, .. } = error else { return false };
    message.starts_with("checking if cached image exists") && message.ends_with("layer not known")
}

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
        let mut result = classic::build(client, request, reporter).await;
        for _ in 1..ATTEMPTS {
            if !result.as_ref().is_err_and(met_a_removal) {
                break;
            }
            reporter.note("Podman met an image that is being removed while it looked for earlier results; building again");
            result = classic::build(client, request, reporter).await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_a_build_met_is_told_from_other_failures() {
        let failed = |message: &str| EngineError::BuildFailed {
            stage: None,
            line: None,
            instruction: "ARG A".to_owned(),
            exit_code: None,
            message: message.to_owned(),
            log_tail: vec![],
        };
        let met =
            "checking if cached image exists from a previous build: getting top layer info: layer not known";
        assert!(met_a_removal(&failed(met)));
        assert!(!met_a_removal(&failed("exit status 1: layer not known")));
        assert!(!met_a_removal(&failed("")));
    }
}
