//! What can go wrong with an engine, each with the way out.

use std::io;
use std::path::PathBuf;

use pib_plan::id::{Arch, Digest};

/// The help that every failed check ends with.
const CANNOT_RUN: &str = "Run `sudo pib binfmt` on the machine that the engine runs on.";

/// Says what an engine could not do, and what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EngineError {
    /// No socket is where engines put it.
    #[error("found no container engine: no socket at {looked}")]
    #[diagnostic(code(pib::engine::no_socket))]
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
    #[diagnostic(code(pib::engine::permission_denied))]
    #[diagnostic(help(
        "Join the group docker (`sudo usermod -aG docker $USER`, then log in again), run pib with sudo, or use an \
         engine of your own: `systemctl --user start podman.socket`, or Docker's rootless mode."
    ))]
    PermissionDenied {
        /// The engine's address.
        address: String,
    },
    /// Nobody listens, or nobody answers.
    #[error("the container engine at {address} does not answer: {reason}")]
    #[diagnostic(code(pib::engine::not_answering))]
    #[diagnostic(help("{help}"))]
    NotAnswering {
        /// The engine's address.
        address: String,
        /// What happened.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// ssh did not get through to the engine.
    #[error("could not reach the container engine on {host} by ssh: {said}")]
    #[diagnostic(code(pib::engine::ssh))]
    #[diagnostic(help(
        "Try `ssh {login} docker version`: it must work without a question. Add your key to the agent with \
         `ssh-add`, accept a new machine's key by connecting once, and install Docker or Podman over there."
    ))]
    Ssh {
        /// The machine.
        host: String,
        /// What ssh is told to get there.
        login: String,
        /// What ssh, or the other side, said.
        said: String,
    },
    /// The engine and pib do not trust each other.
    #[error("the container engine at {address} and pib do not accept each other's certificates: {reason}")]
    #[diagnostic(code(pib::engine::untrusted))]
    #[diagnostic(help(
        "ca.pem must be the authority of the engine's certificate, which must name the host as it is addressed; \
         cert.pem and key.pem must be what the engine's --tlscacert signed. They are looked for in DOCKER_CERT_PATH, \
         else in ~/.docker, or in the Docker context."
    ))]
    Untrusted {
        /// The engine's address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A certificate or key cannot be used.
    #[error("could not use {} for TLS: {reason}", path.display())]
    #[diagnostic(code(pib::engine::certificate))]
    #[diagnostic(help(
        "Put ca.pem, cert.pem and key.pem into a folder and name it by DOCKER_CERT_PATH. Unset DOCKER_TLS_VERIFY for \
         an engine without TLS."
    ))]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no Docker context of a name.
    #[error("there is no Docker context `{name}`")]
    #[diagnostic(code(pib::engine::unknown_context))]
    #[diagnostic(help("{help}"))]
    UnknownContext {
        /// The name.
        name: String,
        /// What to do.
        help: String,
    },
    /// A file of the docker client cannot be used.
    #[error("could not use the docker client's file {}: {reason}", path.display())]
    #[diagnostic(code(pib::engine::client_config))]
    #[diagnostic(help("Mend it, or name the engine's address by `--engine` or DOCKER_HOST."))]
    ClientConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An address of a kind that pib does not speak.
    #[error("cannot use the engine's address `{address}`: {reason}")]
    #[diagnostic(code(pib::engine::address))]
    #[diagnostic(help(
        "pib speaks unix:///path, tcp://host:port (with TLS if DOCKER_TLS_VERIFY is set) and \
         ssh://[user@]host[:port][/path/of/socket]."
    ))]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine answers, but is not one that pib can use.
    #[error("the container engine at {address} is {found}; pib needs {needs}")]
    #[diagnostic(code(pib::engine::unsuitable))]
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
    /// The engine cannot give an image everything, and the project wants no such image.
    #[error(
        "pib.lock refuses engines that lose something of the system, and {engine} at {address} loses {lost}"
    )]
    #[diagnostic(code(pib::engine::lossy))]
    #[diagnostic(help(
        "Build with Docker Engine and BuildKit, run by root: name it with `--engine` or DOCKER_HOST, and leave DOCKER_BUILDKIT \
         unset. To take an image that lacks this, leave `losses = \"refuse\"` out of [build] in pib.toml."
    ))]
    Lossy {
        /// What the engine is called.
        engine: String,
        /// Its address.
        address: String,
        /// What it loses.
        lost: String,
    },
    /// The kernel cannot run the target's programs.
    #[error("this machine cannot run {arch} programs: {reason}")]
    #[diagnostic(code(pib::engine::binfmt))]
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
    #[diagnostic(code(pib::engine::build_failed))]
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
    /// An instruction failed since packages could not be had from their mirror.
    #[error("{}`{instruction}` failed: {reason}", place(stage.as_deref(), *line))]
    #[diagnostic(code(pib::engine::packages))]
    Packages {
        /// The pib stage whose part failed, where that is known.
        stage: Option<String>,
        /// The line of the part on which the instruction starts, counted from 1, where that is known.
        line: Option<usize>,
        /// The instruction.
        instruction: String,
        /// What is wrong with the mirror.
        reason: String,
        /// What to do.
        #[help]
        help: &'static str,
    },
    /// The engine refused the build before it ran anything.
    #[error("{}the container engine refused the build: {message}", place(stage.as_deref(), *line))]
    #[diagnostic(code(pib::engine::build_refused))]
    BuildRefused {
        /// The pib stage that it speaks of, where that is known.
        stage: Option<String>,
        /// The line of that stage's part, counted from 1.
        line: Option<usize>,
        /// What the engine said.
        message: String,
        /// What to do, where pib knows.
        #[help]
        help: Option<String>,
    },
    /// The connection broke while the engine built or exported.
    #[error("lost the connection to the container engine while {doing}: {reason}")]
    #[diagnostic(code(pib::engine::disconnected))]
    #[diagnostic(help(
        "See whether the engine still runs and has disk space: `docker info`, `df -h`. Then repeat."
    ))]
    Disconnected {
        /// What was being done.
        doing: String,
        /// What happened.
        reason: String,
    },
    /// None of the engines that a build of several targets is spread over answers any more.
    #[error("none of the engines `{names}` answers any more")]
    #[diagnostic(code(pib::engine::all_gone))]
    #[diagnostic(help(
        "`pib doctor --engine ADDRESS` says what is wrong with one. `pib build --engine ADDRESS` builds with one alone."
    ))]
    AllGone {
        /// Their names in the user's config.
        names: String,
    },
    /// The engine's disk is full.
    #[error("the container engine has no disk space left while {doing}")]
    #[diagnostic(code(pib::engine::disk_full))]
    #[diagnostic(help(
        "Free some: `docker system df` shows what takes it, `pib clean` removes what pib made, and \
         `docker builder prune` what the engine keeps of builds."
    ))]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// The engine's build cache names layers that the engine has no more.
    #[error("the engine's build cache names layers that are gone: {message}")]
    #[diagnostic(code(pib::engine::lost_layers))]
    #[diagnostic(help("Empty the build cache with `docker builder prune --all`, then build again."))]
    LostLayers {
        /// What the engine said.
        message: String,
    },
    /// A base in the cache is not what its name says.
    #[error("the base {} is damaged: it has the digest {found}, and is to have {expected}", .path.display())]
    #[diagnostic(code(pib::engine::damaged_base))]
    #[diagnostic(help("Run `pib cache verify`, which removes what is damaged, and the same command again."))]
    DamagedBase {
        /// The file.
        path: PathBuf,
        /// The digest that it must have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A program that is to run in a container is not there, or cannot be run.
    #[error("could not run `{program}`: {}", if *missing { "there is no such program" } else { "it cannot be run, or not by this user" })]
    #[diagnostic(code(pib::engine::cannot_run))]
    #[diagnostic(help("`pib shell` shows what the system has."))]
    CannotRun {
        /// The program.
        program: String,
        /// Whether it is not there.
        missing: bool,
    },
    /// Something only BuildKit does was asked of an engine without it.
    #[error("this build needs BuildKit, which {engine} does not have: {why}")]
    #[diagnostic(code(pib::engine::needs_build_kit))]
    #[diagnostic(help("Use Docker Engine 20.10 or newer, without DOCKER_BUILDKIT=0 in the environment."))]
    NeedsBuildKit {
        /// The engine.
        engine: String,
        /// What needs it.
        why: &'static str,
    },
    /// Any other answer that was no success.
    #[error("the container engine failed while {doing}: {message}")]
    #[diagnostic(code(pib::engine::api))]
    Api {
        /// What was being done.
        doing: String,
        /// What the engine said.
        message: String,
    },
    /// A file of this machine could not be read or written.
    #[error("could not {action} {}", path.display())]
    #[diagnostic(code(pib::engine::io))]
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
    #[diagnostic(code(pib::engine::context_changed))]
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

    /// Returns the error of an engine that cannot be spoken with.
    pub(super) fn not_answering(address: String, reason: impl Into<String>) -> Self {
        let help = match (address.starts_with("unix://"), address.contains("podman")) {
            (true, true) => "Start it: `systemctl --user start podman.socket`, as root without `--user`.",
            (true, false) => {
                "Start or restart it: `sudo systemctl restart docker`; its log: `journalctl -u docker`."
            }
            _ => {
                "See whether the address is right, the engine runs, and no firewall is in between. An engine with TLS \
                 needs DOCKER_TLS_VERIFY=1."
            }
        };
        Self::NotAnswering { address, reason: reason.into(), help }
    }

    /// Returns the error for a target whose programs do not run.
    pub(super) fn cannot_run(arch: Arch, reason: String) -> Self {
        Self::Binfmt { arch, reason, help: CANNOT_RUN.to_owned() }
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
