//! Recorded bodies that the store has lost, or never had: fetched once more, from stores that others have filled and from servers.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use pib_plan::recording::{AUTHORIZATION, Method, Request, Response};

use crate::fetch::{length, receive};
use crate::inner::Inner;
use crate::listed;

/// Fetches a recorded body that the store does not have, from wherever it is still to be had. `part` is what a part sent; where
/// none waits, what was sent is not known, and a server cannot be asked again.
///
/// # Errors
/// Says why it is not to be had.
pub(crate) async fn again(
    inner: &Arc<Inner>,
    request: &Request,
    part: Option<(&HeaderMap, &Bytes)>,
    response: &Response,
) -> Result<(), String> {
    let address = &request.url;
    if inner.store.has(&response.digest, response.size) {
        return Ok(());
    }
    if from_stores(inner, response).await? {
        return Ok(());
    }
    let absent = format!("the cache does not have {address}");
    if inner.offline {
        return Err(format!("{absent}, and the network is not used"));
    }
    let nothing = (known_headers(request), Bytes::new());
    let (headers, sent) = match (part, request.method) {
        (Some(part), _) => part,
        (None, Method::Post) => return Err(format!("{absent}, and what was sent there is not recorded")),
        (None, _) => (&nothing.0, &nothing.1),
    };
    let Err(reason) = from_servers(inner, (request, address), headers, sent, response).await else {
        return Ok(());
    };
    for address in listed::other_addresses(inner, request).await {
        if from_servers(inner, (request, &address), headers, sent, response).await.is_ok() {
            return Ok(());
        }
    }
    // What it says under its own address is what matters most.
    Err(reason)
}

/// Fetches a recorded body at one of its addresses, from the servers that may have it there.
async fn from_servers(
    inner: &Inner,
    (request, address): (&Request, &str),
    headers: &HeaderMap,
    sent: &Bytes,
    response: &Response,
) -> Result<(), String> {
    let mut first = None;
    for place in inner.upstream.places(address) {
        let answer = inner.upstream.ask_at(request.method, &place, headers, sent).await;
        let outcome = match answer {
            Ok(found) => keep_known(inner, address, found, response).await,
            Err(error) => Err(format!("the cache does not have {address}: {error}")),
        };
        match outcome {
            Ok(()) => return Ok(()),
            // What this machine's mirror says is what matters most.
            Err(reason) => first = first.or(Some(reason)),
        }
    }
    Err(first.unwrap_or_else(|| format!("the cache does not have {address}")))
}

/// Puts a server's answer into the store, if it is the recorded one.
async fn keep_known(
    inner: &Inner,
    address: &str,
    found: reqwest::Response,
    response: &Response,
) -> Result<(), String> {
    if found.status().as_u16() != response.status {
        return Err(format!("{address} is no longer available ({})", found.status()));
    }
    let changed = || format!("{address} is another file by now than the one that pib.fetch.lock names");
    if length(found.headers()).is_some_and(|length| length != response.size) {
        return Err(changed());
    }
    let arrived = receive(inner, found, response.size, None).await;
    let (file, digest, ..) = arrived.map_err(|error| format!("fetching {address} failed: {error}"))?;
    if digest != response.digest {
        return Err(changed());
    }
    inner.store.keep(file, &digest).map_err(|error| error.to_string())
}

/// Takes a body out of a store that others have filled; returns whether one has it.
async fn from_stores(inner: &Inner, response: &Response) -> Result<bool, String> {
    let taken = inner.stores.take(&response.digest, response.size, &inner.store.temp()).await;
    match taken.map_err(|error| error.to_string())? {
        None => Ok(false),
        Some(file) => {
            inner.store.keep(file, &response.digest).map(|()| true).map_err(|error| error.to_string())
        }
    }
}

/// Returns the headers of a request that are known of it: credentials are not.
fn known_headers(request: &Request) -> HeaderMap {
    let known = request.asked.iter().filter(|(name, value)| *name != AUTHORIZATION && !value.is_empty());
    known
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect()
}
