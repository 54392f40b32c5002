//! The line to one repository: how long to wait, when to stop, and what went wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::GitError;
use super::permission::Permitted;
use pib_event::Reporter;
use pib_net::Http;

/// How long nothing may arrive before the other side counts as dead.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The fewest bytes a second that count as going on: a server that thinks for long says so a little more often.
pub(super) const FLOOR: u64 = 20;

/// What one fetch needs of its surroundings.
pub(super) struct Link {
    /// The repository, for messages.
    pub(super) url: String,
    /// The repository, as the project names it.
    pub(super) named: String,
    /// Whether what the user has for git may be used.
    pub(super) permitted: Permitted,
    /// Whether it was used.
    pub(super) is_private: AtomicBool,
    /// Runs what the web transport does.
    pub(super) runtime: Handle,
    /// The HTTP client, made when it is first needed.
    pub(super) http: Arc<OnceLock<Http>>,
    /// The program that stands for ssh, where the user has set one.
    pub(super) ssh: Option<String>,
    /// How long nothing may arrive.
    pub(super) patience: Duration,
    /// The fewest bytes a second.
    pub(super) floor: u64,
    /// Says that nobody waits for the result any more.
    pub(super) stop: CancellationToken,
    /// Takes how far a transfer is.
    pub(super) reporter: Arc<dyn Reporter>,
    /// Why a stream failed: libgit2 passes on a text at most.
    pub(super) fault: Mutex<Option<GitError>>,
}

impl Link {
    /// Returns the HTTP client.
    pub(super) fn http(&self) -> Result<Http, GitError> {
        match self.http.get() {
            Some(http) => Ok(http.clone()),
            None => {
                let http = Http::new().map_err(|error| self.broken(error))?;
                Ok(self.http.get_or_init(|| http).clone())
            }
        }
    }

    /// Checks that the repository at `url` may be fetched with what the user has for git, and notes that it is.
    pub(super) fn log_in(&self, url: &str) -> Result<(), GitError> {
        if let Some(permission) = &self.permitted {
            permission.log_in(url).map_err(GitError::Denied)?;
        }
        self.is_private.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether something was fetched with what the user has for git.
    pub(super) fn is_private(&self) -> bool {
        self.is_private.load(Ordering::Relaxed)
    }

    /// Keeps the reason why a stream fails; the first one counts.
    pub(super) fn fail(&self, fault: GitError) -> std::io::Error {
        let error = fault.as_io();
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        error
    }

    /// Returns the error of a server that stays silent.
    pub(super) fn timed_out(&self) -> GitError {
        GitError::TimedOut { url: self.url.clone(), seconds: self.patience.as_secs() }
    }

    /// Returns the error of a connection that broke.
    pub(super) fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> GitError {
        GitError::Fetch { url: self.url.clone(), source: source.into() }
    }

    /// Returns the error of a program that is being stopped.
    pub(super) fn interrupted(&self) -> GitError {
        GitError::Interrupted { url: self.url.clone() }
    }
}
