//! Threads for what reads many files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        Self(Arc::new(Semaphore::new(cores())))
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

impl Readers {
    /// Runs what reads the files of a stage.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Nobody closes the semaphore.
        let _permit = self.0.acquire().await;
        blocking(work).await
    }

    /// Reads the files of many stages: each thread takes the next item when it has done one. Handing a small stage to a
    /// thread and waiting for it costs as much as reading it.
    ///
    /// Nothing more is taken once nobody waits for the result any more.
    pub(super) async fn each<T: Send + Sync + 'static>(
        &self,
        items: Vec<T>,
        work: impl Fn(&T) + Send + Sync + 'static,
    ) {
        let threads = cores().min(items.len());
        let queue = Arc::new((items, AtomicUsize::new(0)));
        let _stop = StopOnDrop(Arc::clone(&queue));
        let work = Arc::new(work);
        let running = (0..threads).map(|_| {
            let (queue, work) = (Arc::clone(&queue), Arc::clone(&work));
            self.run(move || {
                let (items, next) = &*queue;
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            })
        });
        futures_util::future::join_all(running).await;
    }
}

/// Ends a queue when the future that holds this is dropped.
struct StopOnDrop<T>(Arc<(Vec<T>, AtomicUsize)>);

impl<T> Drop for StopOnDrop<T> {
    fn drop(&mut self) {
        let (items, next) = &*self.0;
        next.store(items.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn each_item_is_taken_once() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = Arc::clone(&seen);
        Readers::default().each((0..100).collect(), move |item| see.lock().unwrap().push(*item)).await;
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_more_is_taken_when_nobody_waits() {
        let taken = Arc::new(AtomicUsize::new(0));
        let (count, (release, wait)) = (Arc::clone(&taken), mpsc::channel::<()>());
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let wait = Mutex::new(wait);
        let work = move |_: &usize| {
            count.fetch_add(1, Ordering::Relaxed);
            begin.send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        };
        let readers = Readers::default();
        tokio::select! {
            () = readers.each((0..100).collect(), work) => panic!("it waits for nobody"),
            begun = begun.recv() => assert!(begun.is_some()),
        }
        drop(release);
        // The threads hold the work until they end.
        while begun.recv().await.is_some() {}
        assert!(taken.load(Ordering::Relaxed) <= cores());
    }
}
