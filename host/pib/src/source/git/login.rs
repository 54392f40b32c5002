//! Asks the user's git for the user and password of a web server.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use url::Url;

/// How long a helper may take; one of them may be asking a person in a window of its own.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a wait looks whether the program is being stopped.
const TICK: Duration = Duration::from_millis(20);

/// Returns the user and the password that the user's credential helpers have for `url`.
///
/// `git credential fill` knows all of git's rules on which helper answers for which host. Without git there are no
/// helpers, and so no answer.
pub(super) fn ask(url: &Url, stop: &CancellationToken) -> Option<(String, String)> {
    let mut child = Command::new("git")
        .args(["credential", "fill"])
        // In a stranger's project, git would read that project's settings, and run the helpers that they name.
        .current_dir("/")
        // Nobody can be asked at the terminal: it belongs to the progress display.
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let question = format!("url={url}\n\n");
    let mut input = child.stdin.take()?;
    // A helper that does not listen does not answer either.
    let _ = input.write_all(question.as_bytes());
    drop(input);
    let output = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.take(64 << 10).read_to_string(&mut text).ok().map(|_| text)
    });
    let began = Instant::now();
    while !reader.is_finished() {
        if stop.is_cancelled() || began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(TICK);
    }
    let succeeded = child.wait().ok()?.success();
    let text = reader.join().ok().flatten().filter(|_| succeeded)?;
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    Some((value("username")?, value("password")?))
}
