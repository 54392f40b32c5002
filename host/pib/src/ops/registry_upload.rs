//! Receives archives, within bounds: of a size, of time, and of memory for all that are received at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use pib_net::Pace;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::registry_answer::Refusal;
use super::registry_caller::Caller;
use crate::source::archive::MAX_ARCHIVE;

/// How much all archives may have that are received or judged at the same time, in KiB.
const MEMORY: usize = 512 << 10;
/// How long a client may take for an archive.
const WHOLE: Duration = Duration::from_secs(600);
/// How long nothing of it may arrive, and how long it may wait for memory.
const SILENCE: Duration = Duration::from_secs(30);
/// The fewest bytes a second.
const FLOOR: u64 = 1000;

/// The memory for archives.
pub(super) struct Uploads(Arc<Semaphore>);

/// An archive that was received. Its memory is taken as long as this value is there.
pub(super) struct Upload {
    /// The archive.
    pub(super) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Default for Uploads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY)))
    }
}

impl Uploads {
    /// Receives the body of a request.
    ///
    /// # Errors
    /// When it is too large, too slow, or breaks off, or when others take all the memory.
    pub(super) async fn receive(&self, request: Request, caller: &Caller) -> Result<Upload, Refusal> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // Who does not say how much it is may send as much as anybody.
        let length = length.unwrap_or(MAX_ARCHIVE);
        if length > MAX_ARCHIVE {
            return Err(too_large());
        }
        let size = u32::try_from(length.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let memory = timeout(SILENCE, Arc::clone(&self.0).acquire_many_owned(size)).await;
        let busy = || {
            let what = "the server is receiving too many other archives";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, what, SILENCE)
        };
        let memory = memory.ok().and_then(Result::ok).ok_or_else(busy)?;
        let read = timeout(WHOLE, read(request.into_body(), MAX_ARCHIVE, SILENCE, caller)).await;
        Ok(Upload { bytes: read.map_err(|_| too_slow())??, _memory: memory })
    }
}

/// Reads a body.
async fn read(mut body: Body, most: u64, silence: Duration, caller: &Caller) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    let mut pace = Pace::new(silence, FLOOR);
    while let Some(frame) = timeout(silence, body.frame()).await.map_err(|_| too_slow())? {
        let Ok(data) = frame.map_err(|_| broken_off())?.into_data() else { continue };
        pace.arrived(data.len()).map_err(|_| too_slow())?;
        if (bytes.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        caller.receive(data.len());
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the archive is too large")
}

fn broken_off() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "the archive was broken off")
}

fn too_slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "the archive came too slowly")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    async fn status(body: Body, silence: Duration) -> Result<usize, StatusCode> {
        let caller = Caller::new(&Request::new(Body::empty()), false);
        let read = read(body, 1 << 20, silence, &caller).await;
        read.map(|bytes| bytes.len()).map_err(|refusal| refusal.status)
    }

    /// Returns a body of so many pieces of this size, which then goes on as `then` says.
    fn body(pieces: usize, size: usize, then: impl stream::Stream<Item = Bytes> + Send + 'static) -> Body {
        let piece = Bytes::from(vec![b'x'; size]);
        let begin = stream::iter(std::iter::repeat_n(piece, pieces));
        Body::from_stream(begin.chain(then).map(Ok::<_, Infallible>))
    }

    #[tokio::test]
    async fn endless_silent_crawling_and_broken_bodies_end() {
        let short = Duration::from_millis(20);
        assert_eq!(status(body(4, 1000, stream::empty()), short).await, Ok(4000));
        let endless = body(0, 0, stream::repeat(Bytes::from_static(&[0; 65_536])));
        assert_eq!(status(endless, SILENCE).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(status(body(1, 10, stream::pending()), short).await, Err(StatusCode::REQUEST_TIMEOUT));
        let half = [Ok(Bytes::from_static(b"x")), Err(io::Error::from(io::ErrorKind::UnexpectedEof))];
        let half = Body::from_stream(stream::iter(half));
        assert_eq!(status(half, short).await, Err(StatusCode::BAD_REQUEST));
        // A byte now and then is no silence.
        let ticks = tokio::time::interval(Duration::from_millis(5));
        let crawling = stream::unfold(ticks, |mut ticks| async {
            ticks.tick().await;
            Some((Bytes::from_static(b"x"), ticks))
        });
        let crawling = body(1, 1, crawling);
        assert_eq!(status(crawling, short).await, Err(StatusCode::REQUEST_TIMEOUT));
    }
}
