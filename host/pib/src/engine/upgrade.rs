//! Calls of the API after whose answer the connection carries something else.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::client::Client;
use super::error::{EngineError, with_sources};

/// A connection that the engine has handed over.
pub(super) type Handed = TokioIo<Upgraded>;

/// Returns the beginning of a request for `protocol`.
pub(super) fn request(path: &str, protocol: &'static str) -> http::request::Builder {
    http::Request::post(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, protocol)
}

/// Sends a request after whose answer the connection is the other protocol's that the request names.
pub(super) async fn upgrade(
    client: &Client,
    doing: &'static str,
    request: http::request::Builder,
) -> Result<Handed, EngineError> {
    let lost = |error: &dyn std::error::Error| EngineError::disconnected(doing, with_sources(error));
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| lost(&error))?;
    let stream = client.endpoint().dial().await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| lost(&error))?;
    // Ends by itself when the connection is handed over, or the engine closes it.
    tokio::spawn(async move { _ = connection.with_upgrades().await });
    let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
        let message = format!("it answered {status}: {text}");
        return Err(EngineError::Api { doing: doing.to_owned(), message });
    }
    Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(|error| lost(&error))?))
}
