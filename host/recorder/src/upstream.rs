//! Where responses come from: the servers that parts name, this machine's mirrors in their place, and archives of the past
//! for what no mirror has any more.

use std::io;

use bytes::Bytes;
use http::HeaderMap;
use pib_net::{NOT_PUBLIC, NetError, check_public, forwarding_client};
use pib_plan::recording::{Method, Request};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    USER_AGENT,
};
use url::Url;

/// What is sent on of a part's request. What asks for a piece, or whether something is new, is not: the whole is recorded.
const SENT_ON: [HeaderName; 7] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HeaderName::from_static("git-protocol"),
    USER_AGENT,
];
/// How often a server is asked that does not answer, or is busy.
const ATTEMPTS: u32 = 3;

/// A mirror of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The address that recordings know, which every machine's mirror stands for.
    pub public: String,
    /// The address of this machine's.
    pub actual: String,
}

/// An archive of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The start of the addresses for which it is asked.
    pub public: String,
    /// What comes in the place of it.
    pub archive: String,
}

pub(crate) struct Upstream {
    mirrors: Vec<Mirror>,
    past: Vec<Past>,
    /// Servers of the user's own network, each a host, or a host and a port.
    private: Vec<String>,
    /// Reaches what the caller has named, wherever that is.
    own: reqwest::Client,
    /// Reaches public addresses alone.
    public: reqwest::Client,
}

impl Upstream {
    pub(crate) fn new(mirrors: Vec<Mirror>, past: Vec<Past>, private: Vec<String>) -> Result<Self, NetError> {
        let without_end = |text: String| text.trim_end_matches('/').to_owned();
        let mirrors = mirrors.into_iter().map(|Mirror { public, actual }| Mirror {
            public: without_end(public),
            actual: without_end(actual),
        });
        let past = past.into_iter().map(|Past { public, archive }| Past {
            public: without_end(public),
            archive: without_end(archive),
        });
        Ok(Self {
            mirrors: mirrors.collect(),
            past: past.collect(),
            private,
            own: forwarding_client(false)?,
            public: forwarding_client(true)?,
        })
    }

    /// Returns the address by which recordings know what a part asks for.
    pub(crate) fn known_as(&self, url: &Url) -> String {
        let mirrors = self.mirrors.iter();
        let found =
            mirrors.filter_map(|mirror| replaced(url.as_str(), &mirror.actual, &mirror.public)).next();
        found.unwrap_or_else(|| url.to_string())
    }

    /// Returns where an address is asked for that is recorded, in turn. Whatever answers is compared with the recording.
    pub(crate) fn places(&self, address: &str) -> Vec<String> {
        let mirrors = self.mirrors.iter();
        let own = mirrors.filter_map(|mirror| replaced(address, &mirror.public, &mirror.actual)).next();
        let past = self.past.iter().filter_map(|past| replaced(address, &past.public, &past.archive));
        std::iter::once(own.unwrap_or_else(|| address.to_owned())).chain(past).collect()
    }

    /// Returns where an address is asked for that is new.
    fn places_of_new(&self, address: &str) -> Vec<String> {
        let mut places = self.places(address);
        // Indexes of the past may be others than those of the snapshot; what is in the pool has one name for ever.
        if !address.contains("/pool/") {
            places.truncate(1);
        }
        places
    }

