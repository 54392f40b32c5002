//! What can go wrong with a hook, always with the stage's name.

use std::fmt;

use pib_plan::hook::{HookProblem, Limits};
use wasmtime::{Trap, WasmBacktrace};

use super::compile::Problem;
use super::guest::Guest;

/// Whose hook it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookName {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// The component's file within the package.
    pub component: String,
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hook `{}` of stage `{}` {}", self.component, self.stage, self.version)
    }
}

/// Says why a hook gave no answer.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum HookError {
    /// It is no hook, or one for another pib.
    #[error("{hook} cannot be used: {problem}")]
    #[diagnostic(code(pib::hook::unfit))]
    Unfit {
        /// Whose hook.
        hook: HookName,
        /// Why.
        problem: HookProblem,
        /// What to do next.
        #[help]
        help: String,
    },
    /// It cannot be made into machine code, or does not fit the interface that it names.
    #[error("{hook} cannot be used: {reason}")]
    #[diagnostic(code(pib::hook::broken))]
    Broken {
        /// Whose hook.
        hook: HookName,
        /// Why.
        reason: String,
        /// What to do next.
        #[help]
        help: String,
    },
    /// A call ended without an answer.
    #[error("{hook} {what} while it {during}")]
    #[diagnostic(code(pib::hook::failed))]
    Failed {
        /// Whose hook.
        hook: HookName,
        /// What it was doing.
        during: During,
        /// What happened.
        what: String,
        /// What to do next.
        #[help]
        help: String,
        /// What the guest was doing, as far as it can be told.
        #[source]
        trace: GuestTrace,
    },
    /// An answer cannot be used.
    #[error("{hook} gave an answer that cannot be used: {what}")]
    #[diagnostic(code(pib::hook::bad_answer))]
    BadAnswer {
        /// Whose hook.
        hook: HookName,
        /// What is wrong with it.
        what: String,
        /// What to do next.
        #[help]
        help: String,
    },
    /// The hook says itself that it cannot render.
    #[error("{hook} could not render the part: {reason}")]
    #[diagnostic(code(pib::hook::refused))]
    Refused {
        /// Whose hook.
        hook: HookName,
        /// What it says.
        reason: String,
    },
    /// The component's file cannot be read.
    #[error("{hook} could not be read")]
    #[diagnostic(code(pib::hook::unreadable))]
    Unreadable {
        /// Whose hook.
        hook: HookName,
        /// What the system said.
        source: std::io::Error,
    },
    /// Whoever asked has gone away.
    #[error("{hook} was stopped")]
    #[diagnostic(code(pib::hook::stopped))]
    Stopped {
        /// Whose hook.
        hook: HookName,
    },
    /// This machine cannot run hooks.
    #[error("could not set up the sandbox for hooks: {reason}")]
    #[diagnostic(code(pib::hook::sandbox))]
    #[diagnostic(help(
        "pib starts itself once more to compile hooks, by /proc/self/exe: see that /proc is mounted, and that there is memory for another process."
    ))]
    Sandbox {
        /// Why.
        reason: String,
    },
}

/// What a hook was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    /// Judging the config.
    Validate,
    /// Rendering the part.
    Render,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validate => "judged the config",
            Self::Render => "rendered the part",
        })
    }
}

/// Where in its own code a guest was, and what it had said last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestTrace {
    /// The guest's calls, innermost first.
    pub frames: Vec<String>,
    /// The last lines of its log.
    pub log: Vec<String>,
}

impl fmt::Display for GuestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frames.is_empty() {
            true => f.write_str("the guest has no backtrace")?,
            false => f.write_str("the guest's backtrace, innermost call first:")?,
        }
        for (number, frame) in self.frames.iter().enumerate() {
            write!(f, "\n  {number}: {frame}")?;
        }
        if !self.log.is_empty() {
            f.write_str("\nthe last lines of its log:")?;
        }
        self.log.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for GuestTrace {}

