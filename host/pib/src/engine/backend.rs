//! What differs between engines: how they build, and how a root file system is taken out of them.
//!
//! Everything else is the same API on all of them. One contract (`tests/it/engine/contract.rs`) is held by each.

use bytes::Bytes;
use pib_plan::id::{Digest, KeyHasher};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::build_request::BuildRequest;
use super::client::Client;
use super::error::EngineError;
use pib_event::Reporter;

/// What an engine can do beyond what all of them can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// Instructions may mount secrets, other container images, and folders that the engine keeps.
    pub mounts: bool,
    /// An abandoned build ends at once, and not only with the instruction that is under way.
    pub stops: bool,
    /// What a system lacks that this engine built, sorted. It decides the result, so it belongs into an image's key.
    pub losses: Vec<Loss>,
}

/// Something that a system lacks since the engine that built it could not make, keep or export it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Extended attributes other than `security.capability`.
    Attributes,
    /// Device nodes.
    Devices,
    /// What a `RUN` instruction writes below a `VOLUME`.
    Volumes,
}

impl Loss {
    /// Returns the key of an image that lacks all this, by its key where it lacks nothing.
    pub fn add_to_key(losses: &[Self], whole: Digest) -> Digest {
        if losses.is_empty() {
            return whole;
        }
        let mut hasher = KeyHasher::new("pib image with losses 1");
        hasher.field(whole.as_bytes());
        for loss in losses {
            hasher.field(loss.key_text());
        }
        hasher.finish()
    }

    /// Returns what stands for it in keys.
    fn key_text(self) -> &'static str {
        match self {
            Self::Attributes => "loses attributes",
            Self::Devices => "loses devices",
            Self::Volumes => "loses volumes",
        }
    }

    /// Returns what is lost, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attributes => "extended attributes of files other than capabilities, among them ACLs",
            Self::Devices => "device nodes outside of /dev",
            Self::Volumes => "what a RUN writes below a VOLUME",
        }
    }

    /// Returns the warning of an engine with these losses; `None` where it has none.
    pub fn warning(losses: &[Self]) -> Option<String> {
        let texts = Self::list(losses)?;
        Some(format!("this engine cannot export everything, and the image lacks: {texts}"))
    }

    /// Returns what is lost, as a list for people; `None` where nothing is.
    pub fn list(losses: &[Self]) -> Option<String> {
        let texts: Vec<&str> = losses.iter().map(|loss| loss.as_str()).collect();
        (!losses.is_empty()).then(|| texts.join("; "))
    }
}

/// A chunk of an exported tar stream, or why there are no more.
pub(super) type Chunk = Result<Bytes, EngineError>;

/// A kind of engine, with a builder of its own.
///
/// `build` leaves a container image with the request's tag and labels, tells every stage as a step and what its
/// programs print as log lines, and names the line of the part where an instruction fails. Dropping its future
/// stops the build as far as [`Abilities::stops`] says, and leaves neither a container nor the tag.
///
/// `export` hands over the whole root file system as a tar stream, or ends it with an error: a stream that ends
/// early is never taken for a whole one. Dropping the task leaves no container.
#[async_trait::async_trait]
pub(super) trait Backend: Send + Sync {
    /// Returns what this kind of engine can do.
    fn abilities(&self) -> Abilities;

    /// Returns what to call the builder of this engine in messages.
    fn title(&self, name: &str, version: &str) -> String;

    /// Builds the request.
    async fn build(
        &self,
        client: &Client,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), EngineError>;

    /// Starts to export the container image `tag`, which is for `platform`, and to send it chunk by chunk.
    async fn export(
        &self,
        client: &Client,
        tag: &str,
        platform: &str,
        chunks: mpsc::Sender<Chunk>,
    ) -> Result<AbortOnDropHandle<()>, EngineError>;

    /// Removes what mounts of the engine's own keep whose ids start with `prefix`; returns how many bytes that frees.
    async fn forget_mounts(&self, _client: &Client, _prefix: &str) -> Result<u64, EngineError> {
        Ok(0)
    }
}
