//! A socket that instructions mount, and that leads to us: the service by which BuildKit reaches SSH agents.
//!
//! Instructions ask for it with `RUN --mount=type=ssh,id=...`. BuildKit then listens at that place, and each connection
//! becomes a call in which bytes go both ways; what they mean is nothing of its.

use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::Ssh;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The header that names the socket (BuildKit's `session/sshforward`, `KeySSHID`).
const ID: &str = "buildkit.ssh.id";
/// How much is sent at once, in bytes.
const CHUNK: usize = 64 << 10;
/// How much of a connection may be under way here, in each direction, in bytes.
const BUFFER: usize = 256 << 10;
/// How many chunks may wait to be sent.
const WAITING: usize = 4;

/// Takes the connections that are made to a socket.
pub trait Listener: Send + Sync + 'static {
    /// Takes a connection; it ends when this drops it. This must not block.
    fn accept(&self, connection: DuplexStream);
}

/// A socket, and who takes its connections.
#[derive(Clone)]
pub struct Socket {
    /// What instructions call it.
    pub id: String,
    /// Takes its connections.
    pub listener: Arc<dyn Listener>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Serves one socket.
pub(crate) struct SocketServer(pub(crate) Socket);

impl SocketServer {
    fn check(&self, id: &str) -> Result<(), Status> {
        match id == self.0.id {
            true => Ok(()),
            false => Err(Status::not_found(format!("no socket or agent `{id}` was given"))),
        }
    }
}

#[async_trait::async_trait]
impl Ssh for SocketServer {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.check(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        self.check(id)?;
        let mut messages = request.into_inner();
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let (mut read, mut write) = tokio::io::split(ours);
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if write.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            _ = write.shutdown().await;
        });
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut buffer = vec![0; CHUNK];
            while let Ok(count @ 1..) = read.read(&mut buffer).await {
                if sender.send(Ok(BytesMessage { data: buffer[..count].to_vec() })).await.is_err() {
                    return;
                }
            }
        });
        self.0.listener.accept(theirs);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
    use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
    use tonic::service::Routes;

    use super::*;

    /// Sends back what comes, until that ends; then says so.
    struct Echo;

    impl Listener for Echo {
        fn accept(&self, mut connection: DuplexStream) {
            tokio::spawn(async move {
                let mut all = Vec::new();
                connection.read_to_end(&mut all).await.unwrap();
                all.extend(b" and no more");
                connection.write_all(&all).await.unwrap();
            });
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_each_side_may_end_first() {
        let socket = Socket { id: "own".to_owned(), listener: Arc::new(Echo) };
        let routes = Routes::new(SshServer::new(SocketServer(socket)));
        let mut client = SshClient::new(routes);
        let check = |id: &str| CheckAgentRequest { id: id.to_owned() };
        assert!(client.check_agent(check("own")).await.is_ok());
        assert_eq!(client.check_agent(check("default")).await.unwrap_err().code(), tonic::Code::NotFound);
        let big = vec![7; 3 * CHUNK + 1];
        let messages = vec![BytesMessage { data: b"some ".to_vec() }, BytesMessage { data: big.clone() }];
        let mut request = Request::new(tokio_stream::iter(messages));
        request.metadata_mut().insert(ID, "own".parse().unwrap());
        let mut answers = client.forward_agent(request).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(message) = answers.message().await.unwrap() {
            all.extend(message.data);
        }
        assert_eq!(all, [&b"some "[..], &big, b" and no more"].concat());
        let other = Request::new(tokio_stream::iter(Vec::<BytesMessage>::new()));
        assert!(client.forward_agent(other).await.is_err(), "a socket that nobody named");
    }
}
