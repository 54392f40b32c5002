//! The access log of a registry's server: a line of JSON for each request. A thread of its own writes it.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use pib_event::{Reporter, ReporterExt as _};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::registry_tokens::hide_tokens;
use crate::project::{self, Error, Session};
use crate::ui::is_hidden;

/// How many lines wait for the disk, before requests do.
const WAITING: usize = 1024;
/// How much of a text that a client chooses is written, in characters.
const MAX_TEXT: usize = 1024;

/// A request, as the log has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoggedRequest<'a> {
    /// When it was answered, in UTC.
    pub(super) time: String,
    /// Where it comes from.
    pub(super) address: String,
    /// Whose token it bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    /// Its method.
    pub(super) method: String,
    /// Its path, without the query.
    pub(super) path: String,
    /// The answer's status, or 499 where the connection ended before there was an answer.
    pub(super) status: u16,
    /// What was read of its body, in bytes.
    pub(super) received: u64,
    /// The size of the answer's body.
    pub(super) sent: u64,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
}

/// Returns a text that a client chose, as it may stand in the log: short, without tokens, and without what does something on a
/// terminal.
pub(super) fn loggable(text: &str) -> String {
    let shown =
        text.chars().take(MAX_TEXT).map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c });
    hide_tokens(&shown.collect::<String>())
}

enum Message {
    Line(String),
    /// Everything before is to be on the disk.
    Flush(oneshot::Sender<()>),
}

/// A log that is being written.
#[derive(Debug, Clone)]
pub struct AccessLog(mpsc::Sender<Message>);

impl AccessLog {
    /// Begins to write a log to the end of a file, which is made if need be.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn file(session: &Session, path: &Path) -> Result<Self, Error> {
        let path = session.cwd.join(path);
        let folder = project::make_folder(session, path.parent().unwrap_or(&path))?;
        let fail = |error| Error::io("open", &path, error);
        let file = folder.open_or_create(Path::new(path.file_name().unwrap_or_default())).map_err(fail)?;
        // Programs that rotate logs copy the file and empty it: what is written then begins at its start.
        rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::APPEND).map_err(|error| fail(error.into()))?;
        Self::to(Arc::clone(&session.reporter), Box::new(file))
    }

    /// Begins to write a log to something that is open.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn to(reporter: Arc<dyn Reporter>, mut output: Box<dyn Write + Send>) -> Result<Self, Error> {
        let (sender, mut messages) = mpsc::channel(WAITING);
        let work = move || {
            let mut has_failed = false;
            while let Some(message) = messages.blocking_recv() {
                let written = write(&mut *output, message, messages.is_empty());
                if let Err(error) = written
                    && !std::mem::replace(&mut has_failed, true)
                {
                    reporter.warn(format!("the access log cannot be written: {error}"));
                }
            }
        };
        let started = std::thread::Builder::new().name("access-log".to_owned()).spawn(work);
        started
            .map(|_| Self(sender))
            .map_err(|error| Error::io("start the thread of", "the access log", error))
    }

    /// Returns what adds a request: it waits where the disk is slower than requests come.
    pub(super) fn add(&self, request: &LoggedRequest<'_>) -> impl Future<Output = ()> + Send + use<> {
        let (line, lines) = (serde_json::to_string(request), self.0.clone());
        async move {
            if let Ok(line) = line {
                _ = lines.send(Message::Line(line)).await;
            }
        }
    }

    /// Returns when all that was added is written.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Message::Flush(done)).await.is_ok() {
            _ = flushed.await;
        }
    }
}

fn write(output: &mut dyn Write, message: Message, is_last: bool) -> io::Result<()> {
    match message {
        Message::Line(line) => {
            // In one piece, so that lines of two programs do not mix.
            output.write_all(format!("{line}\n").as_bytes())?;
            if is_last { output.flush() } else { Ok(()) }
        }
        Message::Flush(done) => {
            let flushed = output.flush();
            _ = done.send(());
            flushed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_logged_wherever_it_stands() {
        let secret = format!("pib_{}", "0123456789abcdef".repeat(3));
        for text in [format!("/stages/{secret}/x"), secret.clone(), format!("agent {secret}")] {
            let shown = loggable(&text);
            assert!(!shown.contains("0123456789abcdef") && shown.contains("pib_***"), "{shown}");
        }
        assert_eq!(loggable("/ca/me/camera"), "/ca/me/camera");
        assert_eq!(loggable("/a\u{9b}31m\u{202e}b\nc"), "/a\u{fffd}31m\u{fffd}b\u{fffd}c");
        assert_eq!(loggable(&"ä".repeat(5000)).chars().count(), MAX_TEXT);
    }
}
