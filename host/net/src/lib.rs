//! The HTTP client that every adapter shares: bounded, patient with busy servers, and never silent.
//!
//! Invariants: a response is never read past the caller's limit; a redirect never leaves TLS; what fails for a
//! passing reason (a dropped connection, 429, 5xx) is tried again a few times before it becomes an error.
//! A token goes to the origin that it is for and, after a redirect, to no other. Deliberately absent: keeping what was
//! fetched, and digests of a protocol's own; callers know what they expect.

mod error;
mod pace;
mod public;

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pib_plan::credential::Credential;
use pib_plan::id::Digest;
use reqwest::{Method, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

pub use error::{NetError, certificate_fault, is_passing};
pub use pace::{Pace, TooSlow};
pub use public::{NOT_PUBLIC, check_public, forwarding_client, is_public, public_addresses};

/// How often one request is made before its failure is reported.
const ATTEMPTS: u32 = 4;
/// The pause after the first failed attempt; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(400);
/// The longest pause that a server may ask for with `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a server has for the head of its answer, redirects included, and how long none of the rest may arrive.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a server has to take what is sent to it, and to answer.
const UPLOAD: Duration = Duration::from_secs(600);
/// How long an impatient client waits for the head of an answer.
const IMPATIENCE: Duration = Duration::from_secs(10);
/// In windows of this length, fewer than `FLOOR` bytes a second are too few.
const WINDOW: Duration = Duration::from_secs(30);
/// The fewest bytes a second.
const FLOOR: u64 = 1000;

/// What a server says of a file's state, to ask it later whether the file has changed (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Validators {
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// The shared HTTP client; cloning it is cheap and shares its connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    /// What lets the user in at one server.
    credential: Option<Arc<Credential>>,
    /// How long a server may be silent.
    silence: Duration,
    /// How long it may be slow.
    window: Duration,
    /// How often one request is made before its failure is reported.
    attempts: u32,
}

