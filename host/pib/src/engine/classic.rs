//! Builds by the engine's classic builder, which every engine has and Podman imitates.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion, CreateContainerOptions};
use bytes::Bytes;
use futures_util::StreamExt as _;
use pib_plan::assemble::{ContextFile, FileSource};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::backend::{Abilities, Backend, Chunk, Loss};
use super::build_request::BuildRequest;
use super::client::Client;
use super::error::EngineError;
use super::log_lines::{Lines, shorten};
use super::merged;
use super::part_location;
use super::progress::{Stages, step_failed};
use super::refused::refused;
use super::temporary::{TemporaryContainer, temporary};
use pib_event::{Mask, Reporter};

/// Where the Dockerfile is put in the context, out of the way of every stage.
const DOCKERFILE: &str = ".pib/Dockerfile";
/// How much is handed to the engine at once, and how many such chunks may wait.
const CHUNK: usize = 128 * 1024;
const QUEUE: usize = 16;

/// Docker with its classic builder.
pub(super) struct Classic;

#[async_trait::async_trait]
impl Backend for Classic {
    fn abilities(&self) -> Abilities {
        Abilities { mounts: false, stops: true, losses: vec![Loss::Attributes, Loss::Volumes] }
    }

    fn title(&self, name: &str, version: &str) -> String {
        format!("the classic builder of {name} {version}")
    }

    async fn build(
        &self,
        client: &Client,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), EngineError> {
        build(client, request, reporter).await
    }

    async fn export(
        &self,
        client: &Client,
        tag: &str,
        _: &str,
        chunks: mpsc::Sender<Chunk>,
    ) -> Result<AbortOnDropHandle<()>, EngineError> {
        export(client, tag, chunks).await
    }
}

/// Builds the request; the result is in the engine's store under its tag.
pub(super) async fn build(
    client: &Client,
    request: &BuildRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<(), EngineError> {
    let options = BuildImageOptions {
        dockerfile: DOCKERFILE.to_owned(),
        t: Some(request.tag.to_owned()),
        nocache: request.no_cache,
        // Containers of a build that is stopped are removed, too.
        rm: true,
        forcerm: true,
        labels: Some(request.labels.clone().into_iter().collect::<HashMap<_, _>>()),
        buildargs: Some(request.build_args.clone().into_iter().collect::<HashMap<_, _>>()),
        target: request.docker_target().unwrap_or_default(),
        platform: request.plan.arch.platform().to_owned(),
        version: BuilderVersion::BuilderV1,
        ..BuildImageOptions::default()
    };
    let failure = Arc::new(OnceLock::new());
    let body = bollard::body_try_stream(context_stream(request, failure.clone()));
    let docker = client.patient();
    let mut messages = Box::pin(docker.build_image(options, None, Some(body)));
    let mut follower = Follower::new(request, reporter);
    while let Some(message) = messages.next().await {
        match message {
            Ok(info) => {
                if let Some(text) = info.stream {
                    follower.take(&text);
                }
            }
            Err(error) => {
                let refused = || refusal(request, &error);
                return Err(own(&failure).or_else(|| follower.failure(&error)).unwrap_or_else(refused));
            }
        }
    }
    follower.finish(request.docker_target().as_deref());
    Ok(())
}

/// Has the engine export a container that is made for it and never runs.
pub(super) async fn export(
    client: &Client,
    tag: &str,
    sender: mpsc::Sender<Chunk>,
) -> Result<AbortOnDropHandle<()>, EngineError> {
    let body = ContainerCreateBody {
        image: Some(tag.to_owned()),
        labels: Some(temporary(tag)),
        // Never run, but without any command the engine refuses to create it.
        cmd: Some(vec!["/".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let created = client.quick().create_container(None::<CreateContainerOptions>, body).await;
    let created = created.map_err(|error| EngineError::api(format!("exporting {tag}"), &error))?;
    let mut container = TemporaryContainer::new(client, &created.id);
    let docker = client.patient();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stream = Box::pin(docker.export_container(&created.id));
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| EngineError::api("exporting", &error));
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                break;
            }
        }
        // Before the sender goes, so that the container is gone when the reader sees the end.
        container.remove().await;
    })))
}

