//! Repositories behind ssh, reached with the user's own `ssh`: its agent, keys, known hosts and configuration.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use super::GitError;
use super::address::SshLocation;
use super::flow::{Flow, Kind};
use super::link::Link;

/// How often a wait looks whether the program is being stopped.
const TICK: Duration = Duration::from_millis(100);
/// The most that is kept of what ssh says about itself.
const MAX_STDERR: usize = 16 << 10;

/// Makes the stream to a repository behind ssh.
pub(super) struct Ssh {
    link: Arc<Link>,
    location: SshLocation,
}

impl Ssh {
    pub(super) fn new(link: Arc<Link>, location: SshLocation) -> Self {
        Self { link, location }
    }

    fn command(&self) -> Command {
        let seconds = self.link.patience.as_secs().max(1);
        let mut command = match &self.link.ssh {
            // As git does it: what the user has set is a piece of shell.
            Some(text) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{text} \"$@\""), "ssh"]);
                shell
            }
            None => Command::new("ssh"),
        };
        // Nobody can be asked: what needs an answer fails with its reason instead of waiting for one.
        command.args(["-o", "BatchMode=yes", "-o", &format!("ConnectTimeout={seconds}")]);
        command.args(["-o", &format!("ServerAliveInterval={}", seconds.div_ceil(3))]);
        if let Some(port) = self.location.port {
            command.args(["-p", &port.to_string()]);
        }
        let quoted = self.location.path.replace('\'', r"'\''");
        command.arg(target(&self.location)).arg(format!("git-upload-pack '{quoted}'"));
        command
    }
}

/// Returns `USER@HOST`, or the host alone.
fn target(location: &SshLocation) -> String {
    match &location.user {
        Some(user) => format!("{user}@{}", location.host),
        None => location.host.clone(),
    }
}

impl SmartSubtransport for Ssh {
    fn action(&self, _url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        if service != Service::UploadPackLs {
            return Err(git2::Error::from_str("this stream only fetches"));
        }
        let denied = |fault| git2::Error::from_str(&self.link.fail(fault).to_string());
        self.link.log_in(&self.link.named).map_err(denied)?;
        let piped = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let said = format!("the program could not be started ({error})");
                let help = "Install OpenSSH's client, or use the repository's https address.";
                let fault = GitError::Ssh { host: target(&self.location), said, help: help.to_owned() };
                git2::Error::from_str(&self.link.fail(fault).to_string())
            })?;
        let stream = SshStream::new(Arc::clone(&self.link), self.location.clone(), piped);
        Ok(Box::new(stream))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// Returns what a person runs to see whether the server lets them in.
fn trial(location: &SshLocation) -> String {
    let port = location.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    format!("ssh -T {port}{}", target(location))
}

/// The pipes of a running ssh.
struct SshStream {
    link: Arc<Link>,
    location: SshLocation,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<io::Result<Vec<u8>>>,
    rest: io::Cursor<Vec<u8>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
    /// What the server sends: its list, until something is asked for.
    flow: Flow,
    has_asked: bool,
}

impl SshStream {
    fn new(link: Arc<Link>, location: SshLocation, mut child: Child) -> Self {
        let (sender, output) = sync_channel(16);
        // A pipe can only be waited for without a limit, so that a thread of its own does it.
        if let Some(mut pipe) = child.stdout.take() {
            std::thread::spawn(move || {
                loop {
                    let mut chunk = vec![0; 64 << 10];
                    let read = pipe.read(&mut chunk).map(|count| {
                        chunk.truncate(count);
                        chunk
                    });
                    let last = !matches!(&read, Ok(chunk) if !chunk.is_empty());
                    if sender.send(read).is_err() || last {
                        return;
                    }
                }
            });
        }
        let stderr = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&stderr);
        let listener = child.stderr.take().map(|pipe| std::thread::spawn(move || listen(pipe, &heard)));
        let input = child.stdin.take();
        let flow = Flow::new(Kind::List, &link);
        let rest = io::Cursor::default();
        Self { link, location, child, input, output, rest, stderr, listener, flow, has_asked: false }
    }

    fn next(&mut self) -> io::Result<Vec<u8>> {
        let began = Instant::now();
        loop {
            match self.output.recv_timeout(TICK) {
                Ok(Ok(chunk)) if chunk.is_empty() => return self.ended().map(|()| chunk),
                Ok(read) => return read,
                Err(RecvTimeoutError::Disconnected) => return Ok(Vec::new()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.link.stop.is_cancelled() {
                return Err(self.link.fail(self.link.interrupted()));
            }
            if began.elapsed() > self.link.patience {
                return Err(self.link.fail(self.link.timed_out()));
            }
        }
    }

    /// Tells an orderly end from one that has a reason.
    fn ended(&mut self) -> io::Result<()> {
        drop(self.input.take());
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if began.elapsed() > self.link.patience => {
                    return Err(self.link.fail(self.link.timed_out()));
                }
                None => std::thread::sleep(TICK / 10),
            }
        };
        if status.success() {
            return Ok(());
        }
        // A connection that ssh shares in the background may hold the pipe open for longer than ssh itself.
        let began = Instant::now();
        while self.listener.as_ref().is_some_and(|thread| !thread.is_finished())
            && began.elapsed() < Duration::from_secs(1)
        {
            std::thread::sleep(TICK / 10);
        }
        let said = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        Err(self.link.fail(explain(&self.location, &String::from_utf8_lossy(&said))))
    }
}

