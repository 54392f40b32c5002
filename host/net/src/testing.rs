//! A web server for tests: answers are handed out in turn, the last one again and again.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use url::Url;

/// What the server says: a status line with headers, and a body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// E.g. `200 OK`, with further headers on lines of their own.
    pub head: String,
    /// The bytes that follow.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns an answer that has the file.
    pub fn file(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { head: format!("200 OK\r\nContent-Length: {}", body.len()), body }
    }

    /// Returns an answer without a body.
    pub fn status(head: &str) -> Self {
        Self { head: format!("{head}\r\nContent-Length: 0"), body: Vec::new() }
    }
}

/// A server on a port of its own; it stops with the test.
#[derive(Clone)]
pub struct Server {
    url: Url,
    answers: Arc<Mutex<HashMap<String, Vec<Answer>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server that has nothing yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let server = Self { url, answers: Arc::default(), asked: Arc::default() };
        let this = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                std::thread::spawn(move || this.answer(stream));
            }
        });
        server
    }

    /// Sets what is answered for a path.
    pub fn set(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().insert(path.to_owned(), answers.into_iter().collect());
    }

    /// Returns the address of a path.
    pub fn url(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    /// Returns the paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        // The headers are of no interest, but a connection that closes with unread bytes is reset.
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        self.asked.lock().unwrap().push(path.clone());
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            match answers.get_mut(&path) {
                Some(list) if list.len() > 1 => list.remove(0),
                Some(list) => list[0].clone(),
                None => Answer::status("404 Not Found"),
            }
        };
        let _ = write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n\r\n", answer.head);
        let _ = stream.write_all(&answer.body);
    }
}
