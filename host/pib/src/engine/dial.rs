//! Opens connections to the engine, whatever is in between.
//!
//! The same connections carry the API's calls and the build session, so that everything works over a socket,
//! TCP, TLS and ssh alike.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection as Connectable};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

use super::docker_host::Address;
use super::error::{EngineError, with_sources};
use super::ssh_stream::{SshStream, refusal};
use super::tls::Tls;

/// How long an engine may take to accept a connection, and to answer the first question.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for one on another machine.
const FAR_PATIENCE: Duration = Duration::from_secs(20);

/// How long a question that the engine answers from memory may take.
pub(super) const SHORT: Duration = Duration::from_secs(60);

/// How much an engine may send until it has said what it is, in bytes: whatever listens at an address may not fill the memory.
const INTRODUCTION: u64 = 4 << 20;

/// A question that every engine answers.
const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Where the engine is, and what is needed to speak with it.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) tls: Option<Tls>,
}

/// What a connection must be able to do.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the engine.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    allowance: Allowance,
}

impl Endpoint {
    pub(super) fn is_local(&self) -> bool {
        self.address.is_local()
    }

    /// Returns how long the engine may take to answer a question from memory.
    pub(super) fn patience(&self) -> Duration {
        if self.is_local() { PATIENCE } else { FAR_PATIENCE }
    }

    /// Opens a connection of its own, for what an HTTP client cannot do.
    pub(super) async fn dial(&self) -> Result<Connection, EngineError> {
        match tokio::time::timeout(self.patience(), self.open()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// Opens a connection as the first of all, and has the other side say something where only that tells whether it
    /// takes this one in.
    ///
    /// With TLS 1.3 an engine rejects a client's certificate when the connection is there already. The API's client may
    /// find it closed before it has asked anything, and then does not say why.
    pub(super) async fn try_out(&self) -> Result<(), EngineError> {
        let Connection { mut stream, .. } = self.dial().await?;
        if self.tls.is_none() {
            return Ok(());
        }
        let answer = async {
            // What keeps this from being sent is told by what can be read.
            _ = stream.write_all(PING).await;
            _ = stream.flush().await;
            stream.read(&mut [0]).await
        };
        match tokio::time::timeout(self.patience(), answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        let stream: Box<dyn Stream> = match (&self.address, &self.tls) {
            (Address::Unix(path), _) => Box::new(UnixStream::connect(path).await?),
            (Address::Tcp { host, .. }, None) => Box::new(tcp(host).await?),
            (Address::Tcp { host, .. }, Some(tls)) => Box::new(tls.start(tcp(host).await?, host).await?),
            (Address::Ssh(place), _) => Box::new(SshStream::open(place)?),
        };
        Ok(Connection { stream, allowance: Allowance::new(u64::MAX) })
    }

    fn refused(&self, error: &io::Error) -> EngineError {
        let address = self.address.to_string();
        match (error.kind(), &self.address) {
            (io::ErrorKind::NotFound, Address::Unix(path)) => {
                EngineError::NoSocket { looked: path.display().to_string() }
            }
            (io::ErrorKind::PermissionDenied, Address::Unix(_)) => EngineError::PermissionDenied { address },
            (io::ErrorKind::ConnectionRefused, Address::Unix(_)) => {
                EngineError::not_answering(address, "the socket is there, but nobody listens on it")
            }
            _ => self.no_answer(error),
        }
    }

    /// Turns what went wrong with the first question into an error.
    pub(super) fn no_answer(&self, error: &(dyn std::error::Error + 'static)) -> EngineError {
        let address = self.address.to_string();
        match (&self.address, refusal(error)) {
            (Address::Ssh(place), Some(said)) => {
                EngineError::Ssh { host: place.host.clone(), login: place.login(), said }
            }
            (Address::Tcp { tls: true, .. }, _)
                if ["certificate", "alert"].iter().any(|word| with_sources(error).contains(word)) =>
            {
                EngineError::Untrusted { address, reason: innermost(error) }
            }
            _ => EngineError::not_answering(address, with_sources(error)),
        }
    }

    pub(super) fn silent(&self) -> EngineError {
        let reason = format!("it said nothing for {} seconds", self.patience().as_secs());
        EngineError::not_answering(self.address.to_string(), reason)
    }

    /// Returns the error of one that answers and does not get to what it is.
    pub(super) fn evasive(&self) -> EngineError {
        let reason = format!("it did not say within {} seconds what it is", 2 * self.patience().as_secs());
        EngineError::not_answering(self.address.to_string(), reason)
    }

    /// Returns a client of the engine's API over such connections, which it keeps for further questions.
    ///
    /// Until the allowance is lifted, the engine may send a few MiB only.
    pub(super) fn client(self: &Arc<Self>) -> Result<(Docker, Allowance), bollard::errors::Error> {
        let allowance = Allowance::new(INTRODUCTION);
        let dialler = Dialler { endpoint: Arc::clone(self), allowance: allowance.clone() };
        let pool = Client::builder(TokioExecutor::new()).build(dialler);
        let transport = move |request: BollardRequest| {
            let answer = pool.request(request);
            async move { answer.await.map_err(bollard::errors::Error::from) }
        };
        let seconds = self.patience().as_secs();
        let docker = Docker::connect_with_custom_transport(
            transport,
            Some("http://localhost"),
            seconds,
            API_DEFAULT_VERSION,
        )?;
        Ok((docker, allowance))
    }
}

async fn tcp(host: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(host).await?;
    // Questions are small and wait for their answers.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the last cause of an error, which is the one that names the fact.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// How many bytes an engine may still send.
#[derive(Debug, Clone)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Lets the engine send as much as it wants.
    pub(super) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    /// Takes what was read, unless that is more than is left.
    fn take(&self, read: usize) -> io::Result<()> {
        let take = |left: u64| match left {
            u64::MAX => Some(left),
            left => left.checked_sub(read as u64),
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other(format!(
                "it sent more than {} MiB without saying what it is",
                INTRODUCTION >> 20
            ))),
        }
    }
}

/// Opens the connections of the API's client.
#[derive(Clone)]
struct Dialler {
    endpoint: Arc<Endpoint>,
    allowance: Allowance,
}

impl Service<http::Uri> for Dialler {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self { endpoint, allowance } = self.clone();
        Box::pin(async move {
            let Connection { stream, .. } = endpoint.open().await?;
            Ok(TokioIo::new(Connection { stream, allowance }))
        })
    }
}

impl Connectable for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.allowance.take(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
