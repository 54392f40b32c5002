//! The forms of answers.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::ext::ReasonPhrase;
use pib_plan::recording::{Response, UNKNOWN_LENGTH};

/// What a part gets.
pub(crate) type Answer = http::Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Returns an answer with the status and the headers of a response, and no body yet.
pub(crate) fn start(response: &Response) -> Answer {
    let mut answer = http::Response::new(empty());
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    // `transfer-encoding` is recorded to say that the length was unknown. The HTTP library sets this header itself.
    let own = |(name, _): &(&String, &String)| *name != UNKNOWN_LENGTH.0;
    for (name, value) in response.headers.iter().filter(own) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// Returns a body that comes in pieces.
pub(crate) fn streamed(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> UnsyncBoxBody<Bytes, io::Error> {
    StreamBody::new(body.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// Returns a body without bytes.
pub(crate) fn empty() -> UnsyncBoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns an answer that is there as a whole.
pub(crate) fn whole(body: Bytes) -> Answer {
    http::Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// Returns an answer that is none; package managers show the reason beside the status.
pub(crate) fn refuse(status: StatusCode, reason: &str) -> Answer {
    let mut answer = whole(format!("{reason}\n").into());
    *answer.status_mut() = status;
    let plain: String = reason.chars().filter(|c| c.is_ascii() && !c.is_control()).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(plain.into_bytes()) {
        answer.extensions_mut().insert(phrase);
    }
    answer
}
