//! Records what the parts of a build fetch, and gives them the same again.
//!
//! Parts reach a [`Recorder`] as their web proxy, over any byte stream or at a [`Port`]. What the recording has is answered from the store.
//! What it has not is fetched, given to the part as it arrives, kept by its digest, and added to the recording; or refused,
//! where nothing may be added.
//!
//! | module | what it does |
//! |---|---|
//! | `answer` | reads requests, and answers them |
//! | `authority` | vouches for the recorder in the name of servers, so that encrypted connections are recorded, too |
//! | `fetch` | one response on its way from a server to a part and into the store |
//! | `refetch` | recorded bodies that the store has lost |
//! | [`Lists`], `listed` | files that a signed list names by their digests |
//! | `reply` | the forms of answers |
//! | `inner` | what all of them share |
//! | `upstream` | where responses come from: mirrors, and archives of the past |
//! | [`Store`] | keeps bodies by digest |
//! | [`RemoteStore`], [`Stores`] | stores that others have filled |
//! | [`Port`], `guard` | a port with a token, for parts that no session leads here |
//! | `journal` | keeps all that was recorded of a snapshot on this machine |
//!
//! Invariants: a body is in the store, and its response in the recording, before a part has the last of it; nothing is
//! given from the store before its digest was compared; nothing is fetched from this machine or its network, but for the
//! mirrors that the caller names. Deliberately absent: the engine, projects, and what packages are.

mod answer;
mod authority;
mod fetch;
mod guard;
mod inner;
mod journal;
mod listed;
mod lists;
mod port;
mod refetch;
mod remote;
mod reply;
mod store;
mod upstream;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use pib_plan::recording::{Recording, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use authority::Authority;
pub use authority::AuthorityError;
use inner::{Inner, State};
pub use inner::{Report, Unknown};
use journal::Journal;
pub use journal::{KnownName, add_to_journal, begin_name, known_name};
pub use lists::{Listed, Lists, PAUSES};
pub use port::Port;
pub use remote::{RemoteStore, Stores, put};
pub use store::{Store, StoreError};
use upstream::Upstream;
pub use upstream::{Mirror, Past};

/// How many bodies are fetched at the same time where nobody waits for any of them.
const AT_ONCE: usize = 12;

/// What a recorder works with.
#[derive(Clone)]
pub struct Options {
    /// What was recorded before.
    pub recording: Recording,
    /// The folder of the bodies.
    pub store: PathBuf,
    /// The file that holds all that was recorded of the snapshot on this machine, where one is kept.
    pub journal: Option<PathBuf>,
    /// The mirrors of this machine, by the addresses that recordings know.
    pub mirrors: Vec<Mirror>,
    /// The stores that others have filled, in the order in which they are asked.
    pub stores: Vec<RemoteStore>,
    /// Where files are that mirrors do not have any more.
    pub past: Vec<Past>,
    /// What reads the signed lists of archives, where there is something.
    pub lists: Option<Arc<dyn Lists>>,
    /// How long is waited before what a list names is asked for again: see [`PAUSES`].
    pub pauses: Vec<Duration>,
    /// Is told, in a sentence, when a part begins to wait for a mirror.
    pub waiting: Option<Report>,
    /// The servers on this machine or its network that may be reached, each a host, or a host and a port.
    pub private: Vec<String>,
    /// What is done about a request that the recording does not answer.
    pub unknown: Unknown,
    /// Whether the network may be used, for what the recording has and the store has not.
    pub offline: bool,
    /// The variables that commands get when the recording has nothing yet, and more of them when it has.
    pub variables: Variables,
}

/// The variables of commands; `{proxy}` in a value stands for the recorder's address.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Always.
    pub always: Vec<(String, String)>,
    /// Where what was recorded before is given again.
    pub replay: Vec<(String, String)>,
}

/// Says why a recorder cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The store or the journal cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Net(#[from] pib_net::NetError),
    /// The authority cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Records what parts fetch. Clones share everything.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

