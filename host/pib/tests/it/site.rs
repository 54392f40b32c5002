//! A registry behind a real web server, which keeps what it was asked.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::bench::{Bench, PROJECT};
use crate::web::{self, Request};

/// What the server does beside giving files away.
#[derive(Default, Clone)]
pub(crate) struct Manners {
    /// The `Authorization` that it asks for.
    pub(crate) login: Option<&'static str>,
    /// Sends everybody who asks for an archive to this address.
    pub(crate) archives_at: Option<String>,
    /// What it answers instead for files whose path begins so: a head, and as many zeros as that.
    pub(crate) instead: Option<(&'static str, &'static str, u64)>,
}

/// The path that was asked for, the answer's status, and what the request said of the user.
pub(crate) type Asked = (String, u16, Option<String>);

/// A web server for the files in a folder, with entity tags.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) address: String,
    pub(crate) root: PathBuf,
    pub(crate) manners: Arc<Mutex<Manners>>,
    pub(crate) log: Arc<Mutex<Vec<Asked>>>,
}

impl Site {
    pub(crate) fn start(root: PathBuf) -> Self {
        let mut site = Self { address: String::new(), root, manners: Arc::default(), log: Arc::default() };
        let this = site.clone();
        site.address = web::serve(move |stream, request| this.answer(stream, &request));
        site
    }

    fn answer(&self, mut stream: TcpStream, request: &Request) {
        let (path, header) = (request.target.as_str(), |name: &str| request.header(name));
        let manners = self.manners.lock().unwrap().clone();
        let body = std::fs::read(self.root.join(path.trim_start_matches('/'))).ok();
        let tag = body.as_ref().map(|body| format!("\"{}\"", pib_plan::id::Digest::of(body).hex()));
        let zeros = manners.instead.filter(|(start, ..)| path.starts_with(start));
        let (head, body) = match (&manners, body) {
            _ if zeros.is_some() => (zeros.unwrap().1.to_owned(), Vec::new()),
            (Manners { login: Some(login), .. }, _) if header("authorization").as_deref() != Some(login) => {
                ("401 Who?\r\nContent-Length: 0".to_owned(), Vec::new())
            }
            (Manners { archives_at: Some(other), .. }, _) if path.starts_with("/archives/") => {
                (format!("302 Found\r\nLocation: {other}{path}\r\nContent-Length: 0"), Vec::new())
            }
            (_, Some(_)) if header("if-none-match") == tag => ("304 Not Modified".to_owned(), Vec::new()),
            (_, Some(body)) => {
                let tag = tag.unwrap();
                let (kind, length) = (content_type(path), body.len());
                (format!("200 OK\r\nETag: {tag}\r\nContent-Type: {kind}\r\nContent-Length: {length}"), body)
            }
            (_, None) => ("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new()),
        };
        let status = head[..3].parse().unwrap();
        self.log.lock().unwrap().push((path.to_owned(), status, header("authorization")));
        let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&body);
        for _ in 0..zeros.map_or(0, |zeros| zeros.2 >> 20) {
            if stream.write_all(&[0; 1 << 20]).is_err() {
                return;
            }
        }
    }

    /// Returns what was asked for since the last call, as `STATUS PATH`, sorted.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> =
            self.log.lock().unwrap().drain(..).map(|(path, status, _)| format!("{status} {path}")).collect();
        asked.sort();
        asked
    }
}

/// Returns what servers of files say of one, by its name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Makes a project, and a registry that has stage `acme` 1.0.0.
pub(crate) fn world() -> (Bench, Site) {
    let bench = Bench::new(PROJECT);
    let site = Site::start(bench.path("../registry"));
    publish(&bench, "1.0.0");
    bench.write("pib.toml", &format!("{PROJECT}\n[registries.acme]\nindex = \"{}\"\n", site.address));
    (bench, site)
}

pub(crate) fn publish(bench: &Bench, version: &str) {
    let manifest = format!("[stage]\nname = \"acme\"\nversion = \"{version}\"\n");
    bench.write("../acme/stage.toml", &manifest);
    bench.write("../acme/Dockerfile.part", "RUN true\n");
    let published = bench.run(&["publish", "../acme", "--index", "../registry", "--allow-incomplete"]);
    assert_eq!(published.code, Some(0), "{}", published.errors);
}

pub(crate) fn succeeds(bench: &Bench, args: &[&str]) -> String {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    ran.out
}
