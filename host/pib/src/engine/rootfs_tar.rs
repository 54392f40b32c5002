//! The root file system of a container image, as the engine sends it: a tar stream.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::backend::{Chunk, Loss};
use super::error::EngineError;

/// How many chunks may wait for the reader; each is at most a few MiB, most are 32 KiB.
const QUEUE: usize = 16;

/// The root file system of a container image as a tar stream, owners and modes and all.
///
/// Read it outside of async code, e.g. within `spawn_blocking`. An end that is not an error is the end of the
/// whole tar. Dropping it stops the engine.
pub struct RootfsTar {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    losses: Vec<Loss>,
    fault: Fault,
    _task: AbortOnDropHandle<()>,
}

/// Why the engine's stream broke, for a caller to whom its reader only says that it could not read on.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<Option<EngineError>>>);

impl Fault {
    /// Returns the engine's failure, where there was one, once.
    pub fn take(&self) -> Option<EngineError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RootfsTar {
    /// Returns the tar that the task which `start` begins sends in chunks.
    pub(super) async fn open<F>(
        losses: Vec<Loss>,
        start: impl FnOnce(mpsc::Sender<Chunk>) -> F,
    ) -> Result<Self, EngineError>
    where
        F: Future<Output = Result<AbortOnDropHandle<()>, EngineError>>,
    {
        let (sender, chunks) = mpsc::channel(QUEUE);
        let task = start(sender).await?;
        Ok(Self { chunks, current: Bytes::new(), losses, fault: Fault::default(), _task: task })
    }

    /// Returns what is lost with this engine.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Returns what will hold the engine's failure, if reading fails by one.
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }
}

impl Read for RootfsTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    let reading = io::Error::other(error.to_string());
                    *self.fault.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(reading);
                }
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
