//! A BuildKit session of our own: two connections to the engine, both upgraded to HTTP/2.
//!
//! Over the first the engine calls *us*, for the context, for secrets and to hand over what it exports; over
//! the second we call its control service. Dropping the session closes both, and the engine then stops what
//! was asked for.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSendServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::Engine;
use super::build::Secret;
use super::error::{EngineError, with_sources};
use super::export::TarReceiver;
use super::filesync::ContextServer;

/// How long the engine may take to open a session.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest message in either direction, as BuildKit's own.
const MAX_MESSAGE: usize = 16 << 20;
/// How much may be under way on one connection: enough for a tar stream to flow without pauses.
const WINDOW: u32 = 4 << 20;

/// What the engine may ask of us during a session.
pub(super) struct Services {
    pub(super) context: ContextServer,
    pub(super) tar: Option<TarReceiver>,
    pub(super) secrets: Vec<Secret>,
    /// Tells the engine which earlier session had a similar context, so that only changes are sent.
    pub(super) shared_key: String,
}

/// An open session.
pub(super) struct Session {
    pub(super) id: String,
    pub(super) control: ControlClient<Channel>,
    _tasks: [AbortOnDrop; 2],
}

/// A task that ends with its owner.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    pub(super) async fn open(engine: &Engine, services: Services) -> Result<Self, EngineError> {
        let opening = async {
            let id = random_id();
            let serving = serve(engine, &id, services).await?;
            let (control, connection) = control(engine).await?;
            Ok(Self { id, control, _tasks: [serving, connection] })
        };
        let silent = || {
            let reason = format!("it opened no build session within {} seconds", PATIENCE.as_secs());
            EngineError::not_answering(engine.info().address.clone(), reason)
        };
        tokio::time::timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// Returns a name that no other session has.
pub(super) fn random_id() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("pib{:016x}{:016x}{:08x}", word(), word(), std::process::id())
}

async fn serve(engine: &Engine, id: &str, services: Services) -> Result<AbortOnDrop, EngineError> {
    let mut methods = vec!["/grpc.health.v1.Health/Check", "/moby.filesync.v1.FileSync/DiffCopy"];
    let sync = FileSyncServer::new(services.context).max_encoding_message_size(MAX_MESSAGE);
    let mut routes = Routes::new(HealthServer::new(Alive)).add_service(sync);
    if let Some(tar) = services.tar {
        methods.push("/moby.filesync.v1.FileSend/DiffCopy");
        routes = routes.add_service(FileSendServer::new(tar).max_decoding_message_size(MAX_MESSAGE));
    }
    if !services.secrets.is_empty() {
        methods.push("/moby.buildkit.secrets.v1.Secrets/GetSecret");
        let secrets = services.secrets.into_iter().map(|secret| (secret.id, secret.value)).collect();
        routes = routes.add_service(SecretsServer::new(SecretStore(secrets)));
    }
    let request = request("/session")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", "pib")
        .header("X-Docker-Expose-Session-Sharedkey", services.shared_key);
    let request = methods
        .iter()
        .fold(request, |request, method| request.header("X-Docker-Expose-Session-Grpc-Method", *method));
    let upgraded = upgrade(engine, request).await?;
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(upgraded, TowerToHyperService::new(routes.prepare()));
    // How it ends does not matter: the control call that uses the session fails then, and says why.
    Ok(AbortOnDrop(tokio::spawn(async move { _ = connection.await })))
}

/// Opens a connection to the engine's control service.
pub(super) async fn control(engine: &Engine) -> Result<(ControlClient<Channel>, AbortOnDrop), EngineError> {
    let upgraded = upgrade(engine, request("/grpc")).await?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(upgraded)
        .await
        .map_err(|error| lost(&error))?;
    let connection = AbortOnDrop(tokio::spawn(async move { _ = connection.await }));
    let origin = http::Uri::from_static("http://localhost");
    let client = ControlClient::with_origin(Channel(sender), origin)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Ok((client, connection))
}

fn lost(error: &dyn std::error::Error) -> EngineError {
    EngineError::disconnected("opening a build session", with_sources(error))
}

fn request(path: &str) -> http::request::Builder {
    http::Request::post(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, "h2c")
}

/// Sends a request after whose answer the connection is the other protocol's that the request names.
pub(super) async fn upgrade(
    engine: &Engine,
    request: http::request::Builder,
) -> Result<Upgraded, EngineError> {
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| lost(&error))?;
    let stream = engine.endpoint().dial().await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| lost(&error))?;
    // Ends by itself when the connection is handed over, or the engine closes it.
    tokio::spawn(async move { _ = connection.with_upgrades().await });
    let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
        let message = format!("it answered {status}: {text}");
        return Err(EngineError::Api { doing: "opening a build session".to_owned(), message });
    }
    hyper::upgrade::on(response).await.map_err(|error| lost(&error))
}

/// The client's side of the control connection.
#[derive(Clone)]
pub(super) struct Channel(hyper::client::conn::http2::SendRequest<Body>);

impl tonic::codegen::Service<http::Request<Body>> for Channel {
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

/// Answers the engine's question whether we are still there; it ends sessions that do not.
struct Alive;

#[tonic::async_trait]
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

#[tonic::async_trait]
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
