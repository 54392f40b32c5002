//! Who sends a request to a registry's server.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request};
use http::HeaderMap;

/// The address that a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Who sends a request.
#[derive(Debug)]
pub(super) struct Caller {
    /// The client's address.
    pub(super) address: IpAddr,
    /// Whose token the request bears.
    pub(super) user: OnceLock<String>,
    /// Which of the server's addresses the request is for.
    pub(super) route: OnceLock<MatchedPath>,
    received: AtomicU64,
}

impl Caller {
    /// Returns who sends a request, before anything is known of a token.
    pub(super) fn new(request: &Request, behind_proxy: bool) -> Self {
        let peer =
            request.extensions().get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |Peer(peer)| *peer);
        let forwarded = forwarded_for(request.headers()).filter(|_| behind_proxy);
        Self {
            address: forwarded.unwrap_or(peer),
            user: OnceLock::new(),
            route: OnceLock::new(),
            received: AtomicU64::new(0),
        }
    }

    /// Returns who was found to send a request.
    pub(super) fn of(request: &Request) -> Arc<Self> {
        let known = request.extensions().get::<Arc<Self>>().cloned();
        known.unwrap_or_else(|| Arc::new(Self::new(request, false)))
    }

    /// Counts bytes of the request's body.
    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns how many bytes of the request's body were read.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Returns the address that the nearest proxy has seen: the last one in the header. Those before are whatever the client says.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_word_counts_and_no_clients() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            forwarded_for(&headers).map(|address| address.to_string())
        };
        assert_eq!(of(&["192.0.2.9, 198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(of(&["192.0.2.9", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert!(of(&[]).is_none() && of(&["192.0.2.9, unknown"]).is_none());
    }
}
