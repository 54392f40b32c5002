//! An image that is written while it is fetched: a stream of what arrives.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use pib_net::Http;
use tokio::task::JoinHandle;
use url::Url;

use crate::project::Error;

/// How many pieces of what arrives may wait for the device.
const QUEUE: usize = 64;

/// A fetch that is under way; dropped, it ends.
pub(super) struct Download(JoinHandle<()>);

/// Begins to fetch; returns the stream of what arrives.
///
/// # Errors
/// When there is no client for that.
pub(super) fn start(url: Url, limit: u64) -> Result<(Arriving, Download), Error> {
    let http = Http::new().map_err(|error| Error::io("fetch the image", "", io::Error::other(error)))?;
    let (send, pieces) = sync_channel::<io::Result<Vec<u8>>>(QUEUE);
    let task = tokio::spawn(async move {
        let sink = &mut |bytes: &[u8]| {
            // The device is slower than most networks: the server waits.
            let sent = tokio::task::block_in_place(|| send.send(Ok(bytes.to_vec())));
            sent.map_err(|_| io::Error::other("the image is not wanted any more"))
        };
        let outcome = http.pour(&url, limit, sink).await;
        // An empty piece says that this was all.
        let last = outcome.map(|()| Vec::new()).map_err(io::Error::other);
        _ = tokio::task::block_in_place(|| send.send(last));
    });
    let stream = Arriving { pieces, piece: Vec::new(), at: 0, is_over: false };
    Ok((stream, Download(task)))
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What arrives.
pub(super) struct Arriving {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.is_over {
            let next = self.pieces.recv().map_err(|_| io::Error::other("fetching it was stopped"))?;
            (self.piece, self.at) = (next?, 0);
            self.is_over = self.piece.is_empty();
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