/// Tells the user how to let a hook do more.
pub(super) fn raise(limit: &str) -> String {
    format!(
        "Tell the stage's author. If you trust the stage, raise `{limit}` under [hooks] in pib/config.toml, in the \
         folder of your config files."
    )
}

/// What to do about a component that does not fit.
pub(super) const BUILD_AGAIN: &str =
    "Build the hook again, for the world `stage` of the package `pib:stage`.";

/// Says why a component was not compiled, and what to do about it.
pub(super) fn uncompiled(hook: &HookName, limits: &Limits, problem: Problem) -> HookError {
    let (reason, help) = match problem {
        Problem::Stopped => return HookError::Stopped { hook: hook.clone() },
        Problem::Invalid(reason) => (super::excerpt::line(&reason, 500), BUILD_AGAIN.to_owned()),
        Problem::Late => {
            let reason =
                format!("compiling it takes more than {} seconds of the processor", limits.compile_seconds);
            (reason, raise("compile-seconds"))
        }
        Problem::Memory => (
            format!("compiling it takes more than {} of memory", limits.compile_memory),
            raise("compile-memory"),
        ),
        Problem::Died(said) => {
            let reason = format!("the compiler gave up on it ({})", super::excerpt::line(&said, 500));
            (reason, "Tell the stage's author, or use another version of the stage.".to_owned())
        }
        Problem::Process(error) => {
            return HookError::Sandbox { reason: format!("the compiler could not be started: {error}") };
        }
    };
    HookError::Broken { hook: hook.clone(), reason, help }
}

/// Says what ended a call, and what to do about it.
///
/// The guest decides nothing here: what it was refused, and how the engine stopped it, is known on this side.
pub(super) fn failure(hook: &HookName, during: During, guest: &Guest, error: &wasmtime::Error) -> HookError {
    let hook = hook.clone();
    if guest.is_stopped() {
        return HookError::Stopped { hook };
    }
    let (what, help) = cause(guest, error);
    HookError::Failed { hook, during, what, help, trace: trace(guest, error) }
}

fn cause(guest: &Guest, error: &wasmtime::Error) -> (String, String) {
    let limits = guest.limits();
    if guest.is_late() {
        return (format!("took longer than {} seconds", limits.seconds), raise("seconds"));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            return (format!("used up its {} units of fuel", limits.fuel), raise("fuel"));
        }
        Some(Trap::StackOverflow) => {
            return (format!("used up its stack of {} (endless recursion?)", limits.stack), raise("stack"));
        }
        _ => {}
    }
    if let Some(refused) = guest.refused() {
        return (format!("asked for more than {}", refused.describe(limits)), raise(refused.limit()));
    }
    let root = error.root_cause().to_string();
    // The engine has no type for this one.
    if root.contains("fuel allocated for hostcalls") {
        return (format!("answered with more than {}", limits.output), raise("output"));
    }
    let help = "This is a mistake in the hook. Tell the stage's author, or use another version of the stage.";
    match error.downcast_ref::<Trap>() {
        Some(trap) => (format!("trapped ({})", plain(&trap.to_string())), help.to_owned()),
        None => (format!("broke the interface ({})", plain(&root)), help.to_owned()),
    }
}

fn plain(text: &str) -> String {
    super::excerpt::line(text.trim_start_matches("wasm trap: "), 300)
}

fn trace(guest: &Guest, error: &wasmtime::Error) -> GuestTrace {
    let trace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
    let frames = trace.lines().filter_map(frame);
    let frames =
        frames.map(|name| super::excerpt::line(name.trim_start_matches("<unknown>!"), 200)).collect();
    GuestTrace { frames, log: guest.last_words() }
}

/// Returns what a line of a backtrace calls a frame: `0: module!function`, with names as their language writes them.
fn frame(line: &str) -> Option<&str> {
    let (number, name) = line.trim_start().split_once(": ")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}
