//! An engine on another machine, reached with the user's own `ssh`: its agent, keys, known hosts and aliases.
//!
//! Over there the engine's client passes the bytes on to the engine's socket, as the docker client does it.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::docker_host::SshPlace;

/// The most that is kept of what ssh says about itself.
const MAX_STDERR: u64 = 16 << 10;
/// How many seconds a connection may take.
const PATIENCE: u32 = 15;

/// What ssh, or the other side, said before the connection ended without a byte of the engine's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// Returns what ssh said, where it is behind an error.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error of the system's keeps what is inside apart from its causes.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref::<Refusal>()) {
            return Some(refusal.to_string());
        }
        next = error.source();
    }
    None
}

/// A connection to an engine through a running ssh, which ends with it.
pub(super) struct SshStream {
    _child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    stderr: Option<JoinHandle<String>>,
}

impl SshStream {
    pub(super) fn open(place: &SshPlace) -> io::Result<Self> {
        let child = Command::new("ssh")
            .args(arguments(place))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::other(Refusal(format!("the program ssh could not be started ({error})")))
            })?;
        Self::of(child)
    }

    fn of(mut child: Child) -> io::Result<Self> {
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("ssh was started without its pipes"));
        };
        let stderr = tokio::spawn(async move {
            let (mut text, mut errors) = (Vec::new(), errors);
            _ = (&mut errors).take(MAX_STDERR).read_to_end(&mut text).await;
            // Read on, so that a talkative ssh does not stop at a full pipe.
            _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Self { _child: child, input: Some(input), output, stderr: Some(stderr) })
    }
}

impl SshStream {
    /// Returns what ssh said before it ended, as an error.
    fn last_words(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let text = match &mut self.stderr {
            Some(stderr) => ready!(Pin::new(stderr).poll(context)).unwrap_or_default(),
            None => String::new(),
        };
        self.stderr = None;
        let text = if text.is_empty() { "it ended without a word".to_owned() } else { text };
        Poll::Ready(io::Error::other(Refusal(text)))
    }
}

/// Returns what ssh is started with.
fn arguments(place: &SshPlace) -> Vec<String> {
    // Nobody can be asked: what needs an answer fails with its reason instead of waiting for one.
    let mut arguments = vec!["-o".to_owned(), "BatchMode=yes".to_owned()];
    arguments.extend(["-o".to_owned(), format!("ConnectTimeout={PATIENCE}")]);
    arguments.extend(["-o".to_owned(), format!("ServerAliveInterval={PATIENCE}"), "-T".to_owned()]);
    if let Some(user) = &place.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = place.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    let (docker, podman) = match &place.socket {
        Some(socket) => (format!("docker --host unix://{socket}"), format!("podman --url unix://{socket}")),
        None => ("docker".to_owned(), "podman".to_owned()),
    };
    let command = format!(
        "sh -c 'if command -v docker >/dev/null; then exec {docker} system dial-stdio; fi; \
         exec {podman} system dial-stdio'"
    );
    arguments.extend(["--".to_owned(), place.host.clone(), command]);
    arguments
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            // From here on an end is the engine's, and what ssh said was a greeting.
            self.stderr = None;
        } else if self.stderr.is_some() {
            return self.last_words(context).map(Err);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => match ready!(Pin::new(input).poll_write(context, bytes)) {
                // It ended before it was told anything; why, it has said or says now.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.stderr.is_some() => {
                    self.last_words(context).map(Err)
                }
                outcome => Poll::Ready(outcome),
            },
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(input) = &mut self.input {
            ready!(Pin::new(input).poll_shutdown(context))?;
            // A pipe is told of the end only by closing it.
            self.input = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker_host::Address;

    #[tokio::test]
    async fn what_ssh_said_is_told_also_where_it_ended_before_it_was_asked() {
        use tokio::io::AsyncWriteExt as _;
        let mut sh = Command::new("sh");
        sh.args(["-c", "exec <&-; echo no way >&2; echo closed; sleep 0.3; echo at all >&2"]);
        sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = sh.spawn().unwrap();
        let mut closed = [0; 7];
        let output = child.stdout.as_mut().unwrap();
        tokio::io::AsyncReadExt::read_exact(output, &mut closed).await.unwrap();
        let error = SshStream::of(child).unwrap().write_all(b"GET /").await.unwrap_err();
        assert_eq!(error.to_string(), "no way\nat all");
    }

    #[test]
    fn ssh_gets_the_host_as_one_word_and_asks_nobody() {
        let Ok(Address::Ssh(place)) = Address::parse("ssh://pi@lab:2222/run/x.sock") else { panic!() };
        let words = arguments(&place);
        let text = words.join(" ");
        assert!(text.contains("BatchMode=yes") && text.contains("-l pi -p 2222 -- lab sh -c"), "{text}");
        assert!(
            words.last().unwrap().contains("docker --host unix:///run/x.sock system dial-stdio"),
            "{text}"
        );
        assert!(
            words.last().unwrap().contains("podman --url unix:///run/x.sock system dial-stdio"),
            "{text}"
        );
    }
}
