//! Threads for what reads many files.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

/// Runs what reads many files, or waits long, where it does not hold up other tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}

/// As many threads as there are cores, for reading the files of stages.
///
/// The runtime starts a thread for each piece of work that finds none idle. Starting one takes longer than reading a small
/// stage, so the stages wait for those that are there.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

impl Readers {
    /// Runs what reads the files of a stage.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Nobody closes the semaphore.
        let _permit = self.0.acquire().await;
        blocking(work).await
    }
}
