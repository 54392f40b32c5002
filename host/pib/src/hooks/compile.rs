//! Compiles components in a process of its own, which has so much time and memory and no more.
//!
//! How long a compiler takes, and how much memory, is decided by whoever wrote what it compiles: a few megabytes of
//! one function keep it busy for an hour. So pib starts itself once more. That process gets the component on its
//! standard input and writes the machine code to its standard output; it has no environment, lowers its own limits
//! before it reads the first byte, and dies with the process that started it. Nobody else holds an end of those
//! pipes.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pib_plan::hook::Limits;
use rustix::process::{Resource, Rlimit, Signal};

use super::sandbox;
use crate::child;

/// What the command line of a compiling process begins with. No command has this name.
const WORD: &str = "__compile-hook";
/// The exit code for a component that is not valid; standard error says why.
const INVALID: u8 = 3;
/// How often the waiting process looks at whether the result is still wanted.
const TICK: Duration = Duration::from_millis(20);
/// How often as long as its processor seconds the compiler may take by the clock: other programs work, too.
const PATIENCE: u64 = 4;
/// The most that is kept of what the compiling process says.
const MAX_MESSAGE: u64 = 4_000;
/// The most machine code that is taken, and the largest component that is read.
const MAX_CODE: u64 = 1 << 30;

/// Says why there is no machine code.
#[derive(Debug)]
pub(super) enum Problem {
    /// The component is not valid.
    Invalid(String),
    /// The compiler took longer than it may.
    Late,
    /// The compiler wanted more memory than it may have.
    Memory,
    /// Nobody waits for the result any more.
    Stopped,
    /// The compiler itself failed.
    Died(String),
    /// The process could not be started, or not be talked to.
    Process(io::Error),
}

/// Compiles a component by running `program`, which is pib, as a bounded child.
pub(super) fn compile(
    program: &Path,
    limits: &Limits,
    component: &[u8],
    stop: &AtomicBool,
) -> Result<Vec<u8>, Problem> {
    let late = Instant::now() + Duration::from_secs(limits.compile_seconds.saturating_mul(PATIENCE));
    let mut child = start(program, limits).map_err(Problem::Process)?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        // A child that ended early takes no more input; how it ended says why.
        scope.spawn(move || input.map(|mut input| input.write_all(component)));
        scope.spawn(move || sender.send(output.map_or_else(|| Ok(Vec::new()), |from| read(from, MAX_CODE))));
        let message =
            scope.spawn(move || errors.map_or_else(|| Ok(Vec::new()), |from| read(from, MAX_MESSAGE)));
        let outcome = wait(&receiver, late, stop);
        if outcome.is_err() {
            // It may have ended by itself meanwhile.
            _ = child.kill();
        }
        let status = child.wait();
        let message = message.join().ok().and_then(Result::ok).unwrap_or_default();
        let code = outcome?.map_err(Problem::Process)?;
        judge(status.map_err(Problem::Process)?, code, &String::from_utf8_lossy(&message))
    })
}

/// Waits for the end of the child's output.
fn wait(
    output: &mpsc::Receiver<io::Result<Vec<u8>>>,
    late: Instant,
    stop: &AtomicBool,
) -> Result<io::Result<Vec<u8>>, Problem> {
    loop {
        match output.recv_timeout(TICK) {
            Ok(code) => return Ok(code),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(io::ErrorKind::BrokenPipe.into())),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Err(Problem::Stopped),
            Err(RecvTimeoutError::Timeout) if Instant::now() > late => return Err(Problem::Late),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn judge(status: ExitStatus, code: Vec<u8>, message: &str) -> Result<Vec<u8>, Problem> {
    let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
    match status.code() {
        Some(0) => Ok(code),
        Some(found) if found == i32::from(INVALID) => Err(Problem::Invalid(message.to_owned())),
        _ if signal(Signal::XCPU) => Err(Problem::Late),
        // So the allocator says that there is no more; a system that has none itself kills.
        _ if signal(Signal::KILL) || message.contains("memory allocation of") => Err(Problem::Memory),
        _ if message.contains("Cannot allocate memory") || message.contains("Resource temporarily") => {
            Err(Problem::Memory)
        }
        _ => Err(Problem::Died(format!("{status}: {message}"))),
    }
}

fn start(program: &Path, limits: &Limits) -> io::Result<Child> {
    Command::new(program)
        .arg(WORD)
        .args(
            [limits.stack.0, limits.compile_memory.0, limits.compile_seconds]
                .map(|number| number.to_string()),
        )
        .arg(std::process::id().to_string())
        .env_clear()
        // Its memory is limited by what it has mapped: nothing is mapped in advance.
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .current_dir("/")
        // Ctrl-C is for the process that the user started; it ends this one.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Reads to the end, and keeps `most` bytes: whoever writes more is not kept waiting.
fn read(mut from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(most).read_to_end(&mut bytes)?;
    io::copy(&mut from, &mut io::sink())?;
    Ok(bytes)
}

/// Does the work of a compiling process, where this process was started to be one; else returns nothing.
pub fn compiler(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let numbers: Vec<u64> = arguments.filter_map(|text| text.to_str()?.parse().ok()).collect();
    let outcome = match numbers.as_slice() {
        &[stack, memory, seconds, parent] => bound(memory, seconds, parent).and_then(|()| work(stack)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    let told = |text: String, code: u8| {
        _ = write!(io::stderr().lock(), "{text}");
        ExitCode::from(code)
    };
    Some(match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => told(format!("{error:#}"), INVALID),
        Err(error) => told(error.to_string(), 1),
    })
}

/// Lowers this process's limits, and ties its life to its parent's.
fn bound(memory: u64, seconds: u64, parent: u64) -> io::Result<()> {
    // The first signal at the end of its time says what ended it; one second later comes one without a word.
    let limits = [
        (Resource::Core, 0, 0),
        (Resource::Data, memory, memory),
        (Resource::Cpu, seconds, seconds.saturating_add(1)),
        (Resource::Fsize, 0, 0),
    ];
    for (resource, most, hardest) in limits {
        let old = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let (current, maximum) = (Some(most.min(old)), Some(hardest.min(old)));
        rustix::process::setrlimit(resource, Rlimit { current, maximum })?;
    }
    child::tie(parent)
}

/// Compiles what standard input has; the inner error is the component's fault.
fn work(stack: u64) -> io::Result<wasmtime::Result<()>> {
    let mut component = Vec::new();
    io::stdin().lock().take(MAX_CODE).read_to_end(&mut component)?;
    match sandbox::compiled(stack, &component) {
        Ok(code) => io::stdout().lock().write_all(&code).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}
