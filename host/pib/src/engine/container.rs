//! Runs a command in a container that is gone when it ends, however it ends.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummaryStateEnum, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptions, ResizeContainerTTYOptions, StartContainerOptions,
    UploadToContainerOptions, WaitContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::owner::{self, OWNER};
use super::temporary::{TEMPORARY, TemporaryContainer, remove_container, temporary};
use super::upgrade::{Handed, request as upgrading, upgrade};
use super::{Engine, EngineError};

/// A key sequence that nobody types: the engine would detach, and the container run on without anybody.
const NEVER: &str = "ctrl-@,ctrl-],ctrl-@,ctrl-]";
/// How long a frame's header is: the kind, three bytes of nothing, and the length.
const HEADER: usize = 8;
/// What is being done when the engine is to attach.
const STARTING: &str = "starting the command";
/// The exit code of a program that wrote where nobody reads, as shells give it.
const BROKEN_PIPE: i64 = 141;

/// A command to be run.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The container image.
    pub image: String,
    /// The platform of its programs.
    pub platform: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The host name inside.
    pub hostname: String,
    /// More environment variables, as `NAME=value`.
    pub environment: Vec<String>,
    /// Folders and files of the engine's machine, as `SOURCE:TARGET`, with `:ro` for read-only.
    pub binds: Vec<String>,
    /// The container's labels.
    pub labels: BTreeMap<String, String>,
    /// Files that it gets before it starts: a tar on this machine, and the folder of the container for them.
    pub files: Option<(PathBuf, String)>,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
}

/// Takes bytes.
pub type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// What a command reads and where its output goes.
pub struct Streams {
    /// What it reads; the sender goes at the end.
    pub input: mpsc::Receiver<Bytes>,
    /// Takes its output.
    pub output: Sink,
    /// Takes what it says on standard error; with a terminal that comes as output.
    pub errors: Sink,
    /// The sizes that its terminal takes, as columns and lines.
    pub sizes: mpsc::Receiver<(u16, u16)>,
}

/// A container of pib's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Whether something runs in it.
    pub running: bool,
}

/// Returns why a command could not be started, as engines and their runtimes say it.
fn not_started(request: &RunRequest, error: &Error) -> EngineError {
    let failed = EngineError::api("starting the command", error);
    let said = failed.to_string().to_lowercase();
    let has = |words: &str| said.contains(words);
    let missing = has("executable file not found") || has("no such file or directory");
    match request.command.first() {
        Some(program) if has("exec") && (missing || has("permission denied") || has("exec format error")) => {
            EngineError::CannotRun { program: program.clone(), missing }
        }
        _ => failed,
    }
}

impl Engine {
    /// Runs a command and returns its exit code; the container is removed before this returns. Dropping the future ends
    /// the command.
    ///
    /// # Errors
    /// When the engine refuses, there is no such program, or the connection breaks.
    pub async fn run(&self, request: &RunRequest, mut streams: Streams) -> Result<i64, EngineError> {
        let failed = |doing: &str, error: &Error| EngineError::api(doing, error);
        let (name, platform) = (new_name(), request.platform.clone());
        let mut container = TemporaryContainer::asked_for(self.client(), &name);
        let options = CreateContainerOptions { name: Some(name), platform };
        let created = self.client().quick().create_container(Some(options), body(request)).await;
        container.answered(created.is_ok());
        let id = created.map_err(|error| failed("making a container", &error))?.id;
        if let Some((tar, folder)) = &request.files {
            self.put_files(&id, tar, folder).await?;
        }
        let (from, to) = tokio::io::split(attach(self.client(), &id).await?);
        let mut output = Output::new(from, request.terminal);
        let started = self.client().quick().start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(|error| not_started(request, &error))?;
        let _feeding = AbortOnDropHandle::new(tokio::spawn(feed(streams.input, to)));
        let mut sized = true;
        loop {
            tokio::select! {
                piece = output.next() => {
                    let lost = |error: io::Error| EngineError::disconnected("running the command", error.to_string());
                    let written = match piece.map_err(lost)? {
                        None => break,
                        Some((Kind::Output, bytes)) => (streams.output)(bytes),
                        Some((Kind::Errors, bytes)) => (streams.errors)(bytes),
                    };
                    if written.is_err() {
                        // Nobody reads any more: as in a pipe, that ends the command.
                        container.remove().await;
                        return Ok(BROKEN_PIPE);
                    }
                }
                size = streams.sizes.recv(), if sized => match size {
                    Some((columns, lines)) => {
                        let size = ResizeContainerTTYOptions { w: columns.into(), h: lines.into() };
                        // A command that has just ended has no terminal any more.
                        _ = self.client().quick().resize_container_tty(&id, size).await;
                    }
                    None => sized = false,
                },
            }
        }
        let code = self.exit_code(&id).await;
        container.remove().await;
        code
    }

