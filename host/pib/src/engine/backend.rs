//! What differs between engines: how they build, and how a root file system is taken out of them.
//!
//! Everything else is the same API on all of them. One contract (`tests/it/engine/contract.rs`) is held by each.

use tokio::sync::mpsc;

use super::error::EngineError;
use super::export::Piece;
use super::session::AbortOnDrop;
use super::{BuildRequest, ContainerImage, Engine};
use pib_event::Reporter;

/// What an engine can do beyond what all of them can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Instructions may mount secrets.
    pub secrets: bool,
    /// An abandoned build ends at once, and not only with the instruction that is under way.
    pub stops: bool,
    /// What an export loses, as a sentence; `None` when it is nothing.
    pub losses: Option<&'static str>,
}

/// A kind of engine, with a builder of its own.
///
/// `build` leaves a container image with the request's tag and labels, tells every stage as a step and what its
/// programs print as log lines, and names the line of the part where an instruction fails. Dropping its future
/// stops the build as far as [`Abilities::stops`] says, and leaves neither a container nor the tag.
///
/// `export` hands over the whole root file system as a tar stream, or ends it with an error: a stream that ends
/// early is never taken for a whole one. Dropping the task leaves no container.
#[tonic::async_trait]
pub(super) trait Backend: Send + Sync {
    /// Returns what this kind of engine can do.
    fn abilities(&self) -> Abilities;

    /// Returns what to call the builder of this engine in messages.
    fn title(&self, name: &str, version: &str) -> String;

    /// Builds the request.
    async fn build(
        &self,
        engine: &Engine,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), EngineError>;

    /// Starts to export the container image, which goes by `tag`, and to send it piece by piece.
    async fn export(
        &self,
        engine: &Engine,
        image: &ContainerImage,
        tag: &str,
        pieces: mpsc::Sender<Piece>,
    ) -> Result<AbortOnDrop, EngineError>;
}
