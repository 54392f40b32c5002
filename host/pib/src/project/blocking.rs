//! Work that blocks: it runs beside the async code, and stops when whoever waits for it goes away.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::project::Error;

/// A reader that fails once nobody waits for the result any more.
///
/// A thread cannot be stopped from outside, but one that copies a stream stops at the stream's next error, and
/// cleans up after itself on the way.
pub(crate) struct Stoppable<R> {
    inner: R,
    stopped: Arc<AtomicBool>,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            // Not `Interrupted`: that kind asks the caller to try again.
            return Err(io::Error::other("stopped by the user"));
        }
        self.inner.read(buffer)
    }
}

/// Sets the flag when the future that holds it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` in a thread of its own, with a flag that is raised once nobody waits for the result any more.
///
/// # Errors
/// When the thread died.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
) -> Result<T, Error> {
    let stopped = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(stopped.clone());
    tokio::task::spawn_blocking(move || work(stopped)).await.map_err(worker)
}

/// Runs `work` on the reader in a thread of its own.
///
/// # Errors
/// When the thread died; what `work` returns is the result otherwise.
pub(crate) async fn read<R, T>(
    reader: R,
    work: impl FnOnce(Stoppable<R>) -> T + Send + 'static,
) -> Result<T, Error>
where
    R: Read + Send + 'static,
    T: Send + 'static,
{
    run(move |stopped| work(Stoppable { inner: reader, stopped })).await
}

/// Waits for a lock on a file, e.g. by `File::lock`, in a thread of its own: the wait can be interrupted.
///
/// # Errors
/// When the system refuses the lock.
pub(crate) async fn wait(file: File, lock: fn(&File) -> io::Result<()>) -> io::Result<File> {
    let waiting = tokio::task::spawn_blocking(move || lock(&file).map(|()| file));
    waiting.await.map_err(io::Error::other)?
}

/// Returns the error for a thread that died.
pub(crate) fn worker(error: tokio::task::JoinError) -> Error {
    Error::io("finish the work of a thread", "", io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn dropping_the_future_stops_the_reader() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = move |mut reader: Stoppable<io::Repeat>| {
            let outcome = io::copy(&mut reader, &mut io::sink());
            let _ = sender.send(outcome.is_err());
        };
        let waiting = read(io::repeat(0), work);
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(true));
    }
}
