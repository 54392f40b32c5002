//! Files that a signed list names by their digests: such as the indexes of a package archive, which its release names.
//!
//! A mirror that is being brought up to date may have the new list and the old files, or the other way round. A part that is given
//! both fails. So what a recorded list names is compared with it before a part gets any of it, looked for under its other names,
//! and asked for again after a while. A list that is new is the one that the server's files fit, where it has the list by several names.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pib_plan::id::Digest;
use pib_plan::recording::{Method, Request, Response};
use url::Url;

use crate::fetch::{kept, length, receive};
use crate::inner::Inner;
use crate::lists::Listed;
use crate::reply::{Answer, refuse};

/// How far above a file its list may be, in folders.
const MAX_LEVELS: usize = 6;
/// The largest list that is read, in bytes. Debian's have less than 1 MiB.
const MAX_LIST: u64 = 16 << 20;

/// How long finding out what files fit a new list may take. apt gives up after 30 seconds without an answer.
const FITTING: Duration = Duration::from_secs(20);

/// How what a list names is fetched.
pub(crate) struct ListedFile {
    /// The addresses at which it may be, in the order in which they are asked.
    addresses: Vec<String>,
    digest: Digest,
    size: u64,
    /// The list that names it.
    list: String,
}

/// What the servers had in one round of questions.
enum Round {
    /// The file, in the store now.
    Found(Response),
    /// Another file, or an answer that says nothing of it.
    Wrong,
    /// Nothing.
    Missing,
}

/// Returns what a recorded list says of the file that a part asks for.
pub(crate) fn find(inner: &Inner, request: &Request) -> Option<ListedFile> {
    let lists = inner.lists.as_ref().filter(|_| request.method == Method::Get)?;
    let address = &*request.url;
    let above = address.match_indices('/').map(|(at, _)| &address[..=at]).rev().take(MAX_LEVELS);
    for folder in above {
        for name in lists.names() {
            let list = format!("{folder}{name}");
            let Some(text) = recorded_text(inner, &list).filter(|_| list != address) else { continue };
            if let Some(Listed { digest, size, others }) = lists.listed(&text, &address[folder.len()..]) {
                let mut addresses = vec![address.to_owned()];
                addresses.extend(beside(address, folder, &others));
                return Some(ListedFile { addresses, digest, size, list });
            }
        }
    }
    None
}

/// Returns the addresses of other paths from a folder, but for the first address. None leads out of the folder above it.
fn beside(first: &str, folder: &str, others: &[String]) -> Vec<String> {
    let above = folder.trim_end_matches('/').rsplit_once('/').map_or(folder, |(above, _)| above);
    let address = |path: &String| {
        let url = Url::parse(folder).ok()?.join(path).ok()?;
        let is_beside = url.as_str().strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
        is_beside.then(|| url.to_string())
    };
    let mut addresses: Vec<String> = others.iter().filter_map(address).collect();
    addresses.retain(|address| address != first);
    addresses
}

/// Splits the address of a list into its folder and its name; `None` where it is the address of something else.
fn split<'a>(inner: &Inner, address: &'a str) -> Option<(&'a str, &'a str)> {
    let (folder, name) = address.split_at(address.rfind('/')? + 1);
    inner.lists.as_ref().filter(|lists| lists.names().contains(&name)).map(|_| (folder, name))
}

/// Returns whether an address is that of a list.
pub(crate) fn is_list(inner: &Inner, address: &str) -> bool {
    split(inner, address).is_some()
}

/// Returns where a list is asked for that is new: `None` where that is its own address, and for everything else.
pub(crate) async fn fitting_place(inner: &Inner, request: &Request) -> Option<String> {
    let lists = inner.lists.as_ref().filter(|_| request.method == Method::Get)?;
    split(inner, &request.url)?;
    let place = inner.upstream.places(&request.url).into_iter().next()?;
    if !inner.upstream.may_ask(&place) {
        return None;
    }
    // A server that is too slow for the question is asked for the list itself.
    tokio::time::timeout(FITTING, lists.fitting(&request.url, &place)).await.ok().flatten()
}

/// Returns the other addresses at which a recorded response may be had that its own address does not give any more.
pub(crate) async fn other_addresses(inner: &Arc<Inner>, request: &Request) -> Vec<String> {
    let Some((folder, name)) = split(inner, &request.url) else {
        let (own, request) = (Arc::clone(inner), request.clone());
        let file = tokio::task::spawn_blocking(move || find(&own, &request)).await.ok().flatten();
        return file.map(|file| file.addresses).into_iter().flatten().skip(1).collect();
    };
    let (Some(lists), Some(place)) = (&inner.lists, inner.upstream.places(&request.url).into_iter().next())
    else {
        return Vec::new();
    };
    let asked = inner.upstream.ask_at(Method::Get, &place, &HeaderMap::new(), &Bytes::new()).await;
    let Ok(found) = asked else { return Vec::new() };
    let Ok((file, ..)) = receive(inner, found, MAX_LIST, None).await else { return Vec::new() };
    let mut text = String::new();
    let read = file.reopen().and_then(|file| file.take(MAX_LIST).read_to_string(&mut text));
    match read {
        Ok(_) => beside(&request.url, folder, &lists.others(&text, name)),
        Err(_) => Vec::new(),
    }
}

