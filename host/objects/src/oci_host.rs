//! A registry's host: the clients that reach it, who the user is there, and requests that are made until they are answered.

use std::sync::Arc;
use std::time::Duration;

use pib_net::Pace;
use pib_plan::credential::is_this_machine;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use crate::access::Access;
use crate::docker_config::{self, Login};
use crate::error::{ObjectError, innermost};
use crate::oci_login::{Challenge, basic, challenge, token};

/// How often a request is made before its failure is reported.
const ATTEMPTS: u32 = 3;
/// How long the registry has for the head of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// In windows of this length, fewer than `FLOOR` bytes a second are too few.
const WINDOW: Duration = Duration::from_secs(30);
const FLOOR: u64 = 1000;
/// The longest answer with an error that is read, in bytes.
const MAX_ERROR: u64 = 64 << 10;

/// A registry's host, and what all requests to it share.
pub(crate) struct OciHost {
    pub(crate) name: String,
    pub(crate) base: Url,
    /// The clients that follow redirects, and that do not: what is sent goes where it is sent.
    reader: Client,
    writer: Client,
    access: Access,
    /// What `docker login` has kept for it; a credential helper is asked once.
    login: OnceCell<Option<Login>>,
}

impl OciHost {
    /// Returns a host. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When it is no host, or the HTTP client cannot be made.
    pub(crate) fn new(host: &str, access: &Access) -> Result<Self, ObjectError> {
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
            name: host.to_owned(),
            base,
            reader: client(true)?,
            writer: client(false)?,
            access: access.clone(),
            login: OnceCell::new(),
        })
    }

    async fn login(&self) -> Result<Option<&Login>, ObjectError> {
        let ask = || docker_config::login(&self.access, &self.name);
        Ok(self.login.get_or_try_init(ask).await?.as_ref())
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Pull,
    Push,
}

/// What a token is asked for.
pub(crate) enum Resource {
    /// A repository, by its name.
    Repository(String),
    /// The list of all repositories.
    Catalog,
}

impl Resource {
    /// Returns it as a token's scope.
    fn to_scope(&self, scope: Scope) -> String {
        match self {
            Self::Repository(name) => {
                let actions = if scope == Scope::Push { "pull,push" } else { "pull" };
                format!("repository:{name}:{actions}")
            }
            Self::Catalog => "registry:catalog:*".to_owned(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Repository(name) => format!("in `{name}`"),
            Self::Catalog => "with its list of repositories".to_owned(),
        }
    }
}

/// Requests about one resource of a host.
pub(crate) struct OciConnection {
    pub(crate) host: Arc<OciHost>,
    resource: Resource,
    /// What was let in before: for reading, for writing.
    let_in: Mutex<[Option<HeaderValue>; 2]>,
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

impl OciConnection {
    pub(crate) fn new(host: Arc<OciHost>, resource: Resource) -> Self {
        Self { host, resource, let_in: Mutex::default() }
    }

    /// Returns the address of a path below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> Result<Url, ObjectError> {
        self.host.base.join(&format!("v2/{path}")).map_err(|error| ObjectError::Server(error.to_string()))
    }

    /// Hands the body of an answer, no more than `size` bytes, to `sink`.
    pub(crate) async fn pour(
        &self,
        mut answer: Response,
        size: u64,
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), ObjectError> {
        if answer.content_length().is_some_and(|length| length > size) {
            return Err(ObjectError::TooLarge(size));
        }
        let (mut pace, mut left) = (Pace::new(WINDOW, FLOOR), size);
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(error))? {
            pace.arrived(chunk.len()).map_err(|slow| {
                let (seconds, floor) = (slow.seconds, slow.floor);
                ObjectError::Server(format!(
                    "for {seconds} seconds it brought fewer than {floor} bytes a second"
                ))
            })?;
            left = left.checked_sub(chunk.len() as u64).ok_or(ObjectError::TooLarge(size))?;
            sink(&chunk).map_err(ObjectError::Here)?;
        }
        Ok(())
    }

