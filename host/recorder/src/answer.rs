//! Reads the requests of parts, and answers them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderValue, PROXY_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pib_plan::id::Digest;
use pib_plan::recording::{Method, Request, Response, is_address};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::ReaderStream;
use url::Url;

use crate::guard::Guard;
use crate::inner::{Inner, Unknown};
use crate::reply::{Answer, empty, refuse, start, streamed, whole};
use crate::{fetch, listed, refetch};

/// How much of a stored body is read at once, in bytes.
const CHUNK: usize = 128 << 10;

/// The longest body that a part may send, in bytes: what git asks for in a large repository has some.
const MAX_SENT: usize = 16 << 20;
/// How long a program may take for the beginning of an encrypted connection.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Serves a connection of a part, to which this is its web proxy, until it ends. A `guard` judges each request.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    guard: Option<Guard>,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let inner = Arc::clone(&inner);
        let is_refused = guard.as_ref().is_some_and(|guard| !guard.lets_in(request.headers()));
        async move {
            Ok::<_, Infallible>(match *request.method() {
                _ if is_refused => refuse_stranger(),
                http::Method::CONNECT => secure(&inner, request),
                _ => as_proxy(&inner, request).await,
            })
        }
    });
    // How it ends is the part's own affair: it may stop in the middle of whatever it fetches.
    _ = protocol().serve_connection(TokioIo::new(connection), service).with_upgrades().await;
}

/// Returns the answer to somebody who does not have the token of this build.
fn refuse_stranger() -> Answer {
    let mut answer = refuse(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "this proxy serves one build of pib");
    answer.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"pib\""));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    // Some clients say that they are done sending as soon as they have asked.
    // A part that keeps the head of an answer must not keep the time of its build with it: `Date` is left
    // out, as it is left out of recordings.
    protocol.timer(TokioTimer::new()).half_close(true).auto_date_header(false);
    protocol
}

/// Answers an encrypted connection in the name of its server.
fn secure(inner: &Arc<Inner>, request: http::Request<Incoming>) -> Answer {
    let target = request.uri().authority().cloned();
    let Some((host, port)) = target.and_then(|target| Some((target.host().to_owned(), target.port_u16()?)))
    else {
        return refuse(StatusCode::BAD_REQUEST, "this is no host and port");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let acceptor = match inner.authority.acceptor(&host) {
        Ok(acceptor) => acceptor,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let Ok(part) = hyper::upgrade::on(request).await else { return };
        let accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(TokioIo::new(part))).await;
        let connection = match accepted {
            Ok(Ok(connection)) => connection,
            // It only looked whether somebody is there.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
            Ok(Err(_)) | Err(_) => {
                inner.state().distrusted.insert(format!("{host}:{port}"));
                return;
            }
        };
        let origin: Arc<str> = match host.contains(':') {
            true => format!("https://[{host}]:{port}").into(),
            false => format!("https://{host}:{port}").into(),
        };
        let service = service_fn(move |request| {
            let (inner, origin) = (Arc::clone(&inner), Arc::clone(&origin));
            async move { Ok::<_, Infallible>(as_server(&inner, &origin, request).await) }
        });
        _ = protocol().serve_connection(TokioIo::new(connection), service).await;
    });
    http::Response::new(empty())
}

/// Answers a request to the server at `origin`.
async fn as_server(inner: &Arc<Inner>, origin: &str, request: http::Request<Incoming>) -> Answer {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let url = Url::parse(&format!("{origin}{path}")).ok();
    answer(inner, url, request).await
}

/// Answers a request to a web proxy, and the questions of the program that starts commands.
async fn as_proxy(inner: &Arc<Inner>, request: http::Request<Incoming>) -> Answer {
    if request.uri().authority().is_none() {
        return match request.uri().path() {
            "/environment" => whole(inner.begin_command().into()),
            "/authority" => whole(inner.authority.certificate.clone().into()),
            _ => refuse(StatusCode::NOT_FOUND, "this is the proxy by which pib records downloads"),
        };
    }
    let url = Url::parse(&request.uri().to_string()).ok();
    answer(inner, url, request).await
}

