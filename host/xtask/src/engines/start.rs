//! Starts an engine in namespaces of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Outcome, as_root, succeeds};

/// The scripts of an engine's life, from the machine's root to the engine's own.
const SCRIPTS: [(&str, &str); 3] = [
    ("start.sh", include_str!("start.sh")),
    ("inside.sh", include_str!("inside.sh")),
    ("engine.sh", include_str!("engine.sh")),
];
/// How long an engine may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// An engine that runs; it ends with this value.
pub(crate) struct Engine {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Engine {
    /// Starts `program` from the unpacked Debian `system`.
    ///
    /// Fails with what the engine said where it does not answer.
    pub(super) fn start(system: &Path, name: &str, program: &str) -> Outcome<Self> {
        // Not below target/: the path of a socket may have about 100 characters.
        let folder = PathBuf::from(format!("/var/tmp/pib-engine-{}-{name}", std::process::id()));
        let fail = |error| format!("could not write to {}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(fail)?;
        for (file, text) in SCRIPTS {
            fs::write(folder.join(file), text).map_err(fail)?;
        }
        let log = fs::File::create(folder.join("start.log")).map_err(fail)?;
        let (root, d) = (format!("ROOT={}", system.display()), format!("D={}", folder.display()));
        let program = format!("PROGRAM={program}");
        let script = folder.join("start.sh").to_string_lossy().into_owned();
        let namespaces = ["--mount", "--pid", "--ipc", "--fork", "--kill-child"];
        let mut args = vec!["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", &root, &d, &program, "unshare"];
        args.extend(namespaces);
        args.extend(["sh", &script]);
        let child = as_root("env", &args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(fail)?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("could not start an engine's namespaces: {error}"))?;
        let address = format!("unix://{}/engine.sock", folder.display());
        let mut engine = Self { child, folder, address };
        let since = Instant::now();
        while engine.version().is_none() {
            let ended = engine.child.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() > PATIENCE {
                return Err(engine.last_words());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    /// Returns its address, as `--engine` takes it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns its version, if it answers.
    pub(super) fn version(&self) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.join("engine.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.write_all(b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        // Of the components that it lists, the engine's own version comes last, beside the API's.
        let (_, rest) = answer.rsplit_once("\"Version\":")?;
        Some(rest.trim_start().trim_start_matches('"').split('"').next()?.to_owned())
    }

    /// Returns why it does not answer, as far as it said.
    fn last_words(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let text = format!("{}{}", read("start.log"), read("log"));
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        format!("it does not answer; the last that it said:\n{last}")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its first process waits for the end of this; the kernel ends all others with it.
        drop(self.child.stdin.take());
        _ = self.child.wait();
        let folder = self.folder.to_string_lossy().into_owned();
        if !succeeds_as_root(&["rm", "-rf", "--one-file-system", &folder]) {
            eprintln!("could not remove {folder}");
        }
    }
}

fn succeeds_as_root(words: &[&str]) -> bool {
    if crate::run::is_root() { succeeds(words[0], &words[1..]) } else { succeeds("sudo", words) }
}
