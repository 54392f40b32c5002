//! The terminal, or what stands in its place, handed to a command in a container.

use std::io::{IsTerminal as _, Read as _, Write};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::ops::{Error, Streams};

/// How many pieces of input, and sizes, may wait.
const QUEUE: usize = 16;

/// Standard input and output, for as long as a command has them.
pub(super) struct Console {
    terminal: bool,
    /// How the terminal was before.
    before: Option<Termios>,
}

impl Console {
    /// Looks at what there is; nothing changes yet.
    pub(super) fn new() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        Self { terminal, before: None }
    }

    /// Returns whether a person sits at a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Hands the terminal over: keys go to the command as they are typed, Ctrl-C too, until this is dropped.
    pub(super) fn open(&mut self) -> Result<Streams, Error> {
        let (send_size, sizes) = mpsc::channel(QUEUE);
        if self.terminal {
            let fail = |error: std::io::Error| Error::io("hand over the terminal", "", error);
            let before = termios::tcgetattr(std::io::stdin()).map_err(|error| fail(error.into()))?;
            let mut raw = before.clone();
            raw.make_raw();
            termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
                .map_err(|error| fail(error.into()))?;
            self.before = Some(before);
            let mut changes = signal(SignalKind::window_change()).map_err(fail)?;
            tokio::spawn(async move {
                loop {
                    let size = termios::tcgetwinsize(std::io::stdout());
                    let size = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
                    if send_size.send(size).await.is_err() || changes.recv().await.is_none() {
                        return;
                    }
                }
            });
        }
        Ok(Streams {
            input: input(),
            output: Box::new(|bytes| write(&mut std::io::stdout().lock(), bytes)),
            errors: Box::new(|bytes| write(&mut std::io::stderr().lock(), bytes)),
            sizes,
        })
    }
}

/// Keeps how the terminal is, for a program that has it meanwhile and may be ended before it puts that back.
pub(super) struct KeptTerminal(Option<Termios>);

impl KeptTerminal {
    pub(super) fn new() -> Self {
        Self(termios::tcgetattr(std::io::stdin()).ok())
    }
}

impl Drop for KeptTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Reads standard input on a thread of its own, which nobody waits for: no read can be called off.
fn input() -> mpsc::Receiver<bytes::Bytes> {
    let (send, receive) = mpsc::channel(QUEUE);
    let reading = move || {
        let mut buffer = [0; 1 << 13];
        loop {
            match std::io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if send.blocking_send(bytes::Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    // Without the thread there is no input, which the command sees as its end.
    _ = std::thread::Builder::new().name("input".to_owned()).spawn(reading);
    receive
}
