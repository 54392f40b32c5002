//! What can go wrong with an engine, each with the way out.

use std::io;
use std::path::PathBuf;

use pib_plan::id::Arch;

/// Says what an engine could not do, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EngineError {
    /// No socket is where engines put it.
    #[error("found no container engine: no socket at {looked}")]
    #[diagnostic(help(
        "Install Docker (on Debian and Ubuntu: `sudo apt-get install docker.io`) and start it \
         (`sudo systemctl start docker`), or set DOCKER_HOST to the engine's address."
    ))]
    NoSocket {
        /// The places, joined for people.
        looked: String,
    },
    /// The socket is there, and this user may not open it.
    #[error("may not use the container engine at {address}: permission denied")]
    #[diagnostic(help(
        "Join the group docker (`sudo usermod -aG docker $USER`, then log in again), or run pib with sudo."
    ))]
    PermissionDenied {
        /// The engine's address.
        address: String,
    },
    /// Nobody listens, or nobody answers.
    #[error("the container engine at {address} does not answer: {reason}")]
    #[diagnostic(help(
        "Start or restart it: `sudo systemctl restart docker`; its log: `journalctl -u docker`."
    ))]
    NotAnswering {
        /// The engine's address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// An address of a kind that pib does not speak.
    #[error("cannot use the engine's address `{address}`: {reason}")]
    #[diagnostic(help(
        "pib speaks unix:///path and tcp://host:port. Reach a remote engine by forwarding its socket: \
         `ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock HOST`, then `DOCKER_HOST=unix:///tmp/engine.sock`."
    ))]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine answers, but is not one that pib can use.
    #[error("the container engine at {address} is {found}; pib needs {needs}")]
    #[diagnostic(help("{help}"))]
    Unsuitable {
        /// The engine's address.
        address: String,
        /// What it is.
        found: String,
        /// What is needed.
        needs: &'static str,
        /// What to do.
        help: String,
    },
    /// The kernel cannot run the target's programs.
    #[error("this machine cannot run {arch} programs: {reason}")]
    #[diagnostic(help("{help}"))]
    Binfmt {
        /// The target's architecture.
        arch: Arch,
        /// What is missing.
        reason: String,
        /// What to run.
        help: String,
    },
    /// An instruction of a part failed.
    #[error("{}", build_failed(stage.as_deref(), *line, instruction, *exit_code, message))]
    #[diagnostic(help("{}", last_words(log_tail)))]
    BuildFailed {
        /// The pib stage whose part failed, where that is known.
        stage: Option<String>,
        /// The line of the part on which the instruction starts, counted from 1, where that is known.
        line: Option<usize>,
        /// The instruction: `RUN apt-get install x`.
        instruction: String,
        /// The exit code, where a program failed.
        exit_code: Option<i64>,
        /// What the engine said.
        message: String,
        /// The last lines that the step itself printed.
        log_tail: Vec<String>,
    },
    /// The engine refused the build before it ran anything.
    #[error("{}the container engine refused the build: {message}", place(stage.as_deref(), *line))]
    BuildRefused {
        /// The pib stage that it speaks of, where that is known.
        stage: Option<String>,
        /// The line of that stage's part, counted from 1.
        line: Option<usize>,
        /// What the engine said.
        message: String,
    },
    /// The connection broke while the engine built or exported.
    #[error("lost the connection to the container engine while {doing}: {reason}")]
    #[diagnostic(help(
        "See whether the engine still runs and has disk space: `docker info`, `df -h`. Then repeat."
    ))]
    Disconnected {
        /// What was being done.
        doing: String,
        /// What happened.
        reason: String,
    },
    /// The engine's disk is full.
    #[error("the container engine has no disk space left while {doing}")]
    #[diagnostic(help(
        "Free some: `docker system df` shows what takes it, `pib clean` removes what pib made."
    ))]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// Something only BuildKit does was asked of an engine without it.
    #[error("this build needs BuildKit, which {engine} does not have: {why}")]
    #[diagnostic(help("Use Docker Engine 20.10 or newer."))]
    NeedsBuildKit {
        /// The engine.
        engine: String,
        /// What needs it.
        why: &'static str,
    },
    /// Any other answer that was no success.
    #[error("the container engine failed while {doing}: {message}")]
    Api {
        /// What was being done.
        doing: String,
        /// What the engine said.
        message: String,
    },
    /// A file of this machine could not be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done: "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A file of the context is not what it was when the build was planned.
    #[error("the file {} changed while it was sent to the container engine", path.display())]
    #[diagnostic(help("Run the build again."))]
    ContextChanged {
        /// The file.
        path: PathBuf,
    },
}

