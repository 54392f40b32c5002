//! Watches what one answer of a server brings: how much, and how fast.

use pib_net::{Pace, TooSlow};

use super::GitError;
use super::link::Link;
use super::meter::MAX_RECEIVED;

/// The most bytes of a list of branches and tags: about a million of them.
const MAX_LIST: u64 = 64 << 20;
/// The most bytes of an answer that has a pack: it has also what the server says meanwhile.
const MAX_PACK: u64 = MAX_RECEIVED + MAX_LIST;

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Which references there are.
    List,
    /// Objects.
    Pack,
}

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Flow {
    kind: Kind,
    received: u64,
    pace: Pace,
}

impl Flow {
    /// Begins to watch an answer.
    pub(super) fn new(kind: Kind, link: &Link) -> Self {
        Self { kind, received: 0, pace: Pace::new(link.patience, link.floor) }
    }

    /// Takes note of bytes that have arrived.
    ///
    /// # Errors
    /// When they are too many, or come too slowly.
    pub(super) fn arrived(&mut self, count: usize, link: &Link) -> Result<(), GitError> {
        self.received = self.received.saturating_add(count as u64);
        match self.kind {
            Kind::List if self.received > MAX_LIST => {
                return Err(GitError::TooManyReferences { url: link.url.clone(), limit: MAX_LIST });
            }
            Kind::Pack if self.received > MAX_PACK => {
                return Err(GitError::TooLarge { url: link.url.clone(), limit: MAX_RECEIVED });
            }
            Kind::List | Kind::Pack => {}
        }
        let slow = |TooSlow { floor, seconds }| GitError::TooSlow { url: link.url.clone(), floor, seconds };
        self.pace.arrived(count).map_err(slow)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};

    use super::super::link::{FLOOR, PATIENCE};
    use super::*;

    #[tokio::test]
    async fn what_is_too_large_is_stopped_whatever_it_is() {
        let link = Link {
            url: "https://example.org/kvm".to_owned(),
            named: "https://example.org/kvm".to_owned(),
            permitted: None,
            is_private: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
            http: Arc::default(),
            ssh: None,
            patience: PATIENCE,
            floor: FLOOR,
            stop: tokio_util::sync::CancellationToken::new(),
            reporter: Arc::new(pib_event::Silent),
            fault: Mutex::default(),
        };
        let one_more = |kind, most: u64| {
            let mut flow = Flow::new(kind, &link);
            for _ in 0..most >> 20 {
                flow.arrived(1 << 20, &link).unwrap();
            }
            flow.arrived(1, &link).unwrap_err()
        };
        let list = one_more(Kind::List, MAX_LIST);
        assert!(matches!(list, GitError::TooManyReferences { limit: MAX_LIST, .. }), "{list}");
        let pack = one_more(Kind::Pack, MAX_PACK);
        assert!(matches!(pack, GitError::TooLarge { limit: MAX_RECEIVED, .. }), "{pack}");
    }
}
