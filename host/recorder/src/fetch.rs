//! A response on its way from a server to a part, and into the store.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, VARY};
use http::{HeaderMap, StatusCode};
use pib_net::{NOT_PUBLIC, Pace};
use pib_plan::id::Digest;
use pib_plan::recording::{
    ASKED, AUTHORIZATION, HEADERS, MAX_BODY, Method, Request, Response, UNKNOWN_LENGTH, is_asked, is_header,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::inner::{Inner, asked};
use crate::reply::{Answer, refuse, start, streamed};
use crate::store::StoreError;

/// How many pieces may be under way to a part.
const WAITING: usize = 8;
/// In windows of this length, fewer than `FLOOR` bytes a second are too few.
const WINDOW: Duration = Duration::from_secs(30);
/// The fewest bytes a second.
const FLOOR: u64 = 1000;

/// Gives a part what a server has, and records it; `place` is where it is asked for, where that is not its own address.
/// `turn` is held until that is done.
pub(crate) async fn first(
    inner: &Arc<Inner>,
    mut request: Request,
    place: Option<String>,
    headers: &HeaderMap,
    sent: &Bytes,
    turn: OwnedMutexGuard<()>,
) -> Answer {
    let is_head = request.method == Method::Head;
    let found = match ask(inner, &request, place, headers, sent).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let status = found.status().as_u16();
    let length = length(found.headers());
    let size = if status == 200 || is_head { length.unwrap_or(0) } else { 0 };
    request.asked = chosen_by(found.headers(), headers);
    if let Some(reason) = unfit(&request, status, size, found.headers()) {
        let answer = refuse(StatusCode::BAD_GATEWAY, &reason);
        inner.state().failed.insert(request.url, reason);
        return answer;
    }
    if !is_lasting(status) {
        inner.state().failed.insert(request.url, format!("the server answered {}", found.status()));
        return refuse(found.status(), found.status().canonical_reason().unwrap_or("the server refuses"));
    }
    let mut response = Response { status, digest: Digest::of(b""), size, headers: kept(found.headers()) };
    if is_head || status != 200 || length == Some(0) {
        // What a server says beside "there is no such file" is in words of its own: a part gets none of it, then and now.
        if let Err(error) = inner.record(&request, response.clone()) {
            return broken(&error);
        }
        let mut answer = start(&response);
        if is_head {
            answer.headers_mut().insert(CONTENT_LENGTH, size.into());
        }
        return answer;
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut answer = start(&response).map(|_| {
        streamed(futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        }))
    });
    match length {
        Some(length) => drop(answer.headers_mut().insert(CONTENT_LENGTH, length.into())),
        None => {
            let (name, value) = UNKNOWN_LENGTH;
            response.headers.insert(name.to_owned(), value.to_owned());
        }
    }
    let body = Body { inner: Arc::clone(inner), request, found, response };
    let own = Arc::clone(inner);
    tokio::spawn(async move {
        let address = body.request.url.clone();
        if let Err(error) = body.carry(&sender).await {
            // Where the part has gone away, the server has not failed.
            if !sender.is_closed() {
                own.state().failed.insert(address, error.to_string());
            }
            // The part's transfer breaks off, as it would have without pib. Where nobody waits, nobody is told.
            _ = sender.send(Err(error)).await;
        }
        drop(turn);
    });
    answer
}

/// Asks a server; where none answers, returns what the part is told.
async fn ask(
    inner: &Inner,
    request: &Request,
    place: Option<String>,
    headers: &HeaderMap,
    sent: &Bytes,
) -> Result<reqwest::Response, Answer> {
    let answer = match place {
        Some(place) => inner.upstream.ask_at(request.method, &place, headers, sent).await,
        None => inner.upstream.ask(request, headers, sent).await,
    };
    answer.map_err(|error| {
        let reason = error.to_string();
        // Programs ask again for what a server could not say, but not for what is forbidden.
        if reason.contains(NOT_PUBLIC) {
            inner.state().private.insert(request.url.clone());
            return refuse(StatusCode::FORBIDDEN, &reason);
        }
        inner.state().failed.insert(request.url.clone(), reason.clone());
        refuse(StatusCode::BAD_GATEWAY, &reason)
    })
}

