//! The transports that libgit2 uses.
//!
//! libgit2 knows git's protocol; the bytes travel over transports of our own ([`super::web`], [`super::ssh`]). So TLS
//! is the one that everything else uses, ssh is the user's own with its agent, keys and configuration, and neither
//! takes a system library. A transport is made by a callback that knows only the address: the link that is being
//! used stands in a variable of the thread.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock, PoisonError};

use git2::transport::{self, Transport};

use super::address::{Address, Location};
use super::link::Link;
use super::{GitError, ssh, web};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) };
}

/// Runs what uses libgit2's remotes, over a link.
///
/// # Errors
/// What went wrong on the link, or else what libgit2 says.
pub(super) fn run<T>(link: &Arc<Link>, work: impl FnOnce() -> Result<T, git2::Error>) -> Result<T, GitError> {
    let failed = |source: git2::Error| GitError::Fetch { url: link.url.clone(), source: source.into() };
    register().map_err(|reason| link.broken(reason))?;
    let _in_use = InUse::begin(Arc::clone(link));
    let outcome = work();
    let fault = link.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
    outcome.map_err(|error| {
        if link.stop.is_cancelled() {
            return GitError::Interrupted { url: link.url.clone() };
        }
        fault.unwrap_or_else(|| failed(error))
    })
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
            // program goes through [`run`], which waits for this to be over.
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
    match Address::parse_any(remote.url()?).map_err(refuse)?.location {
        Location::Web(url) => Transport::smart(remote, true, web::Web::new(Arc::clone(&link), url)),
        Location::Ssh(there) => Transport::smart(remote, false, ssh::Ssh::new(Arc::clone(&link), there)),
        Location::File => Err(git2::Error::from_str("a folder takes no transport")),
    }
}