/// Returns the recorded text at an address.
fn recorded_text(inner: &Inner, address: &str) -> Option<String> {
    let response = inner.recorded_plainly(&Request::get(address))?;
    let file = inner.store.open(&response.digest, response.size).filter(|_| response.status == 200)?;
    let mut text = String::new();
    file.take(MAX_LIST).read_to_string(&mut text).ok()?;
    Some(text)
}

impl ListedFile {
    /// Fetches the file and records it; asks again after a while where a server has another one. Returns `None` where servers do
    /// not have any: a list may name what mirrors do not keep.
    ///
    /// # Errors
    /// Says that the servers do not have the file that the list names.
    pub(crate) async fn fetch(
        &self,
        inner: &Arc<Inner>,
        request: &Request,
        headers: &HeaderMap,
    ) -> Result<Option<Response>, Answer> {
        let reason =
            format!("no mirror has the file that {} names; a mirror is being brought up to date", self.list);
        if self.was_just_refused(inner) {
            return Err(refuse(StatusCode::BAD_GATEWAY, &reason));
        }
        for (number, pause) in self.pauses(inner).into_iter().map(Some).chain([None]).enumerate() {
            match self.ask_all(inner, headers).await {
                Round::Missing => return Ok(None),
                Round::Found(response) => match inner.record(request, response.clone()) {
                    Ok(()) => return Ok(Some(response)),
                    Err(error) => return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
                },
                Round::Wrong => match pause {
                    Some(pause) => {
                        if number == 0 {
                            self.report_waiting(inner);
                        }
                        tokio::time::sleep(pause).await;
                    }
                    None => break,
                },
            }
        }
        let mut state = inner.state();
        state.out_of_step.insert(self.list.clone());
        state.refused_at.insert(self.digest, Instant::now());
        state.failed.insert(request.url.clone(), reason.clone());
        drop(state);
        Err(refuse(StatusCode::BAD_GATEWAY, &reason))
    }

    /// Returns how long is waited before each further round of questions: not at all where the list has named another file that
    /// did not come in all that time. Programs ask again by themselves, and for the same in other forms, so that a part would
    /// stand still for minutes.
    fn pauses(&self, inner: &Inner) -> Vec<Duration> {
        match inner.state().out_of_step.contains(&self.list) {
            true => Vec::new(),
            false => inner.pauses.clone(),
        }
    }

    /// Returns whether no server had the file a moment ago, although it was waited for.
    fn was_just_refused(&self, inner: &Inner) -> bool {
        inner.state().refused_at.get(&self.digest).is_some_and(|at| at.elapsed() < inner.refusal)
    }

    /// Tells, once for each list, that a part waits for a mirror.
    fn report_waiting(&self, inner: &Inner) {
        if let Some(report) =
            inner.waiting.as_ref().filter(|_| inner.state().waited_for.insert(self.list.clone()))
        {
            let seconds = inner.pauses.iter().sum::<Duration>().as_secs();
            report(&format!(
                "a mirror is being brought up to date: it does not have what {} names; it is asked again for {seconds} seconds",
                self.list
            ));
        }
    }

    /// Asks for the file at each address, at each server that has it.
    async fn ask_all(&self, inner: &Inner, headers: &HeaderMap) -> Round {
        let mut round = Round::Missing;
        for address in &self.addresses {
            // The digest tells the right file, so that archives of the past may have it as well.
            for place in inner.upstream.places(address) {
                let Ok(found) = inner.upstream.ask_at(Method::Get, &place, headers, &Bytes::new()).await
                else {
                    continue;
                };
                if found.status() != StatusCode::OK {
                    continue;
                }
                match self.take(inner, found).await {
                    Some(response) => return Round::Found(response),
                    None => round = Round::Wrong,
                }
            }
        }
        round
    }

    /// Puts a server's answer into the store, if it is the file.
    async fn take(&self, inner: &Inner, found: reqwest::Response) -> Option<Response> {
        if length(found.headers()).is_some_and(|length| length != self.size) {
            return None;
        }
        let headers = kept(found.headers());
        let (file, digest, size, _) = receive(inner, found, self.size, None).await.ok()?;
        if digest != self.digest {
            return None;
        }
        inner.store.keep(file, &digest).ok()?;
        Some(Response { status: 200, digest, size, headers })
    }
}