/// A body that a part waits for.
struct Body {
    inner: Arc<Inner>,
    request: Request,
    found: reqwest::Response,
    response: Response,
}

impl Body {
    /// Carries it to the part, and into the store: there it is, and in the recording, before the part has the last of it.
    async fn carry(self, part: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let Self { inner, request, found, response } = self;
        let (file, digest, size, last) = receive(&inner, found, MAX_BODY, Some(part)).await?;
        inner.store.keep(file, &digest).map_err(io::Error::other)?;
        let response = Response { digest, size, ..response };
        inner.record(&request, response).map_err(io::Error::other)?;
        if let Some(last) = last {
            // One that goes away now has what it wanted.
            _ = part.send(Ok(last)).await;
        }
        Ok(())
    }
}

/// A body that has arrived: its file, its digest, its size, and the last piece of it.
pub(crate) type Arrived = (tempfile::NamedTempFile, Digest, u64, Option<Bytes>);

/// Writes a body to a file, no more than `limit`; `part` gets every piece on its way but the last.
pub(crate) async fn receive(
    inner: &Inner,
    mut found: reqwest::Response,
    limit: u64,
    part: Option<&mpsc::Sender<io::Result<Bytes>>>,
) -> io::Result<Arrived> {
    let mut file = inner.store.begin().map_err(io::Error::other)?;
    let (mut hasher, mut size, mut pace) = (Sha256::new(), 0_u64, Pace::new(WINDOW, FLOOR));
    let mut last: Option<Bytes> = None;
    while let Some(piece) = found.chunk().await.map_err(io::Error::other)? {
        pace.arrived(piece.len()).map_err(|_| io::Error::other("the server is too slow"))?;
        size += piece.len() as u64;
        if size > limit {
            return Err(io::Error::other("the server sends more than there is"));
        }
        hasher.update(&piece);
        file.write_all(&piece)?;
        if let (Some(part), Some(before)) = (part, last.replace(piece)) {
            part.send(Ok(before)).await.map_err(io::Error::other)?;
        }
    }
    Ok((file, Digest::from_bytes(hasher.finalize().into()), size, last))
}

/// Returns whether a status says something that is worth keeping: what a server has, where it is, or that it is not there.
fn is_lasting(status: u16) -> bool {
    matches!(status, 200 | 301 | 302 | 303 | 307 | 308 | 401 | 404 | 410)
}

/// Returns those headers of a request by which a server chose its response: those that `Vary` names, and the credentials.
fn chosen_by(response: &HeaderMap, request: &HeaderMap) -> BTreeMap<String, String> {
    let vary = response.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        vary.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let any = named.iter().any(|name| name == "*");
    let counts = |name: &str| match name {
        AUTHORIZATION => request.contains_key(name),
        _ => any || named.iter().any(|known| known == name),
    };
    ASKED.iter().filter(|name| counts(name)).map(|name| ((*name).to_owned(), asked(request, name))).collect()
}

/// Returns the length of a body that its server announces.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Says why a response cannot be given again as it is, if so: then no part gets it the first time either.
fn unfit(request: &Request, status: u16, size: u64, headers: &HeaderMap) -> Option<String> {
    let given = HEADERS.iter().filter(|name| headers.contains_key(**name)).count();
    if !request.asked.iter().all(|(name, value)| is_asked(name, value)) {
        return Some("pib cannot record a header of the request".to_owned());
    }
    if (201..=299).contains(&status) {
        return Some(format!("pib cannot record an answer of the status {status}"));
    }
    if size > MAX_BODY {
        return Some("the server has more than pib records".to_owned());
    }
    (given != kept(headers).len()).then(|| "pib cannot record a header of the answer".to_owned())
}

/// Returns those headers of a response that are recorded.
pub(crate) fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let value = |name: &str| {
        // A server may want one of several kinds of credentials, a line each.
        let all: Vec<&str> =
            headers.get_all(name).iter().map(|value| value.to_str().ok()).collect::<Option<_>>()?;
        let value = if name == "www-authenticate" { all.join(", ") } else { (*all.first()?).to_owned() };
        if all.is_empty() {
            return None;
        }
        is_header(name, &value).then(|| (name.to_owned(), value))
    };
    HEADERS.iter().filter_map(|name| value(name)).collect()
}

fn broken(error: &StoreError) -> Answer {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
