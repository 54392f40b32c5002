//! Who waits for an image to be read: hears how far it is, and may go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pib_event::{Reporter, ReporterExt as _, Silent};

/// How often it is told how far the work is.
const TOLD: Duration = Duration::from_millis(500);

/// Reports how far the reading of an image is, and knows when to stop it.
#[derive(Clone)]
pub struct Watch {
    stopped: Arc<AtomicBool>,
    reporter: Arc<dyn Reporter>,
    step: &'static str,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({})", self.step)
    }
}

impl Default for Watch {
    /// Returns one that hears nothing and never stops.
    fn default() -> Self {
        Self::new(Arc::default(), Arc::new(Silent), "")
    }
}

impl Watch {
    /// Returns one that reports to the step `step`, and stops the work when `stopped` is raised.
    pub fn new(stopped: Arc<AtomicBool>, reporter: Arc<dyn Reporter>, step: &'static str) -> Self {
        Self { stopped, reporter, step }
    }

    /// Returns what is raised when nobody waits any more.
    pub(super) fn stopped(&self) -> &AtomicBool {
        &self.stopped
    }

    /// Returns whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Returns the progress of work on so many bytes.
    pub(super) fn progress(&self, total: u64) -> Progress<'_> {
        Progress { watch: self, total, told: Instant::now() }
    }
}

/// How far some work is.
pub(super) struct Progress<'a> {
    watch: &'a Watch,
    total: u64,
    told: Instant,
}

impl Progress<'_> {
    /// Tells how much is done, from time to time.
    pub(super) fn moved(&mut self, done: u64) {
        if self.told.elapsed() >= TOLD {
            self.told = Instant::now();
            self.watch.reporter.progress(self.watch.step, done, Some(self.total));
        }
    }
}
