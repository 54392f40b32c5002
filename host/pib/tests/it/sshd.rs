//! A real ssh server, with keys and an agent of the test's own, and nothing of the user's.
//!
//! The server runs in a user namespace, in which the user is called `tester`: it needs no rights, and no account of its
//! own. Files are there what they are outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::skip::{lacks, skip};
use crate::world::judge;

/// Starts the server in the place of this shell. As root of the namespace it would look for an account of its own.
const START: &str = r#"
mount --bind "$D/passwd" /etc/passwd
exec unshare --user --map-user=1000 --map-group=1000 "$SSHD" -D -e -f "$D/config"
"#;

/// A running server, which lets the holder of the key `me` in.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    child: Child,
    pub(crate) port: u16,
}

/// A running agent, with one key.
pub(crate) struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts a server whose key the client knows; `None` where there is none to start, which is said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        if lacks(&["ssh", "ssh-keygen", "ssh-agent", "ssh-add", "unshare"]) {
            return None;
        }
        let Some(program) = program() else {
            skip("there is no sshd; `cargo xtask setup` brings one");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pib-sshd-").tempdir().unwrap();
        for name in ["host", "me", "other"] {
            let file = folder.path().join(name);
            judge::tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", file.to_str().unwrap()])
                .unwrap();
        }
        // A port that was free a moment ago may be taken by then.
        let mut tries = 0;
        let (child, port) = loop {
            tries += 1;
            match listen(folder.path(), &program) {
                Ok(running) => break running,
                Err(log) => assert!(tries < 5, "sshd does not start:\n{log}"),
            }
        };
        let server = Self { folder, child, port };
        server.write_client();
        server.knows(Some("host"));
        Some(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an `ssh` that differs from the user's in that it has no settings, known hosts and key files of theirs.
    fn write_client(&self) {
        let settings = format!(
            "UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityFile none\n",
            self.path("known").display()
        );
        fs::write(self.path("client"), settings).unwrap();
        let script = format!(
            "#!/bin/sh\nPATH='{}'\nexport PATH\nexec ssh -F {} \"$@\"\n",
            std::env::var("PATH").unwrap(),
            self.path("client").display()
        );
        fs::create_dir(self.path("bin")).unwrap();
        fs::write(self.path("bin/ssh"), script).unwrap();
        fs::set_permissions(self.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Has the client know this key as the server's, or none.
    pub(crate) fn knows(&self, key: Option<&str>) {
        let line = key.map(|key| {
            let key = fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
            format!("[127.0.0.1]:{} {key}", self.port)
        });
        fs::write(self.path("known"), line.unwrap_or_default()).unwrap();
    }

    /// Starts an agent that holds one of the keys `me`, which the server takes, and `other`, which it does not.
    pub(crate) fn agent(&self, key: &str) -> Agent {
        let socket = self.path(&format!("{key}.agent"));
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let agent = Agent { child: child.unwrap(), socket };
        let since = Instant::now();
        // The socket is there a moment before somebody listens.
        while UnixStream::connect(&agent.socket).is_err() {
            assert!(since.elapsed() < Duration::from_secs(20), "ssh-agent does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut add = Command::new("ssh-add");
        let added = add.arg("-q").arg(self.path(key)).env("SSH_AUTH_SOCK", &agent.socket).status();
        assert!(added.unwrap().success());
        agent
    }

    /// Returns what a program needs in its environment to reach the server with the key of an agent.
    pub(crate) fn environment(&self, agent: &Agent) -> [(&'static str, String); 2] {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        [("PATH", path), ("SSH_AUTH_SOCK", agent.socket.display().to_string())]
    }

    /// Returns the address of a place behind the server.
    pub(crate) fn address(&self, path: &Path) -> String {
        format!("ssh://tester@127.0.0.1:{}{}", self.port, path.display())
    }
}

/// Starts a server at a free port; where it does not start, returns what it said.
fn listen(folder: &Path, program: &Path) -> Result<(Child, u16), String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.display();
    let users = format!("root:x:0:0::/:/bin/sh\ntester:x:1000:1000::{at}:/bin/sh\n");
    fs::write(folder.join("passwd"), users).unwrap();
    let settings = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/me.pub\nPidFile none\n\
         StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nSetEnv PATH=\"{}\"\n",
        std::env::var("PATH").unwrap()
    );
    fs::write(folder.join("config"), settings).unwrap();
    let log = folder.join("log");
    let output = fs::File::create(&log).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-euc", START]);
    let mut child = unshare
        .env("D", folder)
        .env("SSHD", program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .unwrap();
    let since = Instant::now();
    loop {
        let said = fs::read_to_string(&log).unwrap();
        if said.contains("Server listening on 127.0.0.1") {
            return Ok((child, port));
        }
        if child.try_wait().unwrap().is_some() || since.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(said);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the server's program: the machine's, or the one that `cargo xtask setup` has unpacked.
fn program() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sshd/sshd");
    let known = [PathBuf::from("/usr/sbin/sshd"), unpacked];
    known.iter().find(|path| path.is_file())?.canonicalize().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
