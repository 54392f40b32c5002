//! Speaks with the agent in the system under test; [`pib_plan::device_test::dialogue`] says how.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pib_plan::device_test::dialogue::{self, MAX_LINE, Message, Reply};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::error::EmulatorError;

/// How much longer than its time a script may be waited for: a slow machine also sends slowly.
const GRACE: Duration = Duration::from_secs(60);

/// The socket that QEMU connects to for the system's side of the conversation.
#[derive(Debug)]
pub struct AgentPort {
    listener: UnixListener,
    path: PathBuf,
}

/// The agent in a system under test.
#[derive(Debug)]
pub struct Agent {
    lines: BufReader<OwnedReadHalf>,
    requests: OwnedWriteHalf,
    /// The identifier of the boot that the agent speaks from.
    boot: String,
    /// What nonces begin with: nobody in the system foresees it.
    secret: String,
    asked: u32,
}

impl AgentPort {
    /// Makes the socket in a folder that only the user can enter.
    ///
    /// # Errors
    /// When it cannot be made, e.g. since the folder's path is too long for sockets.
    pub fn new(folder: &Path) -> Result<Self, EmulatorError> {
        let path = folder.join("agent");
        let fail = |source| EmulatorError::Agent { action: "make a socket for", source };
        Ok(Self { listener: UnixListener::bind(&path).map_err(fail)?, path })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for QEMU, and then for the agent. It does not end by itself.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn accept(self) -> Result<Agent, EmulatorError> {
        let fail = |source| EmulatorError::Agent { action: "connect to", source };
        let (stream, _) = self.listener.accept().await.map_err(fail)?;
        let mut agent = Agent::new(stream);
        agent.next_boot().await?;
        Ok(agent)
    }
}

impl Agent {
    fn new(stream: UnixStream) -> Self {
        let (read, requests) = stream.into_split();
        let secret = format!("{:016x}", RandomState::new().hash_one("nonce"));
        Self { lines: BufReader::new(read), requests, boot: String::new(), secret, asked: 0 }
    }

    /// Waits until the agent speaks from another boot. It does not end by itself.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next_boot(&mut self) -> Result<(), EmulatorError> {
        loop {
            if let Some(Message::Ready(boot)) = dialogue::parse(&self.line().await?)
                && boot != self.boot
            {
                self.boot = boot;
                return Ok(());
            }
        }
    }

    /// Has the system run a script for at most `limit`; at most `most` bytes of each output come back. None where there is
    /// no answer long after that.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn run(
        &mut self,
        script: &str,
        limit: Duration,
        most: usize,
    ) -> Result<Option<Reply>, EmulatorError> {
        let nonce = self.send(script, limit, most).await?;
        let answer = async {
            loop {
                match dialogue::parse(&self.line().await?) {
                    Some(Message::End(found, reply)) if found == nonce => return Ok(reply),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(limit + GRACE, answer).await.ok().transpose()
    }

    /// Has the system run a script that nobody waits for.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(
        &mut self,
        script: &str,
        limit: Duration,
        most: usize,
    ) -> Result<String, EmulatorError> {
        self.asked += 1;
        let nonce = format!("{}-{}", self.secret, self.asked);
        let line = dialogue::request(&nonce, limit, most, script);
        let fail = |source| EmulatorError::Agent { action: "send a command to", source };
        self.requests.write_all(line.as_bytes()).await.map_err(fail)?;
        Ok(nonce)
    }

    /// Reads a line. One that is longer than any answer ends the conversation.
    async fn line(&mut self) -> Result<String, EmulatorError> {
        let fail = |source| EmulatorError::Agent { action: "read an answer of", source };
        let mut line = Vec::new();
        loop {
            let bytes = self.lines.fill_buf().await.map_err(fail)?;
            if bytes.is_empty() {
                return Err(fail(io::ErrorKind::UnexpectedEof.into()));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            self.lines.consume(taken);
            if line.len() > MAX_LINE {
                return Err(fail(io::ErrorKind::FileTooLarge.into()));
            }
            if end.is_some() {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pib_plan::device_test::dialogue::Ending;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn noise_and_late_answers_are_no_results() {
        let folder = tempfile::tempdir().unwrap();
        let port = AgentPort::new(folder.path()).unwrap();
        let path = port.path().to_owned();
        let guest = tokio::spawn(async move {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.write_all(b"[ 1.0] noise\nready one\n").await.unwrap();
            let mut request = vec![0; 1 << 10];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8(request[..read].to_vec()).unwrap();
            let nonce = request.split(' ').nth(1).unwrap();
            let answer =
                format!("end 1 0 . .\nend {nonce}x 0 . .\nend {nonce} 4 aGk=. .\nready one\nready two\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut agent = port.accept().await.unwrap();
        let reply = agent.run("id", Duration::from_secs(60), 10).await.unwrap().unwrap();
        assert_eq!((reply.ending, &*reply.stdout), (Ending::Exit(4), &b"hi"[..]));
        agent.next_boot().await.unwrap();
        assert_eq!(agent.boot, "two");
        guest.await.unwrap();
        assert!(matches!(agent.next_boot().await, Err(EmulatorError::Agent { .. })));
    }
}
