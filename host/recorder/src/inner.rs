//! What everything that answers parts shares: the recording, and what it is kept in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use pib_plan::id::Digest;
use pib_plan::recording::{AUTHORIZATION, GIVEN, Method, Recording, Request, Response};

use crate::authority::Authority;
use crate::journal::Journal;
use crate::lists::Lists;
use crate::remote::Stores;
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

/// Takes a sentence for the user.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// What everything that answers parts shares.
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) upstream: Upstream,
    pub(crate) lists: Option<Arc<dyn Lists>>,
    /// How long is waited before what a list names is asked for again.
    pub(crate) pauses: Vec<Duration>,
    /// How long a file that no server had is refused without another question. Programs ask again and again.
    pub(crate) refusal: Duration,
    /// Is told why a part waits.
    pub(crate) waiting: Option<Report>,
    pub(crate) authority: Authority,
    pub(crate) stores: Stores,
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
    /// The lists of which it was told that a part waits for what they name.
    pub(crate) waited_for: BTreeSet<String>,
    /// The lists that have named a file that no server had, although it was waited for.
    pub(crate) out_of_step: BTreeSet<String>,
    /// When the files that no server had, by their digests, were asked for last.
    pub(crate) refused_at: HashMap<Digest, Instant>,
    /// The addresses of what was recorded in this run.
    pub(crate) new: BTreeSet<String>,
    /// What earlier runs have recorded that servers do not have, and was asked for again.
    pub(crate) absent: BTreeSet<String>,
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that nothing may be built by this recording's name again. Where that cannot be noted, the build fails.
    pub(crate) fn spoil(&self) {
        if let Err(error) = self.journal.spoil() {
            self.state().undelivered.insert(error.to_string());
        }
    }

    /// Returns the environment of a command that begins. What could not be fetched before has not stopped the commands before it,
    /// of which the engine keeps what they have made.
    pub(crate) fn begin_command(&self) -> String {
        if !self.unanswered().is_empty() {
            self.spoil();
        }
        if let Err(error) = self.journal.sync() {
            self.state().undelivered.insert(error.to_string());
        }
        self.environment.clone()
    }

    /// Returns what could not be fetched, also when it was asked for again: the addresses, each with the reason.
    pub(crate) fn unanswered(&self) -> Vec<(String, String)> {
        let state = self.state();
        let is_answered = |url: &str| state.recording.iter().any(|(request, _)| request.url == url);
        state.failed.clone().into_iter().filter(|(url, _)| !is_answered(url)).collect()
    }

    /// Returns the recorded response to a request with these headers; of a `HEAD`, that to a `GET` will do.
    pub(crate) fn recorded(&self, request: &Request, headers: &HeaderMap) -> Option<Response> {
        let mut state = self.state();
        let header = |name: &str| asked(headers, name);
        let whole = (request.method == Method::Head).then(|| Request::get(&*request.url));
        let own = state.recording.find(request, header);
        let found = own.or_else(|| state.recording.find(whole.as_ref()?, header)).cloned()?;
        if found.status >= 400 && !state.new.contains(&request.url) {
            state.absent.insert(request.url.clone());
        }
        Some(found)
    }

    /// Returns the recorded response to a request without headers that matter.
    pub(crate) fn recorded_plainly(&self, request: &Request) -> Option<Response> {
        self.state().recording.get(request).cloned()
    }

    /// Adds a response, whose body is in the store.
    pub(crate) fn record(&self, request: &Request, response: Response) -> Result<(), StoreError> {
        let line = {
            let mut state = self.state();
            state.failed.remove(&request.url);
            state.new.insert(request.url.clone());
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

/// Returns a header of a request as it is recorded; nothing where it has none.
pub(crate) fn asked(headers: &HeaderMap, name: &str) -> String {
    match headers.get(name) {
        Some(_) if name == AUTHORIZATION => GIVEN.to_owned(),
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => String::new(),
    }
}
