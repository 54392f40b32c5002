//! What ends the program from outside: Ctrl-C, a request to terminate, a terminal that was closed.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::ops::{Error, remove_boot_folders};

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// How long it may take until the first signal is heard. Whatever blocks for longer tidies nothing up.
const DEAF: Duration = Duration::from_secs(1);

/// Returns what is ready at the first signal. At the second the program exits at once, whatever it still tidies up; and so
/// it does where nobody hears the first, since something blocks: then `deaf` has the last word.
///
/// A thread of its own listens, so that nothing that blocks elsewhere can keep a signal waiting.
pub(super) fn first(deaf: impl FnOnce() + Send + 'static) -> Result<impl Future<Output = ()>, Error> {
    let fail = |error| Error::io("listen for signals", "", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let inside = runtime.enter();
    let ignored = ignored();
    let listen = |kind: SignalKind| -> Result<Listener, Error> {
        // What `nohup` ignores stays ignored. An interrupt that is ignored is nobody's wish: scripts start so whatever they
        // run in the background, and builds that nothing can stop would be left.
        if kind == SignalKind::hangup() && ignored >> (kind.as_raw_value() - 1) & 1 == 1 {
            return Ok(Listener(None));
        }
        signal(kind).map(|signal| Listener(Some(signal))).map_err(fail)
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(inside);
    let (tell, told) = oneshot::channel();
    let (heard, hearing) = oneshot::channel();
    let listening = move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    () = interrupt.heard() => {}
                    () = terminate.heard() => {}
                    () = hangup.heard() => {}
                }
            };
            next().await;
            _ = tell.send(());
            tokio::select! {
                () = next() => {}
                outcome = tokio::time::timeout(DEAF, hearing) => match outcome {
                    Err(_) => deaf(),
                    Ok(_) => next().await,
                },
            }
            remove_boot_folders();
            std::process::exit(INTERRUPTED);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listening).map_err(fail)?;
    Ok(async move {
        if told.await.is_err() {
            // Nobody listens any more, so nothing interrupts.
            std::future::pending::<()>().await;
        }
        _ = heard.send(());
    })
}

/// A signal that is listened to, unless it is ignored.
struct Listener(Option<Signal>);

impl Listener {
    async fn heard(&mut self) {
        match &mut self.0 {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
    }
}

/// Returns the signals that this process was started to ignore, one bit for each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