fn own(failure: &OnceLock<String>) -> Option<EngineError> {
    let message = failure.get()?.clone();
    Some(EngineError::Api { doing: "sending the context".to_owned(), message })
}

/// Turns an answer that no instruction is to blame for into an error.
fn refusal(request: &BuildRequest<'_>, error: &Error) -> EngineError {
    match error {
        Error::DockerStreamError { error: message } | Error::DockerResponseServerError { message, .. } => {
            refused(request.plan, message)
        }
        other => EngineError::api("building", other),
    }
}

/// Streams the context as a tar: sorted as planned, owned by root, the times made from the contents.
fn context_stream(
    request: &BuildRequest<'_>,
    failure: Arc<OnceLock<String>>,
) -> ReceiverStream<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (dockerfile, files) = (request.plan.dockerfile.clone(), request.plan.context.clone());
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks { sender: sender.clone(), buffer: Vec::with_capacity(CHUNK) };
        if let Err(error) = write_context(&mut out, &dockerfile, &files).and_then(|()| out.flush()) {
            _ = failure.set(error.to_string());
            _ = sender.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(receiver)
}

fn write_context(out: &mut Chunks, dockerfile: &str, files: &[ContextFile]) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.append_data(&mut header(dockerfile.len() as u64, 0o644, 0), DOCKERFILE, dockerfile.as_bytes())?;
    for file in files {
        let seconds = u64::try_from(file.modified() / 1_000_000_000).unwrap_or(0);
        let mut header = header(file.size, file.mode.bits(), seconds);
        match &file.source {
            FileSource::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{}/", file.path), io::empty())?;
            }
            FileSource::Bytes(bytes) => tar.append_data(&mut header, &file.path, &**bytes)?,
            FileSource::File(path) => {
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("could not read {}: {error}", path.display()))
                };
                let mut reader =
                    Checked { file: pib_file::open(path).map_err(named)?, hasher: Sha256::new() };
                tar.append_data(&mut header, &file.path, io::Read::take(&mut reader, file.size))
                    .map_err(named)?;
                if reader.hasher.finalize().as_slice() != file.digest.as_bytes() {
                    return Err(io::Error::other(format!("{} changed while it was sent", path.display())));
                }
            }
        }
    }
    tar.finish()
}

fn header(size: u64, mode: u32, seconds: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(seconds);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Reads a file and takes its digest on the way.
struct Checked {
    file: std::fs::File,
    hasher: Sha256,
}

impl io::Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Collects what is written to chunks of a good size, and hands them on.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine closed the connection");
        self.sender.blocking_send(Ok(Bytes::from(chunk))).map_err(gone)
    }
}

/// Follows a build by what the classic builder, or Podman, says in words.
struct Follower<'a> {
    request: &'a BuildRequest<'a>,
    stages: Stages<'a>,
    mask: Mask,
    stage: Option<usize>,
    /// How many instructions there were so far.
    count: usize,
    instruction: Option<String>,
    /// Whether the engine had the current instruction's result already.
    cached: bool,
    output: Output,
    lines: Lines,
    /// Whether an instruction of the current stage was executed.
    ran: bool,
}

/// Whose words come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// The line break that Docker sends after what it announces.
    Announced,
    /// The instruction's own.
    Printing,
    /// The engine's, since the instruction has ended.
    Ended,
}

impl<'a> Follower<'a> {
    fn new(request: &'a BuildRequest<'a>, reporter: &'a dyn Reporter) -> Self {
        Self {
            request,
            stages: Stages::new(request.plan, reporter),
            mask: request.mask(),
            stage: None,
            count: 0,
            instruction: None,
            cached: false,
            output: Output::Ended,
            lines: Lines::default(),
            ran: false,
        }
    }

