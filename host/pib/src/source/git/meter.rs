//! Watches a transfer: tells how far it is, and ends one that is too large or not wanted any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::{AutotagOption, FetchOptions, Remote, RemoteCallbacks};

use super::GitError;
use super::link::Link;
use pib_event::ReporterExt as _;

/// The most bytes that are fetched of one repository at once.
pub(super) const MAX_RECEIVED: u64 = 2 << 30;
/// How often the progress is told.
const INTERVAL: Duration = Duration::from_millis(200);

/// What watches one transfer.
pub(super) struct Meter<'a> {
    link: &'a Arc<Link>,
    step: String,
    began: bool,
    too_large: bool,
}

impl<'a> Meter<'a> {
    /// Returns a meter for what is fetched over `link`.
    pub(super) fn new(link: &'a Arc<Link>) -> Self {
        Self { link, step: format!("git:{}", link.url), began: false, too_large: false }
    }

    /// Fetches what `specs` name into the remote's repository.
    pub(super) fn download(
        &mut self,
        remote: &mut Remote<'_>,
        specs: &[String],
        depth: i32,
    ) -> Result<(), git2::Error> {
        let (reporter, stop, step) = (&self.link.reporter, &self.link.stop, &self.step);
        reporter.started(step, format!("Fetching {}", self.link.url));
        self.began = true;
        let too_large = &mut self.too_large;
        let mut told = Instant::now();
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|progress| {
            let received = progress.received_bytes() as u64;
            *too_large |= received > MAX_RECEIVED;
            if told.elapsed() > INTERVAL {
                told = Instant::now();
                reporter.progress(step, received, None);
            }
            !*too_large && !stop.is_cancelled()
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None).depth(depth);
        remote.download(specs, Some(&mut options))
    }

    /// Returns what came of it, in our words.
    pub(super) fn judge(self, outcome: Result<(), GitError>) -> Result<(), GitError> {
        if self.too_large {
            return Err(GitError::TooLarge { url: self.link.url.clone(), limit: MAX_RECEIVED });
        }
        if self.began && outcome.is_ok() {
            self.link.reporter.finished(&self.step, false);
        }
        outcome
    }
}
