//! Calls BuildKit's control service.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{
    DiskUsageRequest, PruneRequest, SolveRequest, StatusRequest, StatusResponse, UsageRecord,
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};

use crate::session::{Session, random_id};
use crate::{MAX_MESSAGE, WINDOW};

/// How long the last messages of a build that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// What BuildKit calls records of what cache mounts keep.
const CACHE_MOUNT: &str = "exec.cachemount";

/// A connection to BuildKit's control service, which is closed when this is dropped.
pub struct Control {
    client: ControlClient<Channel>,
    _connection: JoinSet<()>,
}

/// Something to be built from the Dockerfile and the context of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solve {
    /// What the Dockerfile frontend is told: `filename`, `platform`, `target`, `build-arg:NAME`.
    pub attributes: HashMap<String, String>,
    /// What becomes of the result.
    pub output: Output,
}

/// What becomes of the result of a solve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A container image in the engine's store, under this name.
    Image(String),
    /// A tar of its root file system, which the session receives.
    Tar,
}

/// Says why BuildKit did not do what it was asked for.
#[derive(Debug)]
pub enum ControlError {
    /// The connection ended in the middle: the engine is gone, or on its way.
    Disconnected(Status),
    /// BuildKit refused, or failed.
    Refused(Status),
}

impl ControlError {
    /// Returns what BuildKit said.
    pub fn message(&self) -> &str {
        match self {
            Self::Disconnected(status) | Self::Refused(status) => status.message().trim(),
        }
    }
}

impl From<Status> for ControlError {
    fn from(status: Status) -> Self {
        let by_transport = std::error::Error::source(&status).is_some();
        let torn = by_transport || matches!(status.code(), Code::Unavailable | Code::Cancelled);
        if torn { Self::Disconnected(status) } else { Self::Refused(status) }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(status) => match std::error::Error::source(status) {
                // The status itself only says that there was a transport.
                Some(transport) => write!(f, "{transport}"),
                None => f.write_str(self.message()),
            },
            Self::Refused(_) => f.write_str(self.message()),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disconnected(status) => std::error::Error::source(status)?.source(),
            Self::Refused(_) => None,
        }
    }
}

