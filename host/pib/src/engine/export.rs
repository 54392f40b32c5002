//! Takes the root file system of a container image out of the engine, as a tar stream.

use std::io::{self, Read};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSend;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::build::BuilderChoice;
use super::error::EngineError;
use super::filesync::ContextServer;
use super::session::{AbortOnDrop, Services, Session, random_id};
use super::{Engine, solve};

/// How many pieces may wait for the reader; each is at most a few MiB, most are 32 KiB.
const QUEUE: usize = 16;
/// What the classic way loses, for people.
const CLASSIC_LOSES: &str = "extended attributes other than security.capability are lost, among them ACLs; \
    etc/hosts, etc/hostname and etc/resolv.conf are empty; .dockerenv and dev/console are added";

type Piece = Result<Bytes, EngineError>;

/// The root file system of a container image as a tar stream, owners and modes and all.
///
/// Read it outside of async code, e.g. within `spawn_blocking`. An end that is not an error is the end of the
/// whole tar. Dropping it stops the engine.
pub struct RootfsTar {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    losses: Option<&'static str>,
    _task: AbortOnDrop,
}

impl RootfsTar {
    /// Returns what is lost on the way with this engine, as a sentence; `None` when it is nothing.
    pub fn losses(&self) -> Option<&'static str> {
        self.losses
    }
}

impl Read for RootfsTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.current = piece,
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

impl Engine {
    /// Starts to take the root file system of the container image `tag` out of the engine.
    ///
    /// With BuildKit everything is kept: owners, modes, hard links, all extended attributes. Without it,
    /// [`RootfsTar::losses`] says what is not.
    ///
    /// # Errors
    /// When there is no such container image or the engine refuses. What goes wrong later, reading tells.
    pub async fn export(&self, tag: &str, builder: BuilderChoice) -> Result<RootfsTar, EngineError> {
        let image = self.container_image(tag).await?.ok_or_else(|| EngineError::Api {
            doing: format!("exporting {tag}"),
            message: "there is no such container image".to_owned(),
        })?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let buildkit = self.info().buildkit && builder == BuilderChoice::Best;
        let (task, losses) = if buildkit {
            (self.export_solve(tag, &image.platform, sender).await?, None)
        } else {
            (self.export_container(tag, sender).await?, Some(CLASSIC_LOSES))
        };
        Ok(RootfsTar { pieces, current: Bytes::new(), losses, _task: task })
    }

    async fn export_solve(
        &self,
        tag: &str,
        platform: &str,
        sender: mpsc::Sender<Piece>,
    ) -> Result<AbortOnDrop, EngineError> {
        let context = ContextServer::new(&format!("FROM {tag}\n"), &[]);
        let tar = Some(TarReceiver(sender.clone()));
        let shared_key = "pib:export".to_owned();
        let services = Services { context, tar, secrets: Vec::new(), shared_key };
        let mut session = Session::open(self, services).await?;
        let attributes = [("filename", "Dockerfile"), ("platform", platform)];
        let order = SolveRequest {
            r#ref: random_id(),
            session: session.id.clone(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            exporter_deprecated: "tar".to_owned(),
            ..SolveRequest::default()
        };
        Ok(AbortOnDrop(tokio::spawn(async move {
            if let Err(status) = solve::follow(&mut session, order, |_| ()).await {
                _ = sender.send(Err(solve::refusal("exporting", &status))).await;
            }
        })))
    }

    async fn export_container(
        &self,
        tag: &str,
        sender: mpsc::Sender<Piece>,
    ) -> Result<AbortOnDrop, EngineError> {
        let body = ContainerCreateBody {
            image: Some(tag.to_owned()),
            // Never run, but without any command the engine refuses to create it.
            cmd: Some(vec!["/".to_owned()]),
            ..ContainerCreateBody::default()
        };
        let created = self.quick().create_container(None::<CreateContainerOptions>, body).await;
        let created = created.map_err(|error| EngineError::api(format!("exporting {tag}"), &error))?;
        let container = TemporaryContainer { engine: self.clone(), id: created.id };
        Ok(AbortOnDrop(tokio::spawn(async move {
            let docker = container.engine.patient();
            let mut stream = Box::pin(docker.export_container(&container.id));
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(|error| EngineError::api("exporting", &error));
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    break;
                }
            }
        })))
    }
}

/// A container that is removed with its owner, also when the export is abandoned.
struct TemporaryContainer {
    engine: Engine,
    id: String,
}

impl Drop for TemporaryContainer {
    fn drop(&mut self) {
        let (docker, id) = (self.engine.quick(), std::mem::take(&mut self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
                _ = docker.remove_container(&id, Some(options)).await;
            });
        }
    }
}

/// Receives the tar that the engine exports.
pub(super) struct TarReceiver(mpsc::Sender<Piece>);

#[tonic::async_trait]
impl FileSend for TarReceiver {
    type DiffCopyStream = tokio_stream::Empty<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let piece = Ok(Bytes::from(message.data));
            self.0.send(piece).await.map_err(|_| Status::cancelled("nobody reads the tar any more"))?;
        }
        Ok(Response::new(tokio_stream::empty()))
    }
}
