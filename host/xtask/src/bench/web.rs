//! A web server for the files in a folder, with entity tags and connections that stay open.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::run::Outcome;

/// A server that runs until the program ends.
pub(super) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(super) address: String,
    counts: Arc<[AtomicUsize; 2]>,
}

impl Server {
    /// Serves the folder on a port of its own, each connection in a thread.
    pub(super) fn start(folder: PathBuf) -> Outcome<Self> {
        let fail = |error| format!("could not start a web server: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(fail)?;
        let address = format!("http://{}", listener.local_addr().map_err(fail)?);
        let counts: Arc<[AtomicUsize; 2]> = Arc::default();
        let (folder, counted) = (Arc::new(folder), Arc::clone(&counts));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, counts) = (Arc::clone(&folder), Arc::clone(&counted));
                std::thread::spawn(move || serve(&stream, &folder, &counts));
            }
        });
        Ok(Self { address, counts })
    }

    /// Returns how many files were sent and how many had not changed, since the last call.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.counts[0].swap(0, Ordering::Relaxed), self.counts[1].swap(0, Ordering::Relaxed))
    }
}

/// Answers what comes over one connection, until it is closed.
fn serve(stream: &TcpStream, folder: &Path, counts: &[AtomicUsize; 2]) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line);
        }
        let path = lines.first()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let known = lines.iter().find(|line| line.to_ascii_lowercase().starts_with("if-none-match:"));
        let answer = match std::fs::read(folder.join(&path)) {
            Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Ok(body) => {
                let mut hasher = DefaultHasher::new();
                body.hash(&mut hasher);
                let tag = format!("\"{:016x}\"", hasher.finish());
                if known.is_some_and(|line| line.contains(&tag)) {
                    counts[1].fetch_add(1, Ordering::Relaxed);
                    format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").into_bytes()
                } else {
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    let head =
                        format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n", body.len());
                    [head.into_bytes(), body].concat()
                }
            }
        };
        let mut stream = stream;
        stream.write_all(&answer).ok()?;
    }
}