impl Http {
    /// Returns a client with pib's user agent, time-outs and redirect policy.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new() -> Result<Self, NetError> {
        Self::with_bounds(SILENCE, WINDOW)
    }

    /// Returns a client that asks once and does not wait long for an answer: what it asks for is worth having, and nobody
    /// should wait for it where there is no network.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn impatient() -> Result<Self, NetError> {
        Ok(Self { attempts: 1, ..Self::with_bounds(IMPATIENCE, WINDOW)? })
    }

    /// Returns a client that waits for `silence` at most, and judges a server's rate over `window`.
    fn with_bounds(silence: Duration, window: Duration) -> Result<Self, NetError> {
        let client = client(reqwest::Client::builder, silence, redirect_policy)?;
        Ok(Self { client, credential: None, silence, window, attempts: ATTEMPTS })
    }

    /// Returns a client that also lets the user in where the credential covers what is asked for, and nowhere else.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn with_credential(&self, credential: &Credential) -> Result<Self, NetError> {
        let client = match credential.scope().scheme() {
            "https" => self.client.clone(),
            // What is to stay on this machine does not go through the proxy that the environment names.
            _ => client(|| reqwest::Client::builder().no_proxy(), self.silence, redirect_policy)?,
        };
        Ok(Self { client, credential: Some(Arc::new(credential.clone())), ..self.clone() })
    }

    /// Returns the client itself, for a protocol that is more than fetching a file.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Returns the bytes at `url`, which must be no more than `limit`.
    ///
    /// # Errors
    /// When the file cannot be fetched or is too large.
    pub async fn bytes(&self, url: &Url, limit: u64) -> Result<Vec<u8>, NetError> {
        let changed = self.changed(url, limit, &Validators::default()).await?;
        // Whoever knows nothing of a file is not told that it is as it was: `stream` sees to that.
        Ok(changed.map(|(bytes, _)| bytes).unwrap_or_default())
    }

    /// Returns the bytes at `url`, no more than `limit`, and what tells them from others later; `None` where they are
    /// still those that `known` is about.
    ///
    /// # Errors
    /// When the file cannot be fetched or is too large.
    pub async fn changed(
        &self,
        url: &Url,
        limit: u64,
        known: &Validators,
    ) -> Result<Option<(Vec<u8>, Validators)>, NetError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut body = Vec::new();
            let sink = &mut |chunk: &[u8]| {
                body.extend_from_slice(chunk);
                Ok(())
            };
            match self.stream(url, limit, known, sink).await {
                Ok(answer) => return Ok(answer.map(|validators| (body, validators))),
                Err(failure) => failure.pause_or_fail(attempt, self.attempts).await?,
            }
        }
    }

    /// Writes the bytes at `url`, no more than `limit`, to the start of `file` and returns their digest.
    ///
    /// `moved` is told how many bytes have arrived since it was last called; after a broken connection the
    /// download starts again, and the number is negative by what was lost.
    ///
    /// # Errors
    /// When the file cannot be fetched, is too large, or cannot be written.
    pub async fn download(
        &self,
        url: &Url,
        limit: u64,
        file: &mut File,
        moved: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<Digest, NetError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (mut hasher, mut count) = (Sha256::new(), 0_i64);
            let reset = file.rewind().and_then(|()| file.set_len(0));
            reset.map_err(|source| NetError::Write { url: url.clone().into(), source })?;
            let sink = &mut |chunk: &[u8]| {
                hasher.update(chunk);
                count += chunk.len() as i64;
                moved(chunk.len() as i64);
                file.write_all(chunk)
            };
            match self.stream(url, limit, &Validators::default(), sink).await {
                Ok(_) => return Ok(Digest::from_bytes(hasher.finalize().into())),
                Err(failure) => {
                    moved(-count);
                    failure.pause_or_fail(attempt, self.attempts).await?;
                }
            }
        }
    }

    /// Hands the bytes at `url`, no more than `limit`, to `sink` as they arrive. It is asked once: what the sink has got
    /// cannot be taken back.
    ///
    /// # Errors
    /// When the file cannot be fetched, is too large, or the sink does not take it.
    pub async fn pour(
        &self,
        url: &Url,
        limit: u64,
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), NetError> {
        let poured = self.stream(url, limit, &Validators::default(), sink).await;
        poured.map(drop).map_err(|failure| failure.error)
    }

    /// Sends a request with a body; returns the server's status, and of its answer no more than `limit` bytes, also where it
    /// refuses. It is sent again only where the server says that it takes no more requests for a while. A redirect is followed as for
    /// reading, and the token goes to no other server.
    ///
    /// # Errors
    /// When the server cannot be reached, is silent, or answers with more.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<(StatusCode, Vec<u8>), NetError> {
        let body = Bytes::from(body);
        let mut attempt = 1;
        loop {
            let (mut response, began) = self.send_once(&method, url, body.clone()).await?;
            let wait = retry_after(&response).filter(|wait| !is_too_long(*wait));
            match wait
                .filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS && attempt < self.attempts)
            {
                // The server has done nothing with it, and says when it will.
                Some(wait) => tokio::time::sleep(wait).await,
                None => return self.answer(&mut response, (url, began), limit).await,
            }
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &Url,
        body: Bytes,
    ) -> Result<(Response, Instant), NetError> {
        // A server needs time to judge what it gets, and none where it gets nothing.
        let wait = if body.is_empty() { self.silence } else { UPLOAD };
        let mut request = self.client.request(method.clone(), url.clone()).body(body);
        if let Some(credential) = self.credential.as_ref().filter(|credential| credential.covers(url)) {
            request = request.bearer_auth(credential.token());
        }
        let began = Instant::now();
        let sent = tokio::time::timeout(wait, request.timeout(UPLOAD).send()).await;
        let sent = sent.map_err(|_| NetError::silent(url, wait))?;
        sent.map(|response| (response, began)).map_err(|error| self.broken(url, began, error))
    }

    /// Returns the error for a request with a body that got no whole answer.
    fn broken(&self, url: &Url, began: Instant, error: reqwest::Error) -> NetError {
        match error.is_timeout() && !error.is_connect() {
            true => NetError::silent(url, if began.elapsed() < UPLOAD { self.silence } else { UPLOAD }),
            false => NetError::of(url, error),
        }
    }

    /// Reads an answer, no more than `limit` bytes of it.
    async fn answer(
        &self,
        response: &mut Response,
        (url, began): (&Url, Instant),
        limit: usize,
    ) -> Result<(StatusCode, Vec<u8>), NetError> {
        let mut answer = Vec::new();
        let mut pace = Pace::new(self.window, FLOOR);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(url, began, error))? {
            pace.arrived(chunk.len()).map_err(|slow| NetError::slow(url, slow))?;
            if answer.len() + chunk.len() > limit {
                return Err(NetError::TooLarge { url: url.clone().into(), limit: limit as u64 });
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status(), answer))
    }

    /// Makes one attempt and hands every chunk to `sink`; `None` where the file is the `known` one.
    async fn stream(
        &self,
        url: &Url,
        limit: u64,
        known: &Validators,
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<Option<Validators>, Failure> {
        let transport = |source| NetError::of(url, source);
        let (request, conditional) = self.request(url, known);
        let silent = || NetError::Silent { url: url.clone().into(), seconds: self.silence.as_secs() };
        let sent = tokio::time::timeout(self.silence, request.send()).await;
        let mut response = sent.map_err(|_| silent())?.map_err(|error| match error.is_timeout() {
            // The HTTP library keeps the same bound, and may be the first to see it.
            true if !error.is_connect() => silent(),
            _ => transport(error),
        })?;
        if response.status() == StatusCode::NOT_MODIFIED && conditional {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(Failure::of(url, &response));
        }
        let too_large = || NetError::TooLarge { url: url.clone().into(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let mut left = limit;
        let mut pace = Pace::new(self.window, FLOOR);
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            pace.arrived(chunk.len()).map_err(|slow| NetError::slow(url, slow))?;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(too_large)?;
            sink(&chunk).map_err(|source| NetError::Write { url: url.clone().into(), source })?;
        }
        let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Ok(Some(Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }))
    }

    /// Returns a request for `url` unless it is still the `known` one, and whether it asks for that.
    fn request(&self, url: &Url, known: &Validators) -> (reqwest::RequestBuilder, bool) {
        let mut request = self.client.get(url.clone());
        // Of a redirect to another server, the HTTP library takes the token away.
        if let Some(credential) = self.credential.as_ref().filter(|credential| credential.covers(url)) {
            request = request.bearer_auth(credential.token());
        }
        let conditions = [
            (header::IF_NONE_MATCH, known.etag.as_ref()),
            (header::IF_MODIFIED_SINCE, known.last_modified.as_ref()),
        ];
        let mut conditional = false;
        for (name, value) in conditions {
            if let Some(value) = value {
                conditional = true;
                request = request.header(name, value);
            }
        }
        (request, conditional)
    }
}

