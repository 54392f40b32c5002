//! A BuildKit client over any byte stream.
//!
//! | module | what it does |
//! |---|---|
//! | `session` | serves what BuildKit asks of us during a build: health, secrets, the context, the exported tar |
//! | `socket` | a socket that instructions mount, and that leads to us |
//! | `context` | hands over the Dockerfile and the context: the file synchronisation protocol, the sender's side |
//! | `control` | calls BuildKit's control service: a solve and its status, and what its cache mounts keep |
//! | [`status`] | the messages that tell how a solve goes |
//!
//! A build takes two connections: over the first, BuildKit calls our [`Session`]; over the second, we call its
//! [`Control`]. The caller opens both, by whatever HTTP upgrade or socket leads there. Dropping them closes the
//! connections, and BuildKit then stops what was asked for.
//!
//! Deliberately absent: Docker's HTTP API, the meaning of stages, and anything that is shown to people.

mod context;
mod control;
mod session;
mod socket;

pub use context::{ContextError, ContextServer};
pub use control::{Control, ControlError, Output, Solve};
pub use session::{Services, Session};
pub use socket::{Listener, Socket};

/// BuildKit's own messages of how a solve goes.
pub mod status {
    pub use bollard_buildkit_proto::google::protobuf::Timestamp;
    pub use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};
}

/// The largest message in either direction, as BuildKit's own.
const MAX_MESSAGE: usize = 16 << 20;
/// How much may be under way on one connection: enough for a tar stream to flow without pauses.
const WINDOW: u32 = 4 << 20;