    fn take(&mut self, text: &str) {
        if let Some((number, instruction)) = step(text) {
            self.end_instruction();
            self.instruction(number, instruction);
        } else if let Some(word) = text.strip_prefix(" ---> ").or_else(|| text.strip_prefix("--> ")) {
            self.cached |= word.starts_with("Using cache");
            if word.starts_with("Running in ") {
                self.output = Output::Announced;
            } else if word.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                // The id of what the instruction made.
                self.output = Output::Ended;
            }
        } else if text == "\n" && self.output == Output::Announced {
            self.output = Output::Printing;
        } else if self.output != Output::Ended && !text.starts_with("Removing intermediate container ") {
            self.output = Output::Printing;
            let (stages, stage) = (&self.stages, self.stage);
            self.lines.push(text.as_bytes(), &self.mask, |line| stages.log(stage, line));
        }
    }

    fn instruction(&mut self, number: &str, instruction: &str) {
        let words: Vec<&str> = instruction.split_whitespace().collect();
        if let ["FROM", .., "AS" | "as", name] = words[..] {
            self.end_stage();
            self.stage = self.stages.index(name);
        }
        self.count += 1;
        let plan = self.request.plan;
        let place = part_location::of_number(plan, self.count);
        let shown = merged::shown(plan, place, &self.mask);
        let instruction = shown.unwrap_or_else(|| self.mask.apply(shorten(instruction)));
        if let Some(stage) = self.stage {
            self.stages.start(stage);
            self.stages.detail(stage, format!("{number} {instruction}"));
        }
        // Nobody says of FROM that it was cached, and it never costs anything here.
        self.cached = instruction.starts_with("FROM ");
        self.output = Output::Announced;
        self.instruction = Some(instruction);
    }

    fn end_instruction(&mut self) {
        let (stages, stage) = (&self.stages, self.stage);
        self.lines.finish(&self.mask, |line| stages.log(stage, line));
        self.lines = Lines::default();
        self.ran |= self.instruction.take().is_some() && !self.cached;
    }

    fn end_stage(&mut self) {
        if let Some(stage) = self.stage.take() {
            self.stages.finish(stage, !self.ran);
        }
        self.ran = false;
    }

    fn finish(mut self, last: Option<&str>) {
        self.end_instruction();
        self.end_stage();
        self.stages.finish_all(last);
    }

    /// Returns the failure of the current instruction, where the engine speaks of one.
    fn failure(&mut self, error: &Error) -> Option<EngineError> {
        let Error::DockerStreamError { error } = error else { return None };
        let instruction = self.instruction.take()?;
        let (stages, stage) = (&self.stages, self.stage);
        self.lines.finish(&self.mask, |line| stages.log(stage, line));
        self.stages.fail(self.stage);
        let plan = self.request.plan;
        let line = part_location::of_number(plan, self.count).map(|place| place.line);
        let stage = self.stage.and_then(|stage| self.stages.name(stage));
        let message = self.mask.apply(error.trim().to_owned());
        let mut tail = self.lines.tail();
        let (line, instruction) = match merged::failed(plan, stage.as_deref(), line, &mut tail, &self.mask) {
            Some((line, instruction)) => (Some(line), instruction),
            None => (line, instruction),
        };
        Some(step_failed(plan, stage, line, instruction, message, tail))
    }
}

/// Reads Docker's `Step 3/7 : RUN x` and Podman's `[1/2] STEP 3/4: RUN x`.
fn step(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_end();
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("] ")?.1,
        None => text,
    };
    let rest = text.strip_prefix("Step ").or_else(|| text.strip_prefix("STEP "))?;
    let (number, instruction) = rest.split_once(": ")?;
    let number = number.trim_end();
    let (step, steps) = number.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(step) && is_number(steps)).then_some((number, instruction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_output() {
        assert_eq!(step("Step 3/7 : RUN a : b\n"), Some(("3/7", "RUN a : b")));
        assert_eq!(step("[1/2] STEP 4/4: RUN a: b\n"), Some(("4/4", "RUN a: b")));
        for output in ["Step by step : x", "Step 1 of 2", "[1/2] COMMIT x", "[", "STEP 1: x"] {
            assert_eq!(step(output), None, "{output}");
        }
    }
}
