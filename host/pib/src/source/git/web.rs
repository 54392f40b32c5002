//! Repositories behind a web server: git's smart protocol over the HTTP client that everything else uses.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use percent_encoding::percent_decode_str;
use reqwest::{Response, StatusCode, header};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::flow::{self, Flow};
use super::link::Link;
use super::{GitError, login};
use pib_net::Http;

/// How often the first request is made before a busy server is an error.
const ATTEMPTS: u32 = 3;
const SERVICE: &str = "git-upload-pack";

/// Makes the streams to a repository behind a web server: one for each request.
pub(super) struct Web {
    shared: Arc<Shared>,
}

/// What the requests to one repository share.
struct Shared {
    link: Arc<Link>,
    state: Mutex<State>,
}

struct State {
    /// The repository's address, after the server has led elsewhere.
    base: Url,
    /// The address at first.
    named: Url,
    /// The user and the password, once the server has asked for them.
    login: Option<(String, String)>,
    /// Those that the user's own git settings put into the address.
    set: Option<(String, String)>,
}

impl Web {
    pub(super) fn new(link: Arc<Link>, url: Url) -> Self {
        let mut base = url;
        let set = base.password().map(|password| (decoded(base.username()), decoded(password)));
        // The address goes into requests and messages; a password in it is for the header only.
        let _ = base.set_password(None);
        Self {
            shared: Arc::new(Shared {
                link,
                state: Mutex::new(State { named: base.clone(), base, login: None, set }),
            }),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl SmartSubtransport for Web {
    fn action(&self, _url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let request = match service {
            Service::UploadPackLs => Request::List,
            Service::UploadPack => Request::Pack(Vec::new()),
            _ => return Err(git2::Error::from_str("this stream only fetches")),
        };
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(WebStream { shared, request, answer: None, chunk: Bytes::new() }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// What is asked for.
enum Request {
    /// Which references there are.
    List,
    /// What the written text says.
    Pack(Vec<u8>),
}

/// One request and its answer.
struct WebStream {
    shared: Arc<Shared>,
    request: Request,
    answer: Option<Answer>,
    chunk: Bytes,
}

/// An answer whose head has arrived.
struct Answer {
    head: Head,
    body: mpsc::Receiver<Result<Bytes, Broken>>,
    flow: Flow,
}

struct Head {
    url: Url,
    status: StatusCode,
    kind: String,
    retry_after: Option<Duration>,
}

/// Why nothing more arrives.
enum Broken {
    Silent,
    Stopped,
    Failed(reqwest::Error),
}

impl Read for WebStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => {
                    let answer =
                        self.shared.ask(&self.request).map_err(|fault| self.shared.link.fail(fault))?;
                    self.answer.insert(answer)
                }
            };
            match answer.body.blocking_recv() {
                Some(Ok(chunk)) => {
                    let link = &self.shared.link;
                    answer.flow.arrived(chunk.len(), link).map_err(|fault| link.fail(fault))?;
                    self.chunk = chunk;
                }
                Some(Err(broken)) => return Err(self.shared.link.fail(self.shared.explain(broken))),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for WebStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.request {
            Request::Pack(body) if self.answer.is_none() => body.extend_from_slice(bytes),
            _ => return Err(io::Error::other("the request was sent already")),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Makes the request until there is an answer that counts.
    fn ask(&self, request: &Request) -> Result<Answer, GitError> {
        let http = self.link.http()?;
        let (mut attempt, mut asked) = (0, false);
        loop {
            attempt += 1;
            let answer = match self.send(&http, request) {
                Ok(answer) => answer,
                Err(Broken::Failed(error)) if attempt < ATTEMPTS && may_pass(&error) => {
                    self.pause(pib_net::pause(attempt, None))?;
                    continue;
                }
                Err(broken) => return Err(self.explain(broken)),
            };
            let head = &answer.head;
            match head.status {
                StatusCode::OK => return self.accept(request, answer),
                StatusCode::UNAUTHORIZED if !asked => {
                    asked = true;
                    self.log_in(&head.url)?;
                }
                status if pib_net::is_passing(status) => match head.retry_after {
                    Some(pause) if pib_net::is_too_long(pause) => {
                        return Err(self.unwell(status, Some(pause)));
                    }
                    asked if attempt < ATTEMPTS => self.pause(pib_net::pause(attempt, asked))?,
                    _ => return Err(self.unwell(status, None)),
                },
                status => return Err(self.refused(status)),
            }
        }
    }

    /// Checks that the answer is git's, and remembers where it came from.
    fn accept(&self, request: &Request, answer: Answer) -> Result<Answer, GitError> {
        let expected = match request {
            Request::List => format!("application/x-{SERVICE}-advertisement"),
            Request::Pack(_) => format!("application/x-{SERVICE}-result"),
        };
        if answer.head.kind != expected {
            let reason = format!("the server sent `{}` instead of git's protocol", answer.head.kind);
            let help = "Give the address that git itself clones from, not that of a web page.";
            return Err(GitError::Server { url: self.link.url.clone(), reason, help: help.to_owned() });
        }
        if let Request::List = request
            && let Some(path) = answer.head.url.path().strip_suffix("/info/refs")
        {
            let mut base = answer.head.url.clone();
            base.set_query(None);
            base.set_path(path);
            let mut state = self.state();
            // What lets a user in at one host is never told to another.
            if base.origin() != state.base.origin() {
                state.login = None;
            }
            state.base = base;
        }
        Ok(answer)
    }

    /// Asks the user's git credential helpers who to be at `url`.
    fn log_in(&self, url: &Url) -> Result<(), GitError> {
        let mut state = self.state();
        let help = "Set a credential helper up (git config --global credential.helper ...) and clone the repository \
                    once with git, or use its ssh address."
            .to_owned();
        let refused = |reason: &str| GitError::Credentials {
            url: self.link.url.clone(),
            reason: reason.to_owned(),
            help: help.clone(),
        };
        if state.login.is_some() {
            return Err(refused("did not take the user and password that it was given"));
        }
        // Not what the server led to: only the host that was asked gets what the user has for it.
        if url.origin() != state.base.origin() {
            return Err(refused("it is another one than was asked for"));
        }
        // The project names it in its own words; where a server leads, it is said what to.
        let is_named = state.base.origin() == state.named.origin();
        self.link.log_in(if is_named { &self.link.named } else { state.base.as_str() })?;
        let set = state.set.take().filter(|_| is_named);
        match set.or_else(|| login::ask(&state.base, &self.link.stop)) {
            Some(login) => {
                state.login = Some(login);
                Ok(())
            }
            None => Err(refused("no git credential helper of yours knows an answer")),
        }
    }

    fn send(&self, http: &Http, request: &Request) -> Result<Answer, Broken> {
        let state = self.state();
        let mut url = state.base.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        let _ = url.set_username("");
        let client = http.client();
        let mut built = match request {
            Request::List => {
                url.set_path(&format!("{path}/info/refs"));
                url.set_query(Some(&format!("service={SERVICE}")));
                client.get(url)
            }
            Request::Pack(body) => {
                url.set_path(&format!("{path}/{SERVICE}"));
                client
                    .post(url)
                    .header(header::CONTENT_TYPE, format!("application/x-{SERVICE}-request"))
                    .header(header::ACCEPT, format!("application/x-{SERVICE}-result"))
                    .body(body.clone())
            }
        };
        if let Some((user, password)) = &state.login {
            built = built.basic_auth(user, Some(password));
        }
        drop(state);
        let (sender, head) = oneshot::channel();
        let (chunks, body) = mpsc::channel(16);
        let (patience, stop) = (self.link.patience, self.link.stop.clone());
        self.link.runtime.spawn(async move {
            let mut sender = Some(sender);
            let outcome = tokio::select! {
                outcome = transfer(built, patience, &mut sender, &chunks) => outcome,
                () = stop.cancelled() => Err(Broken::Stopped),
            };
            // Whoever waits for the head is told there, else the reader of the body. Nobody may be left to tell.
            match (outcome, sender) {
                (Ok(()), _) => {}
                (Err(broken), Some(sender)) => drop(sender.send(Err(broken))),
                (Err(broken), None) => drop(chunks.send(Err(broken)).await),
            }
        });
        // Without a word the program is at its end, and has stopped the transfer.
        let head = head.blocking_recv().unwrap_or(Err(Broken::Stopped))?;
        let kind = match request {
            Request::List => flow::Kind::List,
            Request::Pack(_) => flow::Kind::Pack,
        };
        Ok(Answer { head, body, flow: Flow::new(kind, &self.link) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not for longer than the user does.
    fn pause(&self, pause: Duration) -> Result<(), GitError> {
        let began = std::time::Instant::now();
        while began.elapsed() < pause {
            if self.link.stop.is_cancelled() {
                return Err(self.link.interrupted());
            }
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        Ok(())
    }

    fn explain(&self, broken: Broken) -> GitError {
        match broken {
            Broken::Silent => self.link.timed_out(),
            Broken::Stopped => self.link.interrupted(),
            Broken::Failed(error) if error.is_timeout() => self.link.timed_out(),
            Broken::Failed(error) => match pib_net::certificate_fault(&error) {
                Some(reason) => GitError::Server {
                    url: self.link.url.clone(),
                    reason: format!("the server's certificate is not trusted here ({reason})"),
                    help: "If it is your own server, add its authority to this machine's certificates, or name the \
                           file with it in SSL_CERT_FILE."
                        .to_owned(),
                },
                // The address is in our own message already.
                None => self.link.broken(error.without_url()),
            },
        }
    }

    fn refused(&self, status: StatusCode) -> GitError {
        let url = self.link.url.clone();
        let (reason, help) = match status.as_u16() {
            401 => {
                let reason = "did not take the user and password that it was given".to_owned();
                let help = "Check what your git credential helper has for this host.".to_owned();
                return GitError::Credentials { url, reason, help };
            }
            403 => ("it answered 403: you may not read it", "Ask its owner, or check your credentials."),
            404 | 410 => (
                "there is no repository at this address",
                "Check the address; a private repository may be hidden from those who may not read it.",
            ),
            _ => return self.unwell(status, None),
        };
        GitError::Server { url, reason: reason.to_owned(), help: help.to_owned() }
    }

    fn unwell(&self, status: StatusCode, pause: Option<Duration>) -> GitError {
        let pause = pause.map(|pause| format!(" and asks to be left alone for {} seconds", pause.as_secs()));
        let reason = format!("the server answered {status}{}", pause.unwrap_or_default());
        let help = "Try again later; what was fetched before can be used with --offline.".to_owned();
        GitError::Server { url: self.link.url.clone(), reason, help }
    }
}

/// Returns whether the same request may reach the server later.
fn may_pass(error: &reqwest::Error) -> bool {
    !error.is_builder() && pib_net::certificate_fault(error).is_none()
}

/// Makes a request and hands on what arrives; nothing may take longer than `patience`.
async fn transfer(
    request: reqwest::RequestBuilder,
    patience: Duration,
    sender: &mut Option<oneshot::Sender<Result<Head, Broken>>>,
    chunks: &mpsc::Sender<Result<Bytes, Broken>>,
) -> Result<(), Broken> {
    let sent = tokio::time::timeout(patience, request.send()).await;
    let mut response = sent.map_err(|_| Broken::Silent)?.map_err(Broken::Failed)?;
    if let Some(sender) = sender.take()
        && sender.send(Ok(head(&response))).is_err()
    {
        return Ok(());
    }
    loop {
        let arrived = tokio::time::timeout(patience, response.chunk()).await;
        match arrived.map_err(|_| Broken::Silent)?.map_err(Broken::Failed)? {
            None => return Ok(()),
            Some(chunk) => match chunks.send(Ok(chunk)).await {
                Ok(()) => {}
                Err(_) => return Ok(()),
            },
        }
    }
}

fn head(response: &Response) -> Head {
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    Head {
        url: response.url().clone(),
        status: response.status(),
        kind: text(header::CONTENT_TYPE).unwrap_or("nothing that it names").to_owned(),
        retry_after: pib_net::retry_after(response),
    }
}
