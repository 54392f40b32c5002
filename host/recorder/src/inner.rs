//! What everything that answers parts shares: the recording, and what it is kept in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pib_net::Http;
use pib_plan::recording::{Method, Recording, Request, Response};

use crate::authority::Authority;
use crate::journal::Journal;
use crate::remote::RemoteStore;
use crate::store::{Store, StoreError};
use crate::upstream::Upstream;

/// What is done about a request that the recording does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// It is answered by a server, and recorded.
    Record,
    /// It is refused.
    Refuse,
}

/// What everything that answers parts shares.
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) upstream: Upstream,
    pub(crate) authority: Authority,
    pub(crate) stores: Vec<RemoteStore>,
    pub(crate) http: Http,
    pub(crate) unknown: Unknown,
    pub(crate) offline: bool,
    /// What commands are told, as the program that starts them reads it.
    pub(crate) environment: String,
    pub(crate) state: Mutex<State>,
}

/// What changes while parts run.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) recording: Recording,
    /// The requests that are being answered by a server: others for the same wait.
    pub(crate) under_way: HashMap<Request, Arc<tokio::sync::Mutex<()>>>,
    pub(crate) refused: BTreeSet<String>,
    pub(crate) distrusted: BTreeSet<String>,
    pub(crate) private: BTreeSet<String>,
    /// What is recorded and could not be given, and why.
    pub(crate) undelivered: BTreeSet<String>,
    /// What could not be fetched, and why.
    pub(crate) failed: BTreeMap<String, String>,
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the recorded response to a request; of a `HEAD`, that to a `GET` will do.
    pub(crate) fn recorded(&self, request: &Request) -> Option<Response> {
        let state = self.state();
        let own = state.recording.get(request);
        let whole = || (request.method == Method::Head).then(|| Request::get(&*request.url));
        own.or_else(|| state.recording.get(&whole()?)).cloned()
    }

    /// Adds a response, whose body is in the store.
    pub(crate) fn record(&self, request: &Request, response: Response) -> Result<(), StoreError> {
        let line = {
            let mut state = self.state();
            state.failed.remove(&request.url);
            state.recording.add(request, response)
        };
        self.journal.add(&line)
    }

    /// Returns what is to be held while a server answers a request.
    pub(crate) fn turn(&self, request: &Request) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        // Those that nobody waits for any more go.
        state.under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
        state.under_way.entry(request.clone()).or_default().clone()
    }
}
