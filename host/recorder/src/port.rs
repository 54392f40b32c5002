//! A port of this machine at which parts reach a recorder, where the engine has no session that carries a socket to them.
//!
//! pib makes a token for each build and gives it to that build's parts alone. A connection must begin with the token, which is
//! what pib's relay in the container sends first; or each of its requests must have the token as a proxy's credentials, which
//! is what other programs send. Any other connection is closed or gets 407.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pib_plan::id::Digest;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::answer;
use crate::guard::Guard;
use crate::inner::Inner;

/// What a program calls itself that has the token.
const USER: &str = "pib";
/// How many bytes of chance a token is made of; it has two characters for each.
const TOKEN: usize = 32;
/// How long somebody may take to say the token.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may be about to say it at once.
const STRANGERS: usize = 64;
/// How the first line begins.
const START: &[u8; 4] = b"pib ";

/// The port, which is open as long as this lives.
pub struct Port {
    number: u16,
    token: String,
    reached: Arc<AtomicBool>,
    _serving: AbortOnDropHandle<()>,
}

/// What each connection is judged by.
#[derive(Clone)]
struct Door {
    inner: Arc<Inner>,
    /// The addresses of this machine at which the build's parts may be.
    addresses: Arc<[IpAddr]>,
    /// The digest of the rest of the first line.
    line: Digest,
    credentials: Digest,
    reached: Arc<AtomicBool>,
}

impl Port {
    /// Opens a port for parts that come to one of these addresses of this machine.
    pub(crate) async fn open(inner: Arc<Inner>, addresses: &[IpAddr]) -> io::Result<Self> {
        // An address may not be there yet: engines give a bridge its own only with the first container.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let number = listener.local_addr()?.port();
        let mut bytes = [0; TOKEN];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let credentials = STANDARD.encode(format!("{USER}:{token}"));
        let door = Door {
            inner,
            addresses: addresses.into(),
            line: Digest::of(format!("{token}\n").as_bytes()),
            credentials: Digest::of(format!("Basic {credentials}").as_bytes()),
            reached: Arc::default(),
        };
        let reached = Arc::clone(&door.reached);
        let serving = AbortOnDropHandle::new(tokio::spawn(door.serve(listener)));
        Ok(Self { number, token, reached, _serving: serving })
    }

    /// Returns its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns what lets the build in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns whether somebody has come who knows the token.
    pub fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Door {
    /// Takes connections, for ever.
    async fn serve(self, listener: TcpListener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => _ = tokio::spawn(self.clone().greet(stream, permit)),
                // No more descriptors: some come back when connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Serves a connection of somebody who knows the token; closes any other.
    async fn greet(self, stream: TcpStream, stranger: OwnedSemaphorePermit) {
        let is_ours = |address: SocketAddr| self.addresses.contains(&address.ip());
        if !stream.local_addr().is_ok_and(is_ours) {
            return;
        }
        // Answers are written in pieces.
        _ = stream.set_nodelay(true);
        let (mut from, to) = stream.into_split();
        let mut start = *START;
        let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, from.read_exact(&mut start)).await else { return };
        if start != *START {
            // A program that says on its own what it is allowed, with each request: `answer` checks it.
            let read = io::Cursor::new(start).chain(from);
            let guard = Guard::new(self.credentials, self.reached, stranger);
            return answer::serve(self.inner, tokio::io::join(read, to), Some(guard)).await;
        }
        let mut line = [0; 2 * TOKEN + 1];
        let said = tokio::time::timeout(PATIENCE, from.read_exact(&mut line)).await;
        // Digests are compared: how long that takes tells nothing of the token.
        if !matches!(said, Ok(Ok(_))) || Digest::of(&line) != self.line {
            return;
        }
        drop(stranger);
        self.reached.store(true, Ordering::Relaxed);
        answer::serve(self.inner, tokio::io::join(from, to), None).await;
    }
}