impl Recorder {
    /// Returns a recorder; what other builds of the snapshot have recorded on this machine is in its recording.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub fn new(options: Options) -> Result<Self, RecorderError> {
        let Options {
            mut recording,
            store,
            journal,
            mirrors,
            stores,
            past,
            lists,
            pauses,
            waiting,
            private,
            unknown,
            offline,
            variables,
        } = options;
        let journal = Journal::open(journal)?;
        if unknown == Unknown::Record {
            recording.extend(journal.read()?);
        }
        let replay = variables.replay.into_iter().filter(|_| !recording.is_empty());
        let line = |(name, value): (String, String)| format!("{name}={value}\n");
        let environment = variables.always.into_iter().chain(replay).map(line).collect();
        let inner = Inner {
            store: Store::new(store)?,
            journal,
            upstream: Upstream::new(mirrors, past, private)?,
            lists,
            refusal: pauses.iter().sum(),
            pauses,
            waiting,
            authority: Authority::new()?,
            stores: Stores::new(stores, offline)?,
            unknown,
            offline,
            environment,
            state: Mutex::new(State { recording, ..State::default() }),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Serves a part's connection until it ends.
    pub fn serve(&self, connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        tokio::spawn(answer::serve(Arc::clone(&self.0), connection, None));
    }

    /// Opens a port for parts that come to one of these addresses of this machine.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn open_port(&self, addresses: &[IpAddr]) -> io::Result<Port> {
        Port::open(Arc::clone(&self.0), addresses).await
    }

    /// Fetches every recorded body that the store does not have; `each` is told how many are there. Returns why some are not
    /// to be had, an address and a reason each.
    pub async fn fill(&self, each: impl Fn(usize)) -> Vec<String> {
        let recording = self.recording();
        let bodies = recording.iter().filter(|(asked, response)| response.has_body(asked.method));
        // What a list says of the others leads to their other addresses.
        let (lists, others): (Vec<_>, Vec<_>) =
            bodies.partition(|(asked, _)| listed::is_list(&self.0, &asked.url));
        let (mut count, mut missing) = (0, Vec::new());
        for bodies in [lists, others] {
            let fetches =
                bodies.into_iter().map(|(asked, response)| refetch::again(&self.0, asked, None, response));
            let mut fetches = stream::iter(fetches).buffer_unordered(AT_ONCE);
            while let Some(outcome) = fetches.next().await {
                count += 1;
                each(count);
                missing.extend(outcome.err());
            }
        }
        missing.sort();
        missing
    }

    /// Returns the folder of a body, if it is in the store.
    pub fn body(&self, response: &Response) -> Option<PathBuf> {
        self.0.store.has(&response.digest, response.size).then(|| self.0.store.path(&response.digest))
    }

    /// Returns everything that is recorded.
    pub fn recording(&self) -> Recording {
        self.0.state().recording.clone()
    }

    /// Returns everything that is recorded, also by others of whose work the engine may have made use meanwhile.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn recording_of_all(&self) -> Result<Recording, RecorderError> {
        let mut all = self.recording();
        self.0.journal.sync()?;
        all.extend(self.0.journal.read()?);
        Ok(all)
    }

    /// Takes note that the engine may not use what it made by this recording's name ([`KnownName::is_spoilt`]).
    pub fn spoil(&self) {
        self.0.spoil();
    }

    /// Returns whether that was noted, by this or another build.
    pub fn is_spoilt(&self) -> bool {
        self.0.journal.is_spoilt()
    }

    /// Returns the addresses that were asked for and refused, since the recording does not have them.
    pub fn refused(&self) -> Vec<String> {
        self.0.state().refused.iter().cloned().collect()
    }

    /// Returns the addresses that were asked for on this machine or its network, and that nobody has allowed.
    pub fn private(&self) -> Vec<String> {
        self.0.state().private.iter().cloned().collect()
    }

    /// Returns why parts did not get what is recorded, a sentence each.
    pub fn undelivered(&self) -> Vec<String> {
        self.0.state().undelivered.iter().cloned().collect()
    }

    /// Returns how many addresses were recorded in this run.
    pub fn count_of_new(&self) -> usize {
        self.0.state().new.len()
    }

    /// Returns the addresses that were asked for and of which an earlier run has recorded that servers do not have them.
    pub fn absent(&self) -> Vec<String> {
        self.0.state().absent.iter().cloned().collect()
    }

    /// Returns the addresses that could not be fetched, also when they were asked for again, each with the reason.
    pub fn failed(&self) -> Vec<(String, String)> {
        self.0.unanswered()
    }

    /// Returns what was wrong with stores, a sentence each.
    pub fn troubles(&self) -> Vec<String> {
        self.0.stores.troubles()
    }

    /// Returns the servers, as `host:port`, of which nothing could be recorded: programs do not take the authority's word.
    pub fn distrusted(&self) -> Vec<String> {
        self.0.state().distrusted.iter().cloned().collect()
    }

    /// Returns the certificate of the authority that programs are to trust, as text (PEM).
    pub fn authority(&self) -> &str {
        &self.0.authority.certificate
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("unknown", &self.0.unknown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
