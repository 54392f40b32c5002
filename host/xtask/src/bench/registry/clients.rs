//! Clients of a web server: many that read as fast as they can, and many that do nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::run::Outcome;

/// A connection that stays open.
pub(super) struct Connection {
    address: String,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Outcome<Self> {
        let fail = |error| format!("could not connect to {address}: {error}");
        let stream = TcpStream::connect(address).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(Self { address: address.to_owned(), reader: BufReader::new(stream) })
    }

    /// Asks for a file, and returns the status and the body.
    pub(super) fn get(&mut self, path: &str) -> Outcome<(String, Vec<u8>)> {
        let Self { address, reader } = self;
        let fail = |error| format!("could not read {path} from {address}: {error}");
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        reader.get_mut().write_all(request.as_bytes()).map_err(fail)?;
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).map_err(fail)? == 0 {
                return Err(format!("{address} closed the connection"));
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(|_| format!("{address} sent the length {value}"))?;
                }
                _ if status.is_empty() => status = line.split(' ').nth(1).unwrap_or_default().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).map_err(fail)?;
        Ok((status, body))
    }
}

/// Returns how many files a second so many clients get, each over a connection of its own.
pub(super) fn reads_per_second(
    address: &str,
    paths: &[String],
    clients: usize,
    time: Duration,
) -> Outcome<f64> {
    let (count, is_over, since) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
    let client = |number: usize| -> Outcome {
        let mut connection = Connection::open(address)?;
        // Each begins elsewhere; together they read all files.
        let mut at = number * paths.len() / clients;
        while !is_over.load(Ordering::Relaxed) {
            let (status, _) = connection.get(&paths[at % paths.len()])?;
            if status != "200" {
                return Err(format!("{address} answered {status}"));
            }
            count.fetch_add(1, Ordering::Relaxed);
            at += 1;
            if since.elapsed() > time {
                is_over.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a client failed".to_owned())?)
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / since.elapsed().as_secs_f64())
}

/// Returns so many connections, each of which has had an answer and is idle since.
pub(super) fn idle(address: &str, count: usize) -> Outcome<Vec<Connection>> {
    let open = |_| {
        let mut connection = Connection::open(address)?;
        connection.get("config.json")?;
        Ok(connection)
    };
    (0..count).map(open).collect()
}
