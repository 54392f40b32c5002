//! The line to one repository: how long to wait, when to stop, and what went wrong.
//!
//! libgit2 knows git's protocol; the bytes travel over transports of our own ([`super::web`], [`super::ssh`]). So TLS
//! is the one that everything else uses, ssh is the user's own with its agent, keys and configuration, and neither
//! takes a system library. A transport is made by a callback that knows only the address: the link that is being
//! used stands in a variable of the thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use git2::transport::{self, Transport};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::address::{Address, Place};
use super::{GitError, ssh, web};
use pib_event::Reporter;
use pib_net::Http;

/// How long nothing may arrive before the other side counts as dead.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What one fetch needs of its surroundings.
pub(super) struct Link {
    /// The repository, for messages.
    pub(super) url: String,
    /// Runs what the web transport does.
    pub(super) runtime: Handle,
    /// The HTTP client, made when it is first needed.
    pub(super) http: Arc<OnceLock<Http>>,
    /// The program that stands for ssh, where the user has set one.
    pub(super) ssh: Option<String>,
    /// How long nothing may arrive.
    pub(super) patience: Duration,
    /// Says that nobody waits for the result any more.
    pub(super) stop: CancellationToken,
    /// Takes how far a transfer is.
    pub(super) reporter: Arc<dyn Reporter>,
    /// Why a stream failed: libgit2 passes on a text at most.
    pub(super) fault: Mutex<Option<GitError>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) };
}

impl Link {
    /// Runs what uses libgit2's remotes, over this link.
    ///
    /// # Errors
    /// What went wrong on the link, or else what libgit2 says.
    pub(super) fn run<T>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T, git2::Error>,
    ) -> Result<T, GitError> {
        let failed = |source: git2::Error| GitError::Fetch { url: self.url.clone(), source: source.into() };
        register().map_err(|reason| self.broken(reason))?;
        let _in_use = InUse::begin(Arc::clone(self));
        let outcome = work();
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.map_err(|error| {
            if self.stop.is_cancelled() {
                return GitError::Interrupted { url: self.url.clone() };
            }
            fault.unwrap_or_else(|| failed(error))
        })
    }

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

/// Says which link this thread uses, for as long as it lives.
struct InUse;

impl InUse {
    fn begin(link: Arc<Link>) -> Self {
        CURRENT.set(Some(link));
        Self
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Has libgit2 use our transports, once in the life of the process.
#[expect(unsafe_code, reason = "libgit2 keeps its list of transports without a lock of its own")]
fn register() -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let all = || {
        for scheme in ["http", "https", "ssh", "git+ssh", "ssh+git", "git"] {
            // SAFETY: the list of transports must not change while others read it. Every use of a remote in this
            // program goes through `Link::run`, which waits for this to be over.
            unsafe { transport::register(scheme, make) }.map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    DONE.get_or_init(all).clone()
}

/// Makes the transport for a remote's address.
fn make(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let link = CURRENT.with_borrow(Clone::clone);
    let link = link.ok_or_else(|| git2::Error::from_str("a transport is made outside of a fetch"))?;
    let refuse = |fault: GitError| git2::Error::from_str(&link.fail(fault).to_string());
    // The user's own git settings may have changed the address: this is the one that counts.
    match Address::parse_any(remote.url()?).map_err(refuse)?.place {
        Place::Web(url) => Transport::smart(remote, true, web::Web::new(Arc::clone(&link), url)),
        Place::Ssh(place) => Transport::smart(remote, false, ssh::Ssh::new(Arc::clone(&link), place)),
        Place::File => Err(git2::Error::from_str("a folder takes no transport")),
    }
}
