//! What the tests' own web servers share: a port of their own, and requests that were read to their end.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};

/// A request that has arrived.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with what follows it.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    headers: Vec<String>,
}

impl Request {
    /// Returns the value of a header, whose name is given in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let fits = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.headers.iter().find(fits).map(|line| line[name.len() + 1..].trim().to_owned())
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                break;
            }
            headers.push(line.trim_end().to_owned());
        }
        let mut words = headers.first()?.split(' ').map(str::to_owned);
        let mut request = Self { method: words.next()?, target: words.next()?, body: Vec::new(), headers };
        let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }
}

/// Answers requests on a port of its own, each connection's one in a thread, until the tests end; returns the address.
pub(crate) fn serve(answer: impl Fn(TcpStream, Request) + Send + Sync + Clone + 'static) -> String {
    serve_at("127.0.0.1", answer)
}

/// Does so at an address of this machine.
pub(crate) fn serve_at(
    ip: &str,
    answer: impl Fn(TcpStream, Request) + Send + Sync + Clone + 'static,
) -> String {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                if let Some(request) = Request::read(&stream) {
                    answer(stream, request);
                }
            });
        }
    });
    address
}
