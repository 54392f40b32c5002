//! Starts QEMU, keeps the end of what it and its console say, and ends it.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{io, thread};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::error::EmulatorError;
use super::hardware::{Console, MachineOptions};
use crate::child;

/// How much of a console is kept, in bytes.
const MAX_CONSOLE: usize = 4 << 20;
/// How much of QEMU's own words is kept, in bytes.
const MAX_WORDS: usize = 4 << 10;
/// How long the last words of an ended QEMU may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A QEMU that runs. It ends when this is dropped.
pub struct Machine {
    program: &'static str,
    /// The package that has the program.
    package: &'static str,
    child: Child,
    console: Tail,
    words: Tail,
    /// Read what is said until its end.
    readers: Vec<tokio::task::JoinHandle<()>>,
    /// Holds the thread that started QEMU.
    _held: mpsc::Sender<()>,
}

/// The end of what somebody says.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn add(&self, bytes: &[u8], most: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        // Not at each byte, since the rest moves.
        if kept.len() > 2 * most {
            let excess = kept.len() - most;
            kept.drain(..excess);
        }
    }

    fn text(&self, most: usize) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept[kept.len().saturating_sub(most)..]).into_owned()
    }

    fn follow(
        &self,
        mut from: impl AsyncRead + Unpin + Send + 'static,
        most: usize,
    ) -> tokio::task::JoinHandle<()> {
        let tail = self.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 14];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                tail.add(&buffer[..read], most);
            }
        })
    }
}

impl Machine {
    /// Starts QEMU.
    ///
    /// # Errors
    /// When it cannot be started, or the port for ssh is taken. That there is no such program is said when it ends.
    pub fn start(options: &MachineOptions) -> Result<Self, EmulatorError> {
        if let Some(port) = options.ssh {
            // QEMU says only that it could not set up its forwarding.
            std::net::TcpListener::bind(("127.0.0.1", port))
                .map_err(|_| EmulatorError::PortTaken { port })?;
        }
        let (program, package) = options.hardware.program();
        let mut command = Command::from(child::tied(program));
        command.args(options.arguments()).stderr(Stdio::piped()).kill_on_drop(true);
        match options.console {
            Console::Terminal => command.stdin(Stdio::inherit()).stdout(Stdio::inherit()),
            // Nothing from the keyboard reaches it, Ctrl-C neither: pib ends it then.
            Console::Kept => command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0),
        };
        let (mut child, held) = spawn(command).map_err(|source| EmulatorError::Start { program, source })?;
        let (console, words) = (Tail::default(), Tail::default());
        let mut readers = Vec::new();
        if let Some(from) = child.stdout.take() {
            readers.push(console.follow(from, MAX_CONSOLE));
        }
        if let Some(from) = child.stderr.take() {
            readers.push(words.follow(from, MAX_WORDS));
        }
        Ok(Self { program, package, child, console, words, readers, _held: held })
    }

    /// Returns the end of what the console said, at most this many bytes of it.
    pub fn console(&self, most: usize) -> String {
        self.console.text(most)
    }

    /// Returns all of the console that is kept.
    pub fn whole_console(&self) -> String {
        self.console.text(MAX_CONSOLE)
    }

    /// Waits until QEMU ends by itself, e.g. as the system powers off.
    ///
    /// # Errors
    /// When it ends with an error, or cannot be waited for.
    pub async fn finish(&mut self) -> Result<(), EmulatorError> {
        let status = self.wait().await?;
        if status.success() { Ok(()) } else { Err(self.ended(status).await) }
    }

    /// Waits until QEMU ends, which nobody asked it to.
    pub async fn unexpected_end(&mut self) -> EmulatorError {
        match self.wait().await {
            Ok(status) => self.ended(status).await,
            Err(error) => error,
        }
    }

    async fn wait(&mut self) -> Result<ExitStatus, EmulatorError> {
        let program = self.program;
        self.child.wait().await.map_err(|source| EmulatorError::Start { program, source })
    }

    async fn ended(&mut self, status: ExitStatus) -> EmulatorError {
        for reader in self.readers.drain(..) {
            _ = tokio::time::timeout(LAST_WORDS, reader).await;
        }
        let program = self.program;
        let said = self.words.text(MAX_WORDS);
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(child::NOT_FOUND) => return EmulatorError::Missing { program, package: self.package },
            Some(child::NOT_STARTED) => {
                return EmulatorError::Start { program, source: io::Error::other(said.trim().to_owned()) };
            }
            _ => {}
        }
        let words = match said.trim() {
            "" => "(it said nothing)".to_owned(),
            words => words.to_owned(),
        };
        EmulatorError::Ended { program, status: status.to_string(), words }
    }

    /// Ends QEMU at once, as if the power was cut.
    pub async fn stop(&mut self) {
        _ = self.child.kill().await;
    }
}

/// Starts a tied child from a thread that lives until the sender is dropped: the kernel ends the child with that thread, and
/// one of the runtime's threads may end at any time.
fn spawn(mut command: Command) -> io::Result<(Child, mpsc::Sender<()>)> {
    let runtime = Handle::current();
    let (hold, held) = mpsc::channel();
    let (started, start) = mpsc::sync_channel(1);
    thread::Builder::new().name("qemu".to_owned()).spawn(move || {
        let _inside = runtime.enter();
        _ = started.send(command.spawn());
        _ = held.recv();
    })?;
    let child = start.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
    Ok((child, hold))
}
