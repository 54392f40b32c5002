//! The other side of the connections: a BuildKit that asks for everything, without an engine.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_client::FileSyncClient;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pib_buildkit::{ContextError, ContextServer, Control, ControlError, Output, Services, Session, Solve};
use pib_plan::assemble::{ContextFile, FileSource};
use pib_plan::id::Digest;
use pib_plan::mode::Mode;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Streaming};

/// What BuildKit has of a connection on which it calls.
#[derive(Clone)]
struct Caller(hyper::client::conn::http2::SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Caller {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

fn origin() -> http::Uri {
    http::Uri::from_static("http://localhost")
}

async fn caller(stream: DuplexStream) -> Caller {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Caller(sender)
}

/// Serves on one end of a pipe, and returns what calls from the other.
async fn served(services: Services) -> (Session, Caller) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    (services.serve(ours), caller(theirs).await)
}

fn file(path: &str, source: FileSource, content: &[u8]) -> ContextFile {
    let (digest, size) = (Digest::of(content), content.len() as u64);
    ContextFile { path: path.to_owned(), source, digest, size, mode: Mode::FILE }
}

/// Asks for a folder as BuildKit does; returns what there is, and the bytes of each file that is asked for.
async fn copied(
    caller: &Caller,
    folder: &str,
    wanted: &[u32],
) -> Result<Vec<(String, Vec<u8>)>, tonic::Status> {
    let (sender, receiver) = mpsc::channel(16);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert("dir-name", folder.parse().unwrap());
    let mut client = FileSyncClient::with_origin(caller.clone(), origin());
    let mut packets: Streaming<Packet> = client.diff_copy(request).await?.into_inner();
    let mut files = Vec::new();
    while let Some(packet) = packets.message().await? {
        match packet.stat {
            Some(stat) => files.push((stat.path, Vec::new())),
            None => break,
        }
    }
    let ask = |kind: PacketType, id: u32| Packet { r#type: kind.into(), id, ..Packet::default() };
    for id in wanted {
        sender.send(ask(PacketType::PacketReq, *id)).await.unwrap();
        while let Some(packet) = packets.message().await? {
            if packet.data.is_empty() {
                break;
            }
            files[*id as usize].1.extend(packet.data);
        }
    }
    sender.send(ask(PacketType::PacketFin, 0)).await.unwrap();
    assert_eq!(packets.message().await?.unwrap().r#type(), PacketType::PacketFin);
    Ok(files)
}

#[tokio::test]
async fn a_session_hands_over_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let big = vec![7; 300 << 10];
    std::fs::write(folder.path().join("big"), &big).unwrap();
    let files = [
        file("a/big", FileSource::File(folder.path().join("big")), &big),
        file("a/small", FileSource::Bytes((*b"small").into()), b"small"),
    ];
    let context = ContextServer::new("FROM scratch\n", &files);
    let (_session, caller) = served(Services::new(context, "key".to_owned())).await;
    let dockerfile = copied(&caller, "dockerfile", &[0]).await.unwrap();
    assert_eq!(dockerfile, [("Dockerfile".to_owned(), b"FROM scratch\n".to_vec())]);
    let files = copied(&caller, "context", &[1, 2]).await.unwrap();
    let expected = [("a", Vec::new()), ("a/big", big), ("a/small", b"small".to_vec())];
    assert_eq!(files, expected.map(|(path, content)| (path.to_owned(), content)));
    assert_eq!(copied(&caller, "elsewhere", &[]).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_changed_since_it_was_planned_is_not_sent_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "another").unwrap();
    let context = ContextServer::new("", &[file("file", FileSource::File(path.clone()), b"planned")]);
    let failure = context.failure();
    let (_session, caller) = served(Services::new(context, "key".to_owned())).await;
    assert_eq!(copied(&caller, "context", &[0]).await.unwrap_err().code(), Code::Aborted);
    assert!(matches!(failure.get(), Some(ContextError::Changed { path: changed }) if *changed == path));
}

#[tokio::test]
async fn a_session_gives_secrets_and_takes_a_tar() {
    let (sender, mut chunks) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(4);
    let secrets = HashMap::from([("token".to_owned(), b"value".to_vec())]);
    let plain = Services::new(ContextServer::new("", &[]), "key".to_owned());
    assert!(plain.headers().contains(&("X-Docker-Expose-Session-Sharedkey", "key")));
    let methods = |services: &Services| {
        let headers = services.headers();
        headers.iter().filter(|(name, _)| *name == "X-Docker-Expose-Session-Grpc-Method").count()
    };
    assert_eq!(methods(&plain), 2);
    let services = plain.with_secrets(secrets).with_tar(sender);
    assert_eq!(methods(&services), 4);
    let (session, caller) = served(services).await;

    let mut client = SecretsClient::with_origin(caller.clone(), origin());
    let mut get = async |id: &str| {
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        client.get_secret(request).await.map(|answer| answer.into_inner().data)
    };
    assert_eq!(get("token").await.unwrap(), b"value");
    assert_eq!(get("other").await.unwrap_err().code(), Code::NotFound);

    let messages = ["one", "two"].map(|text| BytesMessage { data: text.as_bytes().to_vec() });
    let mut client = FileSendClient::with_origin(caller.clone(), origin());
    client.diff_copy(tokio_stream::iter(messages)).await.unwrap();
    assert_eq!(chunks.recv().await.unwrap().unwrap(), "one");
    assert_eq!(chunks.recv().await.unwrap().unwrap(), "two");
    // The tar has no other end than the session's.
    drop(session);
    assert!(chunks.recv().await.is_none());
}

mod solving {
    use super::*;

    use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control as Service, ControlServer};
    use bollard_buildkit_proto::moby::buildkit::v1::{self as proto, *};
    use tonic::{Request, Response, Status};

    /// A control service that tells of one vertex, and refuses what goes by a certain name.
    #[derive(Clone, Default)]
    struct BuildKit(Arc<Mutex<Option<SolveRequest>>>);

    type Answer<T> = Result<Response<T>, Status>;
    type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

    #[async_trait::async_trait]
    impl Service for BuildKit {
        type PruneStream = Stream<UsageRecord>;
        type StatusStream = Stream<StatusResponse>;
        type SessionStream = Stream<proto::BytesMessage>;
        type ListenBuildHistoryStream = Stream<BuildHistoryEvent>;

        async fn solve(&self, request: Request<SolveRequest>) -> Answer<SolveResponse> {
            let request = request.into_inner();
            let refused = request.exporter_attrs_deprecated.get("name").is_some_and(|name| name == "refused");
            *self.0.lock().unwrap() = Some(request);
            if refused {
                return Err(Status::unknown("dockerfile parse error\n"));
            }
            Ok(Response::new(SolveResponse::default()))
        }

        async fn status(&self, _: Request<StatusRequest>) -> Answer<Self::StatusStream> {
            let vertex = Vertex { name: "[os 1/2] RUN x".to_owned(), ..Vertex::default() };
            let status = StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() };
            Ok(Response::new(Box::pin(tokio_stream::iter([Ok(status)]))))
        }

        async fn disk_usage(&self, _: Request<DiskUsageRequest>) -> Answer<DiskUsageResponse> {
            let record = |id: &str, mount: &str| UsageRecord {
                id: id.to_owned(),
                description: format!("cached mount /x from exec y with id \"/{mount}\""),
                ..UsageRecord::default()
            };
            let record = vec![record("1", "pib.a"), record("2", "other"), record("3", "pib.b")];
            Ok(Response::new(DiskUsageResponse { record }))
        }

        async fn prune(&self, request: Request<PruneRequest>) -> Answer<Self::PruneStream> {
            assert!(["id==1", "id==3"].contains(&&*request.into_inner().filter[0]));
            let record = UsageRecord { size: 10, ..UsageRecord::default() };
            Ok(Response::new(Box::pin(tokio_stream::iter([Ok(record)]))))
        }

        async fn session(&self, _: Request<Streaming<proto::BytesMessage>>) -> Answer<Self::SessionStream> {
            Err(Status::unimplemented("not called"))
        }

        async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answer<ListWorkersResponse> {
            Err(Status::unimplemented("not called"))
        }

        async fn info(&self, _: Request<InfoRequest>) -> Answer<InfoResponse> {
            Err(Status::unimplemented("not called"))
        }

        async fn listen_build_history(
            &self,
            _: Request<BuildHistoryRequest>,
        ) -> Answer<Self::ListenBuildHistoryStream> {
            Err(Status::unimplemented("not called"))
        }

        async fn update_build_history(
            &self,
            _: Request<UpdateBuildHistoryRequest>,
        ) -> Answer<UpdateBuildHistoryResponse> {
            Err(Status::unimplemented("not called"))
        }
    }

    /// Returns a connection to the service, what ends it, and a session to solve from.
    async fn connected(service: BuildKit) -> (Control, tokio::task::JoinHandle<()>, Session) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let routes = tonic::service::Routes::new(ControlServer::new(service)).prepare();
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(theirs), hyper_util::service::TowerToHyperService::new(routes));
        let serving = tokio::spawn(async move { _ = connection.await });
        let services = Services::new(ContextServer::new("", &[]), "key".to_owned());
        let session = services.serve(tokio::io::duplex(1024).0);
        (Control::connect(ours).await.unwrap(), serving, session)
    }

    fn image(name: &str) -> Solve {
        let attributes = HashMap::from([("filename".to_owned(), "Dockerfile".to_owned())]);
        Solve { attributes, output: Output::Image(name.to_owned()) }
    }

    #[tokio::test]
    async fn a_solve_names_its_session_and_tells_how_it_goes() {
        let service = BuildKit::default();
        let (control, _serving, session) = connected(service.clone()).await;
        let mut names = Vec::new();
        let result = control.solve(&session, image("x:1"), |status| {
            names.extend(status.vertexes.into_iter().map(|vertex| vertex.name));
        });
        result.await.unwrap();
        assert_eq!(names, ["[os 1/2] RUN x"]);
        let request = service.0.lock().unwrap().take().unwrap();
        assert_eq!((request.session.as_str(), request.exporter_deprecated.as_str()), (session.id(), "moby"));
        assert_eq!(request.frontend_attrs["filename"], "Dockerfile");

        let tar = Solve { attributes: HashMap::new(), output: Output::Tar };
        control.solve(&session, tar, |_| ()).await.unwrap();
        assert_eq!(service.0.lock().unwrap().take().unwrap().exporter_deprecated, "tar");
    }

    #[tokio::test]
    async fn a_refusal_is_told_from_a_connection_that_ends() {
        let (control, serving, session) = connected(BuildKit::default()).await;
        let error = control.solve(&session, image("refused"), |_| ()).await.unwrap_err();
        assert!(matches!(error, ControlError::Refused(_)), "{error:?}");
        assert_eq!(error.message(), "dockerfile parse error");
        serving.abort();
        let error = control.solve(&session, image("x:1"), |_| ()).await.unwrap_err();
        assert!(matches!(error, ControlError::Disconnected(_)), "{error:?}");
    }

    #[tokio::test]
    async fn only_mounts_of_the_prefix_are_forgotten() {
        let (control, _serving, _session) = connected(BuildKit::default()).await;
        assert_eq!(control.forget_mounts("pib.").await.unwrap(), 20);
    }
}
