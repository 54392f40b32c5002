//! A repository of an OCI registry, by the OCI distribution specification 1.1: blobs by their digests, and manifests by tags.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use pib_net::Pace;
use pib_plan::credential::is_this_machine;
use pib_plan::id::Digest;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION,
};
use reqwest::{Client, Method, Request, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;
use url::Url;

use crate::access::Access;
use crate::docker_config::{self, Login};
use crate::error::{ObjectError, innermost};
use crate::oci_login::{Challenge, basic, challenge, token};
use crate::oci_manifest::{self, MANIFEST, MANIFEST_ROOM};

/// How often a request is made before its failure is reported.
const ATTEMPTS: u32 = 3;
/// How long the registry has for the head of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Larger files are sent in pieces of this size: each has the time of an answer.
const CHUNK: u64 = 4 << 20;
/// In windows of this length, fewer than `FLOOR` bytes a second are too few.
const WINDOW: Duration = Duration::from_secs(30);
const FLOOR: u64 = 1000;
/// The longest answer with an error that is read, in bytes.
const MAX_ERROR: usize = 64 << 10;
/// How many files one manifest lists: registries take manifests of 4 MiB.
const MAX_FILES: usize = 10_000;
const FILE: &str = "application/octet-stream";
/// How many digits of a key a tag has; the text under it has them all.
const TAG_DIGITS: usize = 24;
/// What all manifests have as their config.
const NOTHING: &[u8] = b"{}";

/// A repository, and what lets the user in there.
pub(crate) struct Repository {
    host: String,
    name: String,
    tag: String,
    base: Url,
    /// The clients that follow redirects, and that do not: what is sent goes where it is sent.
    reader: Client,
    writer: Client,
    access: Access,
    /// What was let in before: for reading, for writing.
    let_in: Mutex<[Option<HeaderValue>; 2]>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Pull,
    Push,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorEntry {
    code: String,
}

impl Repository {
    /// Returns a repository. Nothing is asked of its registry yet.
    ///
    /// # Errors
    /// When the host is none, or the HTTP client cannot be made.
    pub(crate) fn new(host: &str, name: &str, tag: &str, access: &Access) -> Result<Self, ObjectError> {
        let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let bad = || ObjectError::Settings(format!("`{host}` is not the host of a registry"));
        let mut base = Url::parse(&format!("https://{server}/")).map_err(|_| bad())?;
        let stays_here = is_this_machine(&base);
        if stays_here {
            // As `docker` does: a registry of this machine needs no certificate.
            base = Url::parse(&format!("http://{server}/")).map_err(|_| bad())?;
        }
        let client = |follows| {
            pib_net::protocol_client(follows, stays_here)
                .map_err(|error| ObjectError::Settings(error.to_string()))
        };
        Ok(Self {
            host: host.to_owned(),
            name: name.to_owned(),
            tag: tag.to_owned(),
            base,
            reader: client(true)?,
            writer: client(false)?,
            access: access.clone(),
            let_in: Mutex::default(),
        })
    }

    /// Writes a blob, no more than `size` bytes, into `file` and returns its digest; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked, the blob is larger, or the file cannot be written.
    pub(crate) async fn download(
        &self,
        digest: &Digest,
        size: u64,
        file: &mut File,
    ) -> Result<Option<Digest>, ObjectError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let found = self.send(Scope::Pull, &|| Request::new(Method::GET, url.clone())).await?;
        let mut found = match found.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => found,
            _ => return Err(self.refused(found, "reading a file").await),
        };
        if found.content_length().is_some_and(|length| length > size) {
            return Err(ObjectError::TooLarge(size));
        }
        let (mut hasher, mut pace, mut left) = (Sha256::new(), Pace::new(WINDOW, FLOOR), size);
        while let Some(chunk) = found.chunk().await.map_err(|error| self.broken(error))? {
            pace.arrived(chunk.len()).map_err(|slow| {
                let (seconds, floor) = (slow.seconds, slow.floor);
                ObjectError::Server(format!(
                    "for {seconds} seconds it brought fewer than {floor} bytes a second"
                ))
            })?;
            left = left.checked_sub(chunk.len() as u64).ok_or(ObjectError::TooLarge(size))?;
            hasher.update(&chunk);
            file.write_all(&chunk).map_err(ObjectError::Here)?;
        }
        Ok(Some(Digest::from_bytes(hasher.finalize().into())))
    }

    /// Returns the size of a blob; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<Option<u64>, ObjectError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let found = self.send(Scope::Push, &|| Request::new(Method::HEAD, url.clone())).await?;
        match found.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let length = found.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(length.and_then(|length| length.parse().ok()))
            }
            _ => Err(self.refused(found, "asking for a file").await),
        }
    }

    /// Puts a file of this size into the repository. The registry compares it with its digest.
    ///
    /// # Errors
    /// When the file cannot be read, or the registry does not take it.
    pub(crate) async fn upload(&self, digest: &Digest, from: &Path, size: u64) -> Result<(), ObjectError> {
        let file = pib_file::open(from).map_err(ObjectError::Here)?;
        let mut file = tokio::fs::File::from_std(file).take(size);
        let mut sent = 0;
        let mut location = self.begin_upload().await?;
        loop {
            let mut chunk = Vec::new();
            (&mut file).take(CHUNK).read_to_end(&mut chunk).await.map_err(ObjectError::Here)?;
            let length = chunk.len() as u64;
            if sent + length >= size || chunk.is_empty() {
                return self.finish_upload(location, digest, chunk, (sent > 0).then_some(sent)).await;
            }
            let patch = || {
                let mut request = Request::new(Method::PATCH, location.clone());
                with_body(&mut request, &chunk, Some((sent, length)));
                request
            };
            let answer = self.send(Scope::Push, &patch).await?;
            if answer.status() != StatusCode::ACCEPTED {
                return Err(self.refused(answer, "sending a file").await);
            }
            location = self.location(&answer)?;
            sent += length;
        }
    }

    async fn begin_upload(&self) -> Result<Url, ObjectError> {
        let url = self.url("blobs/uploads/")?;
        let begin = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            request
        };
        let begun = self.send(Scope::Push, &begin).await?;
        match begun.status() {
            StatusCode::ACCEPTED => self.location(&begun),
            _ => Err(self.refused(begun, "sending a file").await),
        }
    }

    async fn finish_upload(
        &self,
        mut location: Url,
        digest: &Digest,
        rest: Vec<u8>,
        sent: Option<u64>,
    ) -> Result<(), ObjectError> {
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = || {
            let mut request = Request::new(Method::PUT, location.clone());
            let range = sent.filter(|_| !rest.is_empty()).map(|sent| (sent, rest.len() as u64));
            with_body(&mut request, &rest, range);
            request
        };
        let done = self.send(Scope::Push, &put).await?;
        match done.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(self.refused(done, "sending a file").await),
        }
    }

    /// Lists the files in manifests with tags of their own: a registry removes blobs that no manifest lists. A tag derives from
    /// what it lists, so that two who push at the same time cannot undo each other's.
    ///
    /// # Errors
    /// When the registry does not take them.
    pub(crate) async fn list_content(&self, files: &[(Digest, u64)]) -> Result<(), ObjectError> {
        self.put_config().await?;
        for files in files.chunks(MAX_FILES) {
            let text = oci_manifest::text(NOTHING, files, None)?;
            let tag = format!("{}-{}", self.tag, &Digest::of(&text).hex()[..16]);
            self.put_manifest(&tag, &text, "writing the list of files").await?;
        }
        Ok(())
    }

    /// Returns the text that stands under a key, no more than `limit` bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked, or has something else there.
    pub(crate) async fn entry(&self, key: &Digest, limit: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        const DOING: &str = "reading an entry";
        let url = self.url(&format!("manifests/{}", self.entry_tag(key)))?;
        let get = || {
            let mut request = Request::new(Method::GET, url.clone());
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(MANIFEST));
            request
        };
        let mut found = self.send(Scope::Pull, &get).await?;
        match found.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            _ => return Err(self.refused(found, DOING).await),
        }
        // In a manifest, a text has a backslash before each of its quotation marks.
        let most = limit.saturating_mul(2).saturating_add(MANIFEST_ROOM);
        let mut bytes = Vec::new();
        while let Some(chunk) = found.chunk().await.map_err(|error| self.broken(error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Err(ObjectError::TooLarge(limit));
            }
        }
        let text = oci_manifest::entry(&bytes)
            .ok_or_else(|| ObjectError::Server(format!("{DOING} failed: what is there is not one")))?;
        if text.len() as u64 > limit {
            Err(ObjectError::TooLarge(limit))
        } else {
            Ok(Some(text.into_bytes()))
        }
    }

    /// Puts a text under a key, in a manifest that lists the files that it names: as long as it is there, the registry keeps them.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub(crate) async fn put_entry(
        &self,
        key: &Digest,
        text: &str,
        files: &[(Digest, u64)],
    ) -> Result<(), ObjectError> {
        self.put_config().await?;
        let manifest = oci_manifest::text(NOTHING, files, Some(text))?;
        self.put_manifest(&self.entry_tag(key), &manifest, "writing an entry").await
    }

    fn entry_tag(&self, key: &Digest) -> String {
        format!("{}-{}", self.tag, &key.hex()[..TAG_DIGITS])
    }

    /// Sends what all manifests have as their config, where the registry does not have it.
    async fn put_config(&self) -> Result<(), ObjectError> {
        let config = Digest::of(NOTHING);
        if self.size(&config).await?.is_none() {
            let location = self.begin_upload().await?;
            self.finish_upload(location, &config, NOTHING.to_vec(), None).await?;
        }
        Ok(())
    }

    async fn put_manifest(&self, tag: &str, text: &[u8], doing: &str) -> Result<(), ObjectError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let put = || {
            let mut request = Request::new(Method::PUT, url.clone());
            with_body(&mut request, text, None);
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
            request
        };
        let done = self.send(Scope::Push, &put).await?;
        if done.status() == StatusCode::CREATED { Ok(()) } else { Err(self.refused(done, doing).await) }
    }

    fn url(&self, rest: &str) -> Result<Url, ObjectError> {
        self.base
            .join(&format!("v2/{}/{rest}", self.name))
            .map_err(|error| ObjectError::Server(error.to_string()))
    }

    /// Returns where the registry wants the next piece of a file.
    fn location(&self, answer: &Response) -> Result<Url, ObjectError> {
        let bad =
            |why: &str| ObjectError::Server(format!("{} names a place for a file that {why}", self.host));
        let text = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let mut url = answer.url().join(text.ok_or_else(|| bad("is none"))?).map_err(|_| bad("is none"))?;
        if self.base.scheme() == "https" && url.scheme() == "http" && url.host_str() == self.base.host_str() {
            // One behind a proxy may not know that it is protected.
            _ = url.set_scheme("https");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.base.scheme() == "http" => Ok(url),
            _ => Err(bad("is not protected")),
        }
    }

    /// Sends a request until it is answered, with what lets the user in where the registry asks for that.
    async fn send(&self, scope: Scope, make: &(dyn Fn() -> Request + Sync)) -> Result<Response, ObjectError> {
        let (mut attempt, mut has_logged_in) = (1, false);
        loop {
            let mut request = make();
            let reads = request.method() == Method::GET || request.method() == Method::HEAD;
            let client = if reads { &self.reader } else { &self.writer };
            let used = self.let_in.lock().await[scope as usize].clone();
            // A place for a file may be another server's, which is sent nothing that is for this one.
            if let Some(value) = used.clone().filter(|_| request.url().origin() == self.base.origin()) {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let sent = tokio::time::timeout(ANSWER, client.execute(request)).await;
            let answer = match sent {
                Err(_) => {
                    return Err(ObjectError::Server(format!(
                        "no answer came for {} seconds",
                        ANSWER.as_secs()
                    )));
                }
                Ok(Err(error)) if attempt < ATTEMPTS && !error.is_builder() && !error.is_redirect() => {
                    tokio::time::sleep(pib_net::pause(attempt, None)).await;
                    attempt += 1;
                    continue;
                }
                Ok(Err(error)) => return Err(self.broken(error)),
                Ok(Ok(answer)) => answer,
            };
            if answer.status() == StatusCode::UNAUTHORIZED && !has_logged_in {
                has_logged_in = true;
                self.log_in(scope, &answer, used.as_ref()).await?;
                continue;
            }
            let pause = pib_net::retry_after(&answer);
            let is_worth_it = pause.is_none_or(|pause| !pib_net::is_too_long(pause));
            if pib_net::is_passing(answer.status()) && attempt < ATTEMPTS && is_worth_it {
                tokio::time::sleep(pib_net::pause(attempt, pause)).await;
                attempt += 1;
                continue;
            }
            return Ok(answer);
        }
    }

    /// Finds what the registry asks for, and keeps it for the next requests; `used` was not enough.
    async fn log_in(
        &self,
        scope: Scope,
        answer: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<(), ObjectError> {
        let mut let_in = self.let_in.lock().await;
        if let_in[scope as usize].as_ref() != used {
            // Another request has done that meanwhile.
            return Ok(());
        }
        let login = docker_config::login(&self.access, &self.host).await?;
        let denied = |why: &str| {
            let host = &self.host;
            ObjectError::Denied(format!(
                "the registry {host} asks who you are, and {why}: run `docker login {host}`"
            ))
        };
        let value = match (challenge(answer.headers()), &login) {
            (Some(Challenge::Basic), Some(Login::Password { user, secret })) => {
                basic(user, secret).ok_or_else(|| denied("your login has no valid password"))?
            }
            (Some(Challenge::Basic), _) => return Err(denied("you have not logged in there")),
            (Some(Challenge::Bearer { realm, service }), login) => {
                let actions = if scope == Scope::Push { "pull,push" } else { "pull" };
                let wanted = format!("repository:{}:{actions}", self.name);
                let realm = (realm.as_str(), service.as_deref());
                token(&self.writer, &self.access, &self.base, realm, &wanted, login.as_ref()).await?
            }
            (None, _) => return Err(denied("does not say how to answer")),
        };
        let_in[scope as usize] = Some(value);
        Ok(())
    }

    fn broken(&self, error: reqwest::Error) -> ObjectError {
        let reason = match pib_net::certificate_fault(&error) {
            Some(fault) => format!("its certificate is not trusted here ({fault})"),
            None => innermost(&error.without_url()),
        };
        ObjectError::Server(reason)
    }

    /// Returns what an answer means that is not what was asked for.
    async fn refused(&self, mut answer: Response, doing: &str) -> ObjectError {
        let (status, mut text) = (answer.status(), Vec::new());
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_ERROR {
                break;
            }
        }
        let errors: Errors = serde_json::from_slice(&text).unwrap_or_default();
        let code = errors.errors.into_iter().map(|entry| entry.code).find(|code| {
            let is_code = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            !code.is_empty() && code.len() <= 40 && code.bytes().all(is_code)
        });
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let Self { host, name, .. } = self;
        match status.as_u16() {
            401 | 403 => ObjectError::Denied(format!(
                "the registry does not let you do that in `{name}`: {status}{code}; `docker login {host}` says who you are"
            )),
            _ => ObjectError::Server(format!("{doing} failed: the registry answered {status}{code}")),
        }
    }
}

/// Gives a request a body, and, of a piece of a file, the first byte's number and how many there are.
fn with_body(request: &mut Request, bytes: &[u8], range: Option<(u64, u64)>) {
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FILE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if let Some((from, length)) = range {
        let text = format!("{from}-{}", (from + length).saturating_sub(1));
        headers.extend(HeaderValue::from_str(&text).ok().map(|value| (CONTENT_RANGE, value)));
    }
    *request.body_mut() = Some(bytes.to_vec().into());
}
