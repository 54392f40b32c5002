//! The kinds of engines, each started or found as a person would have it.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use pib::engine::ConnectOptions;

/// A kind of engine that must hold the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BuildKit,
    Classic,
    Podman,
}

impl Kind {
    /// Returns how to connect to an engine of this kind, and what must live as long as it is used.
    pub(crate) fn options(self) -> (ConnectOptions, Option<Arc<Private>>) {
        let docker = super::lab::options();
        match self {
            Self::BuildKit => (docker, None),
            Self::Classic => (ConnectOptions { classic: true, ..docker }, None),
            Self::Podman => {
                // `cargo xtask engines` has others.
                let given = std::env::var("PIB_TEST_PODMAN").ok();
                let own = given.is_none().then(podman);
                let host = given.or_else(|| own.as_ref().map(|podman| podman.host()));
                (ConnectOptions { host, ..ConnectOptions::default() }, own)
            }
        }
    }
}

/// An engine of a test's own, with all that it runs and mounts in namespaces that end with it.
pub(crate) struct Private {
    folder: tempfile::TempDir,
    child: Child,
}

impl Private {
    /// Runs `script`, which starts an engine at `$D/engine.sock`, and waits for the socket.
    pub(crate) fn start(script: &str, program: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pib-engine-").tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let child = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-euc",
                script,
            ])
            .env("D", folder.path())
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("unshare: {error}"));
        let mut started = Self { folder, child };
        let since = Instant::now();
        while !started.answers() {
            let ended = started.child.try_wait().unwrap();
            if ended.is_some() || since.elapsed() > Duration::from_secs(60) {
                panic!(
                    "{program} did not start ({ended:?}; `cargo xtask setup` installs it):\n{}",
                    started.log()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        started
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns whether the engine answers; its socket is there some time before.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    /// Takes the images of a Docker engine away with their layers, and waits for the engine that follows it on the same store.
    pub(crate) fn lose_images(&self) {
        let running = self.processes().into_iter().find(|(_, line)| line.starts_with("dockerd "));
        let number = running.unwrap().0;
        let store = PathBuf::from(format!("/proc/{number}/root{}/data", self.folder.path().display()));
        for layer in std::fs::read_dir(store.join("image/overlay2/layerdb/sha256")).unwrap() {
            let folder = std::fs::read_to_string(layer.unwrap().path().join("cache-id")).unwrap();
            std::fs::remove_dir_all(store.join("overlay2").join(folder)).unwrap();
        }
        std::fs::remove_dir_all(store.join("image")).unwrap();
        let process = rustix::process::Pid::from_raw(number.cast_signed()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        let since = Instant::now();
        while rustix::process::test_kill_process(process).is_ok() || !self.answers() {
            assert!(since.elapsed() < Duration::from_secs(60), "no engine after a restart:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns the processes of the engine's namespace, with their command lines.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let space = |process: &Path| std::fs::read_link(process.join("ns/pid")).ok();
        let children = std::fs::read_link(format!("/proc/{}/ns/pid_for_children", self.child.id())).ok();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let numbered =
            entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
        numbered
            .filter(|(_, path): &(u32, PathBuf)| children.is_some() && space(path) == children)
            .filter_map(|(id, path)| Some((id, std::fs::read(path.join("cmdline")).ok()?)))
            .map(|(id, line)| (id, String::from_utf8_lossy(&line).replace('\0', " ")))
            .collect()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        // The namespace ends with its first process; the kernel needs a moment to take all others down.
        let since = Instant::now();
        while std::fs::remove_dir_all(self.folder.path()).is_err() && since.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Starts Podman's service, with a store of its own; the network is that of its namespace, which has none.
const PODMAN: &str = r#"
mkdir -p "$D/home" "$D/tmp"
printf '[containers]\nnetns = "host"\ncgroupns = "host"\n[engine]\nevents_logger = "none"\n' > "$D/containers.conf"
export HOME="$D/home" XDG_RUNTIME_DIR="$D/home" CONTAINERS_CONF="$D/containers.conf" TMPDIR="$D/tmp"
exec podman --root "$D/root" --runroot "$D/run" --tmpdir "$D/tmp" --storage-driver overlay --runtime runc \
    --cgroup-manager cgroupfs system service --time 0 "unix://$D/engine.sock"
"#;

/// Returns Podman's service, which ends with the last test that uses it.
fn podman() -> Arc<Private> {
    static RUNNING: Mutex<Weak<Private>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap();
    if let Some(podman) = running.upgrade() {
        return podman;
    }
    let podman = Arc::new(Private::start(PODMAN, "podman"));
    *running = Arc::downgrade(&podman);
    podman
}

/// Starts a Docker engine whose store has `SIZE`, again and again when it ends.
const DOCKER: &str = r#"
ip link set lo up
mkdir -p "$D/data"
mount -t tmpfs -o size=SIZE tmpfs "$D/data"
while :; do
    rm -f "$D/pid"
    dockerd --data-root "$D/data" --exec-root "$D/exec" --pidfile "$D/pid" --host "unix://$D/engine.sock" \
        --iptables=false --ip6tables=false || :
done
"#;

/// Returns a Docker engine of a test's own, with a store in memory of `size`, as `mount` takes it.
pub(crate) fn docker(size: &str) -> Private {
    Private::start(&DOCKER.replace("SIZE", size), "dockerd")
}
