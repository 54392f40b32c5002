//! Real servers that keep content: an OCI registry, and one that speaks S3. Each stops with the test.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::skip::{lacks, skip};

/// The user of a registry that asks for one, and the hash of the password (bcrypt), as `htpasswd` writes them.
pub(crate) const USER: (&str, &str) = ("tester", "hunter2-of-the-registry");
const USERS: &str = "tester:$2b$04$keFZvhM8s.oa448fS49U.uCgqwbeCtzMhOHRk8oc98UrC75zMT0ei\n";
/// What the S3 server's environment is made of.
const PACKAGES: [&str; 3] = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
/// The bucket that the server has.
pub(crate) const BUCKET: &str = "team-store";

/// A running server.
pub(crate) struct Peer {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Starts a server on a port that was free; it is there when it answers.
fn start(folder: tempfile::TempDir, command: impl Fn(u16) -> Command) -> Peer {
    let mut tries = 0;
    let mut folder = Some(folder);
    loop {
        tries += 1;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(folder.as_ref().unwrap().path().join("log")).unwrap();
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Peer { child, folder: folder.take().unwrap(), port };
            }
            let ended = child.try_wait().unwrap().is_some();
            if ended || Instant::now() > until {
                _ = child.kill();
                _ = child.wait();
                // Another program may have taken the port.
                let log = fs::read_to_string(folder.as_ref().unwrap().path().join("log")).unwrap();
                assert!(tries < 3, "the server does not start:\n{log}");
                break;
            }
            std::thread::yield_now();
        }
    }
}

/// Starts Debian's OCI registry, which asks for a login where that `asks`; `None` where there is none, which is said.
#[track_caller]
pub(crate) fn oci_registry(asks: bool) -> Option<Peer> {
    if lacks(&["docker-registry"]) {
        return None;
    }
    let folder = tempfile::Builder::new().prefix("pib-registry-").tempdir().unwrap();
    let root = folder.path().to_owned();
    fs::write(root.join("users"), USERS).unwrap();
    let auth = match asks {
        true => format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", root.join("users").display()),
        false => String::new(),
    };
    Some(start(folder, |port| {
        let config = root.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            root.join("data").display()
        );
        fs::write(&config, text).unwrap();
        let mut registry = Command::new("docker-registry");
        registry.arg("serve").arg(&config).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        registry
    }))
}

impl Peer {
    /// Returns the file in which the OCI registry keeps a blob.
    pub(crate) fn blob(&self, hex: &str) -> PathBuf {
        self.folder.path().join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// Sends an S3 request, which this server takes without a signature; returns the status.
    pub(crate) fn s3(&self, method: &str, path: &str, body: &[u8]) -> u16 {
        self.s3_answer(method, path, body)[9..12].parse().unwrap()
    }

    /// Sends an S3 request; returns the answer with its headers.
    pub(crate) fn s3_answer(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} /{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIAEXAMPLE/20261129/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Connection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Returns the variables by which programs find the S3 server.
    pub(crate) fn s3_variables(&self) -> [(String, String); 4] {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        [
            pair("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            pair("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE".to_owned()),
            pair("AWS_SECRET_ACCESS_KEY", "secret-key-of-the-bucket".to_owned()),
            pair("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

/// Starts a server that speaks S3 and has the bucket; `None` where there is none, which is said. It is moto's, since that
/// writes conditionally, as S3 does, and comes from the package registry of Python without anything to compile.
#[track_caller]
pub(crate) fn s3_server() -> Option<Peer> {
    let Some(program) = moto() else {
        skip(
            "there is no S3 server: Python's package registry does not give moto, or python3-venv is missing",
        );
        return None;
    };
    let folder = tempfile::Builder::new().prefix("pib-s3-").tempdir().unwrap();
    let peer = start(folder, |port| {
        let mut server = Command::new(&program);
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        server
    });
    assert_eq!(peer.s3("PUT", BUCKET, b""), 200);
    Some(peer)
}

/// Returns the S3 server's program, out of an environment beside the build's files, which is made where there is none.
fn moto() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers");
    fs::create_dir_all(&root).unwrap();
    let lock = File::create(root.join("moto.lock")).unwrap();
    lock.lock().unwrap();
    let (environment, done) = (root.join("moto"), root.join("moto.done"));
    let program = environment.join("bin/moto_server");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&done).is_ok_and(|text| text == wanted) && program.is_file() {
        return Some(program);
    }
    let run = |command: &mut Command| {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))
        && run(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(PACKAGES));
    made.then(|| fs::write(&done, wanted).unwrap()).map(|()| program)
}