    /// Puts the files of a tar into a new folder of a container, directly below the root.
    async fn put_files(&self, id: &str, tar: &Path, folder: &str) -> Result<(), EngineError> {
        const DOING: &str = "putting pib's emulators into the container";
        let lost = |error: io::Error| EngineError::disconnected(DOING, error.to_string());
        let file = tokio::fs::File::from_std(pib_file::open(tar).map_err(lost)?);
        let docker = self.client().patient();
        let put = async |path: &str, body| {
            let options = UploadToContainerOptions { path: path.to_owned(), ..Default::default() };
            let sent = docker.upload_to_container(id, Some(options), body).await;
            sent.map_err(|error| EngineError::api(DOING, &error))
        };
        put("/", bollard::body_full(folder_tar(folder).map_err(lost)?.into())).await?;
        put(folder, bollard::body_try_stream(ReaderStream::new(file))).await
    }

    async fn exit_code(&self, id: &str) -> Result<i64, EngineError> {
        let docker = self.client().patient();
        let mut waiting = Box::pin(docker.wait_container(id, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(EngineError::api("waiting for the command", &error)),
            None => Err(EngineError::disconnected("waiting for the command", "it said nothing".to_owned())),
        }
    }

    /// Returns the containers that have the label `label` (`key` or `key=value`).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn containers(&self, label: &str) -> Result<Vec<Container>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let listed = self.client().quick().list_containers(Some(options)).await;
        let listed = listed.map_err(|error| EngineError::api("listing containers", &error))?;
        let containers = listed.into_iter().filter_map(|found| {
            let running = found.state == Some(ContainerSummaryStateEnum::RUNNING);
            Some(Container { id: found.id?, running })
        });
        Ok(containers.collect())
    }

    /// Removes a container, whatever runs in it.
    pub async fn remove_container(&self, container: &Container) {
        remove_container(self.client(), &container.id).await;
    }

