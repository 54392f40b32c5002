//! What BuildKit asks of us during a build.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::{FileSend, FileSendServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::context::ContextServer;
use crate::socket::{Socket, SocketServer};
use crate::{MAX_MESSAGE, WINDOW};

/// What BuildKit may ask of us, before there is a connection on which it does.
pub struct Services {
    id: String,
    routes: Routes,
    methods: Vec<&'static str>,
    shared_key: String,
}

/// A session: the services, on a connection that is closed when this is dropped.
pub struct Session {
    id: String,
    _connection: JoinSet<()>,
}

impl Services {
    /// Returns the services of a session that has a context.
    ///
    /// The key tells BuildKit which earlier session had a similar context, so that only changes are sent.
    pub fn new(context: ContextServer, shared_key: String) -> Self {
        let sync = FileSyncServer::new(context).max_encoding_message_size(MAX_MESSAGE);
        Self {
            id: random_id(),
            routes: Routes::new(HealthServer::new(Alive)).add_service(sync),
            methods: vec!["/grpc.health.v1.Health/Check", "/moby.filesync.v1.FileSync/DiffCopy"],
            shared_key,
        }
    }

    /// Returns the services with secrets, by the ids that instructions mount them with.
    #[must_use]
    pub fn with_secrets(mut self, secrets: HashMap<String, Vec<u8>>) -> Self {
        if !secrets.is_empty() {
            self.methods.push("/moby.buildkit.secrets.v1.Secrets/GetSecret");
            self.routes = self.routes.add_service(SecretsServer::new(SecretStore(secrets)));
        }
        self
    }

    /// Returns the services with a socket that instructions may mount.
    #[must_use]
    pub fn with_socket(mut self, socket: Option<Socket>) -> Self {
        if let Some(socket) = socket {
            self.methods.push("/moby.sshforward.v1.SSH/CheckAgent");
            self.methods.push("/moby.sshforward.v1.SSH/ForwardAgent");
            self.routes = self.routes.add_service(SshServer::new(SocketServer(socket)));
        }
        self
    }

    /// Returns the services with one that takes an exported tar, and sends it on in chunks.
    #[must_use]
    pub fn with_tar<E: Send + 'static>(mut self, chunks: mpsc::Sender<Result<Bytes, E>>) -> Self {
        self.methods.push("/moby.filesync.v1.FileSend/DiffCopy");
        let tar = FileSendServer::new(TarReceiver(chunks)).max_decoding_message_size(MAX_MESSAGE);
        self.routes = self.routes.add_service(tar);
        self
    }

    /// Returns the headers of the request that opens the session's connection. They name the session and its services.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![
            ("X-Docker-Expose-Session-Uuid", self.id.as_str()),
            ("X-Docker-Expose-Session-Name", "pib"),
            ("X-Docker-Expose-Session-Sharedkey", self.shared_key.as_str()),
        ];
        headers.extend(self.methods.iter().map(|method| ("X-Docker-Expose-Session-Grpc-Method", *method)));
        headers
    }

    /// Serves them on a connection that was opened with their headers.
    pub fn serve<S>(self, stream: S) -> Session
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.routes.prepare()));
        let mut tasks = JoinSet::new();
        // How it ends does not matter: the control call that uses the session fails then, and says why.
        tasks.spawn(async move { _ = connection.await });
        Session { id: self.id, _connection: tasks }
    }
}

impl Session {
    /// Returns the name by which a solve refers to it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Returns a name that no other session or solve has.
pub(crate) fn random_id() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("pib{:016x}{:016x}{:08x}", word(), word(), std::process::id())
}

/// Answers the engine's question whether we are still there; it ends sessions that do not.
struct Alive;

#[async_trait::async_trait]
impl Health for Alive {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }
}

struct SecretStore(HashMap<String, Vec<u8>>);

#[async_trait::async_trait]
impl Secrets for SecretStore {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let data = self.0.get(&id).ok_or_else(|| Status::not_found(format!("no secret `{id}` was given")))?;
        Ok(Response::new(GetSecretResponse { data: data.clone() }))
    }
}

/// Receives the tar that BuildKit exports, and passes it on chunk by chunk.
struct TarReceiver<E>(mpsc::Sender<Result<Bytes, E>>);

#[async_trait::async_trait]
impl<E: Send + 'static> FileSend for TarReceiver<E> {
    type DiffCopyStream = tokio_stream::Empty<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let chunk = Ok(Bytes::from(message.data));
            self.0.send(chunk).await.map_err(|_| Status::cancelled("nobody reads the tar any more"))?;
        }
        Ok(Response::new(tokio_stream::empty()))
    }
}