    /// Asks for an address that is new, in each of the places where it may be, until one has it; returns the first place's
    /// answer where none has.
    ///
    /// # Errors
    /// When no server can be reached, or may be asked.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> io::Result<reqwest::Response> {
        let mut first = None;
        for place in self.places_of_new(&request.url) {
            let answer = self.ask_at(request.method, &place, headers, body).await;
            if answer.as_ref().is_ok_and(|answer| !is_missing(answer.status().as_u16())) {
                return answer;
            }
            first = first.or(Some(answer));
        }
        first.unwrap_or_else(|| Err(io::Error::other("there is no place to ask")))
    }

    /// Asks for an address in one place.
    ///
    /// # Errors
    /// When its server cannot be reached, or may not be asked.
    pub(crate) async fn ask_at(
        &self,
        method: Method,
        place: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> io::Result<reqwest::Response> {
        let url = Url::parse(place).map_err(io::Error::other)?;
        let is_own = self.is_own(place) || self.is_private(&url);
        let client = if is_own { &self.own } else { &self.public };
        if !is_own {
            check_public(&url)?;
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request = match method {
                Method::Get => client.get(url.clone()),
                Method::Head => client.head(url.clone()),
                Method::Post => client.post(url.clone()).body(body.clone()),
            };
            // The next one to ask may read no other form.
            request = request.header(ACCEPT_ENCODING, "identity");
            for name in SENT_ON {
                if let Some(value) = headers.get(&name) {
                    request = request.header(name, value);
                }
            }
            let answer = request.send().await;
            let is_passing = match &answer {
                Ok(answer) => answer.status().is_server_error() || answer.status().as_u16() == 429,
                Err(error) => !reason(error).to_string().contains(NOT_PUBLIC) && !error.is_builder(),
            };
            if attempt == ATTEMPTS || !is_passing {
                return answer.map_err(|error| reason(&error));
            }
            tokio::time::sleep(pib_net::pause(attempt, None)).await;
        }
    }

    /// Returns whether an address may be asked for: one that the caller or the user has named, or a public one.
    pub(crate) fn may_ask(&self, place: &str) -> bool {
        let url = Url::parse(place);
        url.is_ok_and(|url| self.is_own(place) || self.is_private(&url) || check_public(&url).is_ok())
    }

    /// Returns whether an address is at a server of the user's own network that the user has named.
    fn is_private(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        self.private.iter().any(|named| named == host || *named == with_port)
    }

    /// Returns whether an address is one that the caller has named.
    fn is_own(&self, place: &str) -> bool {
        let mut mirrors = self.mirrors.iter().map(|mirror| &mirror.actual);
        let mut past = self.past.iter().map(|past| &past.archive);
        mirrors.any(|own| is_below(place, own)) || past.any(|own| is_below(place, own))
    }
}

/// Returns whether a server says that it does not have something.
pub(crate) fn is_missing(status: u16) -> bool {
    matches!(status, 404 | 410)
}

fn is_below(address: &str, start: &str) -> bool {
    address.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'))
}

fn replaced(address: &str, from: &str, to: &str) -> Option<String> {
    is_below(address, from).then(|| format!("{to}{}", &address[from.len()..]))
}

/// Returns the innermost reason of an error, which says most.
fn reason(error: &reqwest::Error) -> io::Error {
    let mut inner: &dyn std::error::Error = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    io::Error::other(inner.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_know_one_address_of_all_mirrors() {
        let pair =
            |public: &str, actual: &str| Mirror { public: public.to_owned(), actual: actual.to_owned() };
        let past = Past {
            public: "http://d.example/debian".to_owned(),
            archive: "https://past.example/x/".to_owned(),
        };
        let mirrors = vec![pair("http://d.example/debian/", "https://near.example/pub/debian")];
        let upstream =
            Upstream::new(mirrors, vec![past], vec!["a.example".to_owned(), "b.example:8080".to_owned()])
                .unwrap();
        let known = |text: &str| upstream.known_as(&Url::parse(text).unwrap());
        assert_eq!(known("https://near.example/pub/debian/dists/x"), "http://d.example/debian/dists/x");
        assert_eq!(known("http://d.example/debian/dists/x"), "http://d.example/debian/dists/x");
        assert_eq!(
            known("https://near.example/pub/debian-security/x"),
            "https://near.example/pub/debian-security/x"
        );
        assert_eq!(
            upstream.places_of_new("http://d.example/debian/dists/x"),
            ["https://near.example/pub/debian/dists/x"]
        );
        assert_eq!(
            upstream.places("http://d.example/debian/dists/x"),
            ["https://near.example/pub/debian/dists/x", "https://past.example/x/dists/x"]
        );
        let pool = upstream.places_of_new("http://d.example/debian/pool/a.deb");
        assert_eq!(pool, ["https://near.example/pub/debian/pool/a.deb", "https://past.example/x/pool/a.deb"]);
        assert_eq!(upstream.places_of_new("http://other.example/pool/x"), ["http://other.example/pool/x"]);
        let is_private = |text: &str| upstream.is_private(&Url::parse(text).unwrap());
        assert!(
            is_private("http://a.example/")
                && is_private("https://a.example:9/")
                && is_private("http://b.example:8080/x")
        );
        assert!(!is_private("http://b.example/") && !is_private("http://a.example.evil/"));
        assert!(upstream.is_own("https://near.example/pub/debian/x"));
        assert!(upstream.may_ask("http://far.example/x") && upstream.may_ask("https://b.example:8080/x"));
        assert!(!upstream.may_ask("http://10.0.0.1/x") && !upstream.may_ask("not an address"));
        assert!(
            !upstream.is_own("https://near.example/pub/debian.evil/x")
                && !upstream.is_own("http://127.0.0.1/")
        );
    }
}
