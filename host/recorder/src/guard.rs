//! Who may ask a recorder that listens on a port.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pib_plan::id::Digest;
use tokio::sync::OwnedSemaphorePermit;

/// What the requests of a connection are judged by.
pub(crate) struct Guard {
    credentials: Digest,
    reached: Arc<AtomicBool>,
    /// The place of a stranger, until a request has had the credentials.
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Guard {
    /// Returns a guard that lets in who has the credentials of this digest, and notes in `reached` that somebody had.
    pub(crate) fn new(credentials: Digest, reached: Arc<AtomicBool>, stranger: OwnedSemaphorePermit) -> Self {
        Self { credentials, reached, stranger: Mutex::new(Some(stranger)) }
    }

    /// Returns whether a request has the credentials.
    pub(crate) fn lets_in(&self, headers: &http::HeaderMap) -> bool {
        let given = headers.get(http::header::PROXY_AUTHORIZATION);
        let is_good = given.is_some_and(|given| Digest::of(given.as_bytes()) == self.credentials);
        if is_good {
            self.reached.store(true, Ordering::Relaxed);
            drop(self.stranger.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        is_good
    }
}
