//! Git repositories made by git itself, and a web server that gives them away by git's own back end.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::web::{self, Request};

/// A repository with files of the test's own.
pub(crate) struct Repo {
    pub(crate) folder: PathBuf,
}

impl Repo {
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let repo = Self { folder: folder.to_owned() };
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "uploadpack.allowAnySHA1InWant=true"])
            .args(args)
            .current_dir(&self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "T"), ("GIT_AUTHOR_EMAIL", "t@example.org")])
            .envs([("GIT_COMMITTER_NAME", "T"), ("GIT_COMMITTER_EMAIL", "t@example.org")])
            .output()
            .expect("these tests need the program git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a stage into `folder` ("" is the root).
    pub(crate) fn stage(&self, folder: &str, name: &str, version: &str) {
        let at = |file: &str| format!("{folder}/{file}").trim_start_matches('/').to_owned();
        self.write(&at("stage.toml"), &format!("[stage]\nname = \"{name}\"\nversion = \"{version}\"\n"));
        self.write(&at("Dockerfile.part"), "RUN true\n");
    }

    /// Commits everything; returns the commit.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }
}

/// What the server does beside giving repositories away.
#[derive(Default, Clone)]
pub(crate) struct Manners {
    /// The user and password, as the header has them, that it asks for.
    pub(crate) login: Option<&'static str>,
    /// Answers every request below `/old` with a redirection to this address, once it has been told who asks.
    pub(crate) moved_to: Option<String>,
    /// Sends the head of a pack and no more of it, for as long as this is set.
    pub(crate) falls_asleep: Arc<AtomicBool>,
    /// Does so only with answers that have this many bytes.
    pub(crate) awake_below: usize,
}

/// A web server for the repositories in a folder.
pub(crate) struct Forge {
    pub(crate) address: String,
    /// The requests: method, path, and what the request said of the user.
    pub(crate) asked: Arc<Log>,
}

impl Forge {
    pub(crate) fn start(root: &Path, manners: Manners) -> Self {
        let asked = Arc::<Log>::default();
        let (root, log) = (root.to_owned(), asked.clone());
        let address = web::serve(move |stream, request| answer(stream, &request, &root, &manners, &log));
        Self { address, asked }
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

type Log = Mutex<Vec<(String, String, Option<String>)>>;

fn answer(mut stream: TcpStream, request: &Request, root: &Path, manners: &Manners, log: &Log) {
    let header = |name: &str| request.header(name);
    let (method, body) = (request.method.as_str(), &request.body);
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    log.lock().unwrap().push((method.to_owned(), path.to_owned(), header("authorization")));
    let simple = |stream: &mut TcpStream, head: &str| {
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    };
    if manners.login.is_some() && header("authorization").as_deref() != manners.login {
        return simple(&mut stream, "401 Who?\r\nWWW-Authenticate: Basic realm=\"x\"");
    }
    if let Some(moved) = &manners.moved_to
        && let Some(rest) = path.strip_prefix("/old")
    {
        return simple(&mut stream, &format!("301 Moved\r\nLocation: {moved}{rest}?{query}"));
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .envs([("GIT_HTTP_EXPORT_ALL", "1"), ("REMOTE_ADDR", "127.0.0.1"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("REQUEST_METHOD", method), ("PATH_INFO", path), ("QUERY_STRING", query)])
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let split = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..split]).into_owned();
    let body = &output[split + 4..];
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let others: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
    let length = body.len();
    let others = others.join("\r\n");
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{others}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let tired = manners.falls_asleep.load(Ordering::Relaxed) && body.len() >= manners.awake_below;
    if tired && method == "POST" {
        let _ = stream.write_all(&body[..body.len() / 2]);
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    let _ = stream.write_all(body);
}