impl Control {
    /// Begins to speak HTTP/2 over a connection that leads to the control service.
    ///
    /// # Errors
    /// When the other side does not speak it.
    pub async fn connect<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { _ = connection.await });
        let origin = http::Uri::from_static("http://localhost");
        let client = ControlClient::with_origin(Channel(sender), origin)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok(Self { client, _connection: tasks })
    }

    /// Builds what the session offers, and passes on the messages of how it goes.
    ///
    /// # Errors
    /// When BuildKit refuses, an instruction fails, or the connection breaks.
    pub async fn solve(
        &self,
        session: &Session,
        solve: Solve,
        on_status: impl FnMut(StatusResponse),
    ) -> Result<(), ControlError> {
        let (exporter, attributes) = match solve.output {
            Output::Image(name) => ("moby", HashMap::from([("name".to_owned(), name)])),
            Output::Tar => ("tar", HashMap::new()),
        };
        let request = SolveRequest {
            r#ref: random_id(),
            session: session.id().to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs: solve.attributes,
            exporter_deprecated: exporter.to_owned(),
            exporter_attrs_deprecated: attributes,
            ..SolveRequest::default()
        };
        self.follow(request, on_status).await.map_err(ControlError::from)
    }

    /// Removes what cache mounts keep whose ids start with `prefix`; returns how many bytes that frees.
    ///
    /// What a build uses just now stays, and so does everything in an engine that does not tell the ids: Docker 20.10.
    ///
    /// # Errors
    /// When BuildKit refuses, or the connection breaks.
    pub async fn forget_mounts(&self, prefix: &str) -> Result<u64, ControlError> {
        let mut client = self.client.clone();
        let filter = vec![format!("type=={CACHE_MOUNT}")];
        let used = client.disk_usage(DiskUsageRequest { filter, age_limit: 0 }).await?;
        let mut freed = 0;
        for record in used.into_inner().record.iter().filter(|record| is_ours(record, prefix)) {
            let filter = vec![format!("id=={}", record.id)];
            let request = PruneRequest { filter, all: true, ..PruneRequest::default() };
            let mut removed = client.prune(request).await?.into_inner();
            while let Some(record) = removed.message().await? {
                freed += u64::try_from(record.size).unwrap_or(0);
            }
        }
        Ok(freed)
    }

    async fn follow(
        &self,
        request: SolveRequest,
        mut on_status: impl FnMut(StatusResponse),
    ) -> Result<(), Status> {
        let (mut solver, mut watcher) = (self.client.clone(), self.client.clone());
        let watched = StatusRequest { r#ref: request.r#ref.clone() };
        let solving = async move { solver.solve(request).await.map(|_| ()) };
        let watching = async move { watcher.status(watched).await.map(tonic::Response::into_inner) };
        tokio::pin!(solving, watching);
        let mut messages: Option<Streaming<StatusResponse>> = None;
        let mut silent = false;
        let result = loop {
            tokio::select! {
                result = &mut solving => break result,
                stream = &mut watching, if messages.is_none() && !silent => match stream {
                    Ok(stream) => messages = Some(stream),
                    // A build can do without its progress; whether it failed, `solving` tells.
                    Err(_) => silent = true,
                },
                message = next(&mut messages), if messages.is_some() => match message {
                    Some(status) => on_status(status),
                    None => (messages, silent) = (None, true),
                },
            }
        };
        let rest = async {
            if messages.is_none() && !silent {
                messages = watching.await.ok();
            }
            while let Some(status) = next(&mut messages).await {
                on_status(status);
            }
        };
        _ = tokio::time::timeout(LAST_WORDS, rest).await;
        result
    }
}

async fn next(messages: &mut Option<Streaming<StatusResponse>>) -> Option<StatusResponse> {
    messages.as_mut()?.message().await.ok().flatten()
}

/// Returns whether a record is of a mount whose id starts with `prefix`.
///
/// BuildKit tells the id of a mount only in words: `cached mount /x from exec /bin/sh -c y with id "//the-id"`.
fn is_ours(record: &UsageRecord, prefix: &str) -> bool {
    let id = record.description.rsplit_once("with id \"").map(|(_, id)| id.trim_end_matches('"'));
    !record.in_use && id.is_some_and(|id| id.rsplit('/').next().unwrap_or(id).starts_with(prefix))
}

/// The client's side of the connection.
#[derive(Clone)]
struct Channel(hyper::client::conn::http2::SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart_by_their_ids() {
        let record =
            |description: &str| UsageRecord { description: description.to_owned(), ..UsageRecord::default() };
        let ours = "cached mount /var/cache/apt/archives from exec /bin/sh -c echo \"with id\" with id \"/pib.packages.a.x\"";
        assert!(is_ours(&record(ours), "pib.packages.a."));
        assert!(!is_ours(&record(ours), "pib.packages.b."));
        assert!(!is_ours(&UsageRecord { in_use: true, ..record(ours) }, "pib.packages.a."));
        assert!(!is_ours(&record("local source for context"), "pib."));
    }

    #[test]
    fn a_connection_that_breaks_is_no_refusal() {
        let refused = ControlError::from(Status::unknown(" no such frontend\n"));
        assert!(matches!(refused, ControlError::Refused(_)));
        assert_eq!(refused.to_string(), "no such frontend");
        assert!(matches!(ControlError::from(Status::cancelled("")), ControlError::Disconnected(_)));
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let torn = ControlError::from(Status::from_error(Box::new(broken)));
        assert!(matches!(torn, ControlError::Disconnected(_)));
        assert_eq!(torn.to_string(), "broken pipe");
    }
}