    /// Returns the body of an answer, no more than `size` bytes.
    pub(crate) async fn body(&self, answer: Response, size: u64) -> Result<Vec<u8>, ObjectError> {
        let mut bytes = Vec::new();
        let sink = &mut |chunk: &[u8]| {
            bytes.extend_from_slice(chunk);
            Ok(())
        };
        self.pour(answer, size, sink).await?;
        Ok(bytes)
    }

    /// Sends a request until it is answered, with what lets the user in where the registry asks for that.
    ///
    /// # Errors
    /// When no answer comes, or the registry asks who the user is, and nothing that they have is of use there.
    pub(crate) async fn send(
        &self,
        scope: Scope,
        make: &(dyn Fn() -> Request + Sync),
    ) -> Result<Response, ObjectError> {
        let used = self.let_in.lock().await[scope as usize].clone();
        let answer = self.send_once(scope, make).await?;
        // Where the registry leads to, another server may ask: a login is no matter of that one's.
        let is_its_own = answer.url().origin() == self.host.base.origin();
        if answer.status() != StatusCode::UNAUTHORIZED || !is_its_own {
            return Ok(answer);
        }
        self.log_in(scope, &answer, used.as_ref()).await?;
        self.send_once(scope, make).await
    }

    /// Sends a request until it is answered, with what let the user in before.
    ///
    /// # Errors
    /// When no answer comes.
    pub(crate) async fn send_once(
        &self,
        scope: Scope,
        make: &(dyn Fn() -> Request + Sync),
    ) -> Result<Response, ObjectError> {
        let mut attempt = 1;
        loop {
            let mut request = make();
            let reads = request.method() == Method::GET || request.method() == Method::HEAD;
            let client = if reads { &self.host.reader } else { &self.host.writer };
            let used = self.let_in.lock().await[scope as usize].clone();
            // A place for a file may be another server's, which is sent nothing that is for this one.
            if let Some(value) = used.filter(|_| request.url().origin() == self.host.base.origin()) {
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
        let host = &self.host;
        let login = host.login().await?;
        let denied = |why: &str| {
            let name = &host.name;
            ObjectError::Denied(format!(
                "the registry {name} asks who you are, and {why}: run `docker login {name}`"
            ))
        };
        let value = match (challenge(answer.headers()), login) {
            (Some(Challenge::Basic), Some(Login::Password { user, secret })) => {
                basic(user, secret).ok_or_else(|| denied("your login has no valid password"))?
            }
            (Some(Challenge::Basic), _) => return Err(denied("you have not logged in there")),
            (Some(Challenge::Bearer { realm, service }), login) => {
                let wanted = self.resource.to_scope(scope);
                let realm = (realm.as_str(), service.as_deref());
                token(&host.writer, &host.access, &host.base, realm, &wanted, login).await?
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
    pub(crate) async fn refused(&self, answer: Response, doing: &str) -> ObjectError {
        let (status, is_elsewhere) = (answer.status(), answer.url().origin() != self.host.base.origin());
        let text = self.body(answer, MAX_ERROR).await.unwrap_or_default();
        let errors: Errors = serde_json::from_slice(&text).unwrap_or_default();
        let code = errors.errors.into_iter().map(|entry| entry.code).find(|code| {
            let is_code = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            !code.is_empty() && code.len() <= 40 && code.bytes().all(is_code)
        });
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let host = &self.host.name;
        match status.as_u16() {
            401 | 403 if is_elsewhere => ObjectError::Denied(format!(
                "{doing} failed: the server that the registry leads to answered {status}{code}"
            )),
            401 | 403 => ObjectError::Denied(format!(
                "the registry does not let you do that {}: {status}{code}; `docker login {host}` says who you are",
                self.resource.describe()
            )),
            _ => ObjectError::Server(format!("{doing} failed: the registry answered {status}{code}")),
        }
    }
}

/// Gives a request a body, its media type, and, of a piece of a file, the first byte's number and how many there are.
pub(crate) fn with_body(
    request: &mut Request,
    media_type: &'static str,
    bytes: &[u8],
    range: Option<(u64, u64)>,
) {
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if let Some((from, length)) = range {
        let text = format!("{from}-{}", (from + length).saturating_sub(1));
        headers.extend(HeaderValue::from_str(&text).ok().map(|value| (CONTENT_RANGE, value)));
    }
    *request.body_mut() = Some(bytes.to_vec().into());
}