impl EngineError {
    /// Turns an answer of the API into an error; `doing` completes "failed while ...".
    pub(super) fn api(doing: impl Into<String>, error: &bollard::errors::Error) -> Self {
        use bollard::errors::Error::{
            DockerResponseServerError, DockerStreamError, HyperLegacyError, HyperResponseError, IOError,
            RequestTimeoutError,
        };
        match error {
            DockerResponseServerError { status_code, message } => {
                Self::from_message(doing, format!("{} (status {status_code})", message.trim()))
            }
            DockerStreamError { error } => Self::from_message(doing, error.trim().to_owned()),
            RequestTimeoutError => Self::disconnected(doing, "it took too long to answer".to_owned()),
            HyperLegacyError { .. } | HyperResponseError { .. } | IOError { .. } => {
                Self::disconnected(doing, with_sources(error))
            }
            other => Self::from_message(doing, with_sources(other)),
        }
    }

    /// Returns the error of a connection that ended, for `reason`, while `doing` was under way.
    pub(super) fn disconnected(doing: impl Into<String>, reason: String) -> Self {
        Self::Disconnected { doing: doing.into(), reason }
    }

    /// Wraps what an engine said, and recognises the failures that have a remedy of their own.
    pub(super) fn from_message(doing: impl Into<String>, message: String) -> Self {
        if message.contains("no space left on device") {
            return Self::DiskFull { doing: doing.into() };
        }
        Self::Api { doing: doing.into(), message }
    }
}

/// Joins an error with its causes, since the outermost one often says only "error in the client".
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn build_failed(
    stage: Option<&str>,
    line: Option<usize>,
    instruction: &str,
    exit_code: Option<i64>,
    message: &str,
) -> String {
    let place = place(stage, line);
    match exit_code {
        Some(code) => format!("{place}`{instruction}` failed with exit code {code}"),
        None => format!("{place}`{instruction}` failed: {message}"),
    }
}

fn place(stage: Option<&str>, line: Option<usize>) -> String {
    match (stage, line) {
        (Some(stage), Some(line)) => format!("stage {stage}, line {line} of its part: "),
        (Some(stage), None) => format!("stage {stage}: "),
        (None, _) => String::new(),
    }
}

/// Shows what a failed instruction printed, so that nobody has to look for it in a log.
fn last_words(log_tail: &[String]) -> String {
    if log_tail.is_empty() {
        return "It printed nothing.".to_owned();
    }
    format!("The last that it printed:\n{}", log_tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic as _;

    use super::*;

    #[test]
    fn a_failed_instruction_shows_what_it_printed() {
        let error = EngineError::BuildFailed {
            stage: Some("os".to_owned()),
            line: Some(7),
            instruction: "RUN apt-get install x".to_owned(),
            exit_code: Some(100),
            message: "exit code: 100".to_owned(),
            log_tail: vec!["Reading package lists...".to_owned(), "E: Unable to locate package x".to_owned()],
        };
        let expected = "stage os, line 7 of its part: `RUN apt-get install x` failed with exit code 100";
        assert_eq!(error.to_string(), expected);
        let help = error.help().unwrap().to_string();
        assert!(help.ends_with("Reading package lists...\nE: Unable to locate package x"), "{help}");
    }
}