async fn answer(inner: &Arc<Inner>, url: Option<Url>, request: http::Request<Incoming>) -> Answer {
    let method = match *request.method() {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        http::Method::POST => Method::Post,
        _ => {
            // What changes something on a server would be another thing when it is given again.
            inner.spoil();
            inner.state().refused.insert(format!("{} {}", request.method(), request.uri()));
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "pib records GET, HEAD and POST requests alone");
        }
    };
    let Some(url) = url.and_then(recordable) else {
        return refuse(StatusCode::BAD_REQUEST, "pib cannot record this address");
    };
    let (head, body) = request.into_parts();
    let sent = match method {
        Method::Post => match Limited::new(body, MAX_SENT).collect().await {
            Ok(all) => all.to_bytes(),
            Err(_) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "pib records no request as long as this"),
        },
        Method::Get | Method::Head => Bytes::new(),
    };
    let asked = Request {
        url: inner.upstream.known_as(&url),
        method,
        sent: (method == Method::Post).then(|| Digest::of(&sent)),
        asked: BTreeMap::new(),
    };
    respond(inner, asked, &head.headers, &sent).await
}

/// Returns an address as it is recorded, if it can be.
fn recordable(mut url: Url) -> Option<Url> {
    url.set_fragment(None);
    (url.username().is_empty() && is_address(url.as_str())).then_some(url)
}

/// Answers from the recording, or from a server.
async fn respond(inner: &Arc<Inner>, asked: Request, headers: &HeaderMap, sent: &Bytes) -> Answer {
    if let Some(response) = inner.recorded(&asked, headers) {
        return recorded(inner, &asked, headers, sent, response).await;
    }
    if inner.unknown == Unknown::Refuse {
        inner.spoil();
        inner.state().refused.insert(asked.url);
        return refuse(StatusCode::FORBIDDEN, "pib.fetch.lock has no answer to this");
    }
    let turn = inner.turn(&asked).lock_owned().await;
    // Another part may have asked for the same meanwhile.
    if let Some(response) = inner.recorded(&asked, headers) {
        return recorded(inner, &asked, headers, sent, response).await;
    }
    let (own, request) = (Arc::clone(inner), asked.clone());
    let named = tokio::task::spawn_blocking(move || listed::find(&own, &request)).await;
    // A list that is behind a password is recorded as that.
    if let Some(file) = named.ok().flatten().filter(|_| !headers.contains_key(AUTHORIZATION)) {
        match file.fetch(inner, &asked, headers).await {
            Ok(Some(response)) => return recorded(inner, &asked, headers, sent, response).await,
            Ok(None) => {}
            Err(answer) => return answer,
        }
    }
    let place = listed::fitting_place(inner, &asked).await;
    fetch::first(inner, asked, place, headers, sent, turn).await
}

/// Gives what was recorded; a body that the store does not have is fetched again.
async fn recorded(
    inner: &Arc<Inner>,
    asked: &Request,
    headers: &HeaderMap,
    sent: &Bytes,
    response: Response,
) -> Answer {
    if asked.method == Method::Head {
        let mut answer = start(&response);
        if response.has_length() {
            answer.headers_mut().insert(CONTENT_LENGTH, response.size.into());
        }
        return answer;
    }
    if !response.has_body(asked.method) {
        return start(&response);
    }
    if let Some(answer) = stored(inner, &response).await {
        return answer;
    }
    // The lock has a name of its own: a caller may hold the request's lock, and would wait for itself.
    let lost = Request::get(format!("pib-store:{}", response.digest));
    let turn = inner.turn(&lost).lock_owned().await;
    let outcome = refetch::again(inner, asked, Some((headers, sent)), &response).await;
    drop(turn);
    let reason = match outcome {
        Ok(()) => match stored(inner, &response).await {
            Some(answer) => return answer,
            None => format!("{} has another size than pib.fetch.lock says", asked.url),
        },
        Err(reason) => reason,
    };
    let answer = refuse(StatusCode::BAD_GATEWAY, &reason);
    inner.spoil();
    inner.state().undelivered.insert(reason);
    answer
}

/// Returns the answer whose body is in the store, if it is.
async fn stored(inner: &Arc<Inner>, response: &Response) -> Option<Answer> {
    let (own, digest, size) = (Arc::clone(inner), response.digest, response.size);
    let file = tokio::task::spawn_blocking(move || own.store.open(&digest, size)).await.ok()??;
    let body = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    let mut answer = start(response).map(|_| streamed(body));
    if response.has_length() {
        answer.headers_mut().insert(CONTENT_LENGTH, size.into());
    }
    Some(answer)
}