    /// Removes containers that a pib left behind that has ended, or whose end cannot be told from here and that are
    /// older than `age`; returns how many there were.
    ///
    /// An export removes its container itself; one stays only where pib was killed or the engine vanished.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn remove_leftovers(&self, age: Duration) -> Result<usize, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![TEMPORARY.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let containers = self.client().quick().list_containers(Some(options)).await;
        let containers = containers.map_err(|error| EngineError::api("listing containers", &error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let newest = i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
        let mut count = 0;
        for container in containers {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
            let ended = owner.and_then(|owner| owner::has_ended(owner));
            let left = ended.unwrap_or_else(|| container.created.is_some_and(|made| made < newest));
            if let Some(id) = container.id.filter(|_| left) {
                remove_container(self.client(), &id).await;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Returns a tar with a folder below the root.
fn folder_tar(folder: &str) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, format!("{}/", folder.trim_matches('/')), io::empty())?;
    tar.into_inner()
}

/// Returns a name that no other container has: it is known before the engine answers with an id.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("pib-{}-{}", std::process::id(), now.as_nanos())
}

fn body(request: &RunRequest) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(request.image.clone()),
        cmd: Some(request.command.clone()),
        entrypoint: Some(Vec::new()),
        hostname: Some(request.hostname.clone()),
        env: Some(request.environment.clone()),
        labels: Some(request.labels.clone().into_iter().chain(temporary(&request.image)).collect()),
        tty: Some(request.terminal),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // Without us there is nobody to type: a shell sees the end of its input then, and ends.
        stdin_once: Some(true),
        host_config: Some(HostConfig { binds: Some(request.binds.clone()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    }
}

/// Opens a connection that carries what the container's first process reads and prints.
async fn attach(client: &Client, id: &str) -> Result<Handed, EngineError> {
    let path = format!("/containers/{id}/attach?detachKeys={NEVER}&stream=1&stdin=1&stdout=1&stderr=1");
    upgrade(client, STARTING, upgrading(&path, "tcp")).await.map_err(unstarted)
}

/// Turns what an engine says instead of attaching into what it is about: Podman looks only now whether the container can
/// start.
fn unstarted(error: EngineError) -> EngineError {
    match error {
        EngineError::Api { message, .. } => {
            let document = message.find('{').and_then(|start| message.get(start..));
            let told = document.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
            let told = told.as_ref().and_then(|told| told["message"].as_str()).map(str::to_owned);
            EngineError::from_message(STARTING, told.unwrap_or(message))
        }
        error => error,
    }
}

/// Where a piece of output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Output,
    Errors,
}

/// Reads a container's output: as it is with a terminal, else in frames of a kind and a length each.
struct Output<R> {
    from: R,
    buffer: Vec<u8>,
    terminal: bool,
    kind: Kind,
    /// How many bytes of the current frame are still to come.
    left: usize,
    /// The header of the next frame, as far as it has come.
    header: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Output<R> {
    fn new(from: R, terminal: bool) -> Self {
        Self { from, buffer: vec![0; 1 << 16], terminal, kind: Kind::Output, left: 0, header: Vec::new() }
    }

    /// Returns the next piece; `None` at the end. What was read is not lost where the future is dropped.
    async fn next(&mut self) -> io::Result<Option<(Kind, &[u8])>> {
        if self.terminal {
            let count = self.from.read(&mut self.buffer).await?;
            return Ok((count > 0).then(|| (Kind::Output, &self.buffer[..count])));
        }
        while self.left == 0 {
            let missing = HEADER - self.header.len();
            let count = self.from.read(&mut self.buffer[..missing]).await?;
            if count == 0 {
                return Ok(None);
            }
            self.header.extend_from_slice(&self.buffer[..count]);
            if let [kind, _, _, _, length @ ..] = self.header.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.kind = if *kind == 2 { Kind::Errors } else { Kind::Output };
                self.left = u32::from_be_bytes(length) as usize;
                self.header.clear();
            }
        }
        let most = self.buffer.len().min(self.left);
        let count = self.from.read(&mut self.buffer[..most]).await?;
        self.left -= count;
        Ok((count > 0).then(|| (self.kind, &self.buffer[..count])))
    }
}

async fn feed(mut from: mpsc::Receiver<Bytes>, mut to: impl AsyncWrite + Unpin) {
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // The end of the input; what it prints still comes.
    _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], terminal: bool) -> Vec<(Kind, Vec<u8>)> {
        let mut output = Output::new(bytes, terminal);
        let mut pieces = Vec::new();
        while let Some((kind, bytes)) = output.next().await.unwrap() {
            pieces.push((kind, bytes.to_vec()));
        }
        pieces
    }

    #[test]
    fn a_container_that_cannot_start_is_told_as_that() {
        let said = "it answered 500 Internal Server Error: \
                    {\"cause\":\"x\",\"message\":\"crun: no such program `/nosuch`\",\"response\":500}";
        let told = |message: &str| {
            let doing = STARTING.to_owned();
            unstarted(EngineError::Api { doing, message: message.to_owned() }).to_string()
        };
        assert!(
            told(said).contains("starting the command") && told(said).ends_with("no such program `/nosuch`")
        );
        assert!(told("it { is none").ends_with("it { is none"));
    }

    #[tokio::test]
    async fn frames_are_taken_apart_and_a_terminals_output_is_not() {
        let bytes = b"\x01\0\0\0\0\0\0\x02hi\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x03bad\x01\0\0";
        let pieces = read(bytes, false).await;
        assert_eq!(pieces, [(Kind::Output, b"hi".to_vec()), (Kind::Errors, b"bad".to_vec())]);
        assert_eq!(read(bytes, true).await, [(Kind::Output, bytes.to_vec())]);
    }
}