/// One failed attempt, and how long the server asked to be left alone.
struct Failure {
    error: NetError,
    retry_after: Option<Duration>,
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self { error, retry_after: None }
    }
}

impl Failure {
    /// Returns the failure that an answer tells of.
    fn of(url: &Url, response: &Response) -> Self {
        let (url, status, retry_after) = (url.clone().into(), response.status(), retry_after(response));
        let error = match retry_after.filter(|pause| is_passing(status) && is_too_long(*pause)) {
            Some(pause) => NetError::Busy { url, status, seconds: pause.as_secs() },
            None => NetError::Status { url, status },
        };
        Self { error, retry_after }
    }

    /// Waits where another attempt may help, else returns the error.
    async fn pause_or_fail(self, attempt: u32, attempts: u32) -> Result<(), NetError> {
        if attempt >= attempts || !self.error.is_passing() {
            return Err(self.error);
        }
        tokio::time::sleep(pause(attempt, self.retry_after)).await;
        Ok(())
    }
}

/// Returns a client for a protocol that is more than fetching files, with the bounds of [`Http`]. It follows redirects as that
/// does, or none; what `stays_here`, on this machine, goes through no proxy that the environment names.
///
/// # Errors
/// When the TLS library cannot be set up.
pub fn protocol_client(follows: bool, stays_here: bool) -> Result<reqwest::Client, NetError> {
    let start = || match stays_here {
        true => reqwest::Client::builder().no_proxy(),
        false => reqwest::Client::builder(),
    };
    match follows {
        true => client(start, SILENCE, redirect_policy),
        false => client(start, SILENCE, reqwest::redirect::Policy::none),
    }
}

/// Returns a client with what all have in common.
fn client(
    start: impl Fn() -> reqwest::ClientBuilder,
    silence: Duration,
    redirects: impl Fn() -> reqwest::redirect::Policy,
) -> Result<reqwest::Client, NetError> {
    // Another part of the process may have installed a provider already; either one will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        start()
            .user_agent(concat!("pib/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(silence)
            .referer(false)
            .redirect(redirects())
    };
    // A machine without the authorities' certificates can still use plain HTTP, where Debian's packages
    // are; what it asks for over TLS then fails with the server's name.
    let without_tls = |_| builder().tls_backend_preconfigured(trusting_nobody()).build();
    builder().build().or_else(without_tls).map_err(NetError::Client)
}

fn trusting_nobody() -> rustls::ClientConfig {
    rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// Returns how long to wait after a failed attempt (the first is 1), given what the server asked for.
pub fn pause(attempt: u32, asked: Option<Duration>) -> Duration {
    asked.unwrap_or_else(|| BACKOFF * 2_u32.pow(attempt - 1)).min(LONGEST_PAUSE)
}

/// Returns whether a server asks to be left alone for longer than anyone wants to wait.
pub fn is_too_long(pause: Duration) -> bool {
    pause > LONGEST_PAUSE
}

/// Returns how long the server asks to be left alone, where it says so in seconds.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Follows a few redirects, but never from TLS to plain HTTP: the caller asked for a protected transfer.
fn redirect_policy() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let was_protected = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > 8 {
            attempt.error("too many redirects")
        } else if was_protected && attempt.url().scheme() != "https" {
            attempt.error("the server redirects from https to plain http")
        } else {
            attempt.follow()
        }
    })
}

#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub mod testing;

#[cfg(test)]
mod tests;