impl Read for SshStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.position() >= self.rest.get_ref().len() as u64 {
            let chunk = self.next()?;
            self.flow.arrived(chunk.len(), &self.link).map_err(|fault| self.link.fail(fault))?;
            self.rest = io::Cursor::new(chunk);
        }
        self.rest.read(buffer)
    }
}

impl Write for SshStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_asked {
            self.has_asked = true;
            self.flow = Flow::new(Kind::Pack, &self.link);
        }
        match &mut self.input {
            Some(input) => match input.write(bytes) {
                // The reason is in what the program said; reading finds it.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => match self.ended() {
                    Ok(()) => Err(error),
                    Err(reason) => Err(reason),
                },
                outcome => outcome,
            },
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for SshStream {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may be over already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the beginning of what a program says about itself; the rest is thrown away, so that it need not wait.
fn listen(mut pipe: impl Read, heard: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_STDERR.saturating_sub(heard.len()).min(count);
        heard.extend_from_slice(&chunk[..room]);
    }
}

/// Puts what ssh said into a message that says what to do.
fn explain(location: &SshLocation, said: &str) -> GitError {
    let (host, trial) = (target(location), trial(location));
    let has = |words: &str| said.to_lowercase().contains(words);
    let help = if has("host key verification failed") || has("remote host identification has changed") {
        format!(
            "This machine does not know the server's key, or knows another one. Compare it with what the server's \
             owner publishes, then accept it by connecting once: {trial}"
        )
    } else if has("permission denied") || has("no such identity") || has("too many authentication failures") {
        format!(
            "The server takes none of your keys. Start an agent and give it the key (eval \"$(ssh-agent)\"; \
             ssh-add), then try: {trial}. A public repository also has an https address."
        )
    } else if has("could not resolve") || has("connection refused") || has("timed out") || has("no route") {
        "Check the network and the address; what was fetched before can be used with --offline.".to_owned()
    } else {
        format!("Check the address and that you may read the repository: {trial}")
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = match lines.as_slice() {
        [] => "it said nothing".to_owned(),
        lines => lines[lines.len().saturating_sub(4)..].join("; "),
    };
    let said = said.chars().filter(|c| !c.is_control()).collect();
    GitError::Ssh { host, said, help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miette::Diagnostic as _;

    #[test]
    fn what_ssh_says_becomes_advice() {
        let mut location = SshLocation {
            user: Some("git".to_owned()),
            host: "example.org".to_owned(),
            port: None,
            path: "/x".to_owned(),
        };
        let advice = |said: &str| explain(&location, said).help().unwrap().to_string();
        assert!(advice("Host key verification failed.\r\n").contains("accept it by connecting once"));
        assert!(advice("git@example.org: Permission denied (publickey).").contains("ssh-add"));
        assert!(advice("ssh: Could not resolve hostname x").contains("network"));
        assert!(
            advice("ERROR: Repository not found.")
                .contains("may read the repository: ssh -T git@example.org")
        );
        location.port = Some(2222);
        let said = explain(&location, "Host key verification failed.").help().unwrap().to_string();
        assert!(said.ends_with("ssh -T -p 2222 git@example.org"), "{said}");
    }
}
