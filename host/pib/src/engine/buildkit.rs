//! Docker with BuildKit: builds, exports and forgets over connections that Docker's API hands over.

use std::collections::HashMap;
use std::time::Duration;

use pib_buildkit::{ContextError, ContextServer, Control, ControlError, Output, Services, Session, Solve};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::backend::{Abilities, Backend, Chunk};
use super::build_request::BuildRequest;
use super::client::Client;
use super::error::{EngineError, with_sources};
use super::progress::Progress;
use super::refused::refused;
use super::upgrade::{request, upgrade};
use pib_event::{Reporter, ReporterExt as _};

/// How long the engine may take to open a session.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is being done then.
const OPENING: &str = "opening a build session";

/// Docker with BuildKit.
pub(super) struct BuildKit;

#[async_trait::async_trait]
impl Backend for BuildKit {
    fn abilities(&self) -> Abilities {
        Abilities { mounts: true, stops: true, losses: Vec::new() }
    }

    fn title(&self, name: &str, version: &str) -> String {
        format!("{name} {version} with BuildKit")
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
        platform: &str,
        chunks: mpsc::Sender<Chunk>,
    ) -> Result<AbortOnDropHandle<()>, EngineError> {
        export(client, tag, platform, chunks).await
    }

    async fn forget_mounts(&self, client: &Client, prefix: &str) -> Result<u64, EngineError> {
        let forgotten = control(client).await?.forget_mounts(prefix).await;
        forgotten.map_err(|error| EngineError::Api {
            doing: "looking for what builds keep".to_owned(),
            message: error.message().to_owned(),
        })
    }
}

/// What BuildKit says where steps of its own have waited for each other in vain. It is no fault of the build: Docker 20.10
/// says so of one build in some dozens that begin one after the other.
/// (<https://github.com/moby/buildkit/blob/v0.8.3/util/flightcontrol/flightcontrol.go>)
const GAVE_UP: &str = "flightcontrol: exceeded retry timeout";
/// How often a build is asked for again then. What was built until then is in the engine's cache.
const AGAIN: usize = 3;

/// Builds the request; the result is in the engine's store under its tag.
async fn build(
    client: &Client,
    request: &BuildRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<(), EngineError> {
    for _ in 0..AGAIN {
        match attempt(client, request, reporter).await {
            Err(error) if has_given_up(&error) => {
                reporter.note("BuildKit has waited for itself, and gave up; asking it again");
            }
            Err(EngineError::LostLayers { .. }) if !request.no_cache => {
                reporter.warn("the engine's build cache names layers that are gone; building without it");
                let again = BuildRequest { no_cache: true, ..request.clone() };
                return attempt(client, &again, reporter).await;
            }
            outcome => return outcome,
        }
    }
    attempt(client, request, reporter).await
}

/// Returns whether BuildKit gave up by itself; what a program printed does not count.
fn has_given_up(error: &EngineError) -> bool {
    match error {
        EngineError::BuildFailed { exit_code: None, message, .. } => message.contains(GAVE_UP),
        EngineError::BuildFailed { .. } => false,
        other => with_sources(other).contains(GAVE_UP),
    }
}

/// Asks for the build once.
async fn attempt(
    client: &Client,
    request: &BuildRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<(), EngineError> {
    let context = ContextServer::new(&request.plan.dockerfile, &request.plan.context);
    let failure = context.failure();
    let repository = request.tag.split_once(':').map_or(request.tag, |(repository, _)| repository);
    let given = request.secrets.iter().chain(&request.texts);
    let secrets = given.map(|secret| (secret.id.clone(), secret.value.clone())).collect();
    let services = Services::new(context, format!("pib:{repository}")).with_secrets(secrets);
    let services = services.with_socket(request.socket.clone());
    let (session, control) = open(client, services).await?;
    let solve = Solve { attributes: attributes(request), output: Output::Image(request.tag.to_owned()) };
    let mut progress = Progress::new(request.plan, request.mask(), reporter);
    let result = control.solve(&session, solve, |status| progress.take(status)).await;
    match result {
        Ok(()) => {
            progress.finish(request.docker_target().as_deref());
            Ok(())
        }
        // Ours first: what the engine says of it is only an echo.
        Err(error) => Err(failure.get().map(unsent).or_else(|| progress.failure()).unwrap_or_else(|| {
            failed("building", &error).unwrap_or_else(|| refused(request.plan, error.message()))
        })),
    }
}

/// Has BuildKit export the root file system, which keeps everything.
async fn export(
    client: &Client,
    tag: &str,
    platform: &str,
    chunks: mpsc::Sender<Chunk>,
) -> Result<AbortOnDropHandle<()>, EngineError> {
    let context = ContextServer::new(&format!("FROM {tag}\n"), &[]);
    let services = Services::new(context, "pib:export".to_owned()).with_tar(chunks.clone());
    let (session, control) = open(client, services).await?;
    let attributes = [("filename", "Dockerfile"), ("platform", platform)];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let solve = Solve { attributes, output: Output::Tar };
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = control.solve(&session, solve, |_| ()).await {
            let refused = || EngineError::from_message("exporting", error.message().to_owned());
            _ = chunks.send(Err(failed("exporting", &error).unwrap_or_else(refused))).await;
        }
    })))
}

/// Opens a session and what controls it, each on a connection of its own.
async fn open(client: &Client, services: Services) -> Result<(Session, Control), EngineError> {
    let opening = async {
        let request = request("/session", "h2c");
        let request = services
            .headers()
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        let session = services.serve(upgrade(client, OPENING, request).await?);
        Ok((session, control(client).await?))
    };
    let silent = || {
        let reason = format!("it opened no build session within {} seconds", PATIENCE.as_secs());
        EngineError::not_answering(client.info().address.clone(), reason)
    };
    tokio::time::timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(silent()))
}

/// Opens a connection to the engine's control service.
async fn control(client: &Client) -> Result<Control, EngineError> {
    let stream = upgrade(client, OPENING, request("/grpc", "h2c")).await?;
    let control = Control::connect(stream).await;
    control.map_err(|error| EngineError::disconnected(OPENING, with_sources(&error)))
}

fn unsent(error: &ContextError) -> EngineError {
    match error {
        ContextError::Changed { path } => EngineError::ContextChanged { path: path.clone() },
        other => EngineError::Api { doing: "sending the context".to_owned(), message: with_sources(other) },
    }
}

/// Returns the error of a connection that ended in the middle.
fn failed(doing: &'static str, error: &ControlError) -> Option<EngineError> {
    let torn = matches!(error, ControlError::Disconnected(_));
    torn.then(|| EngineError::disconnected(doing, with_sources(error)))
}

/// What tells BuildKit's Dockerfile reader the host name of containers (its reference, "BuildKit built-in build args").
const HOST_NAME: &str = "build-arg:BUILDKIT_SANDBOX_HOSTNAME";

/// What tells it which network RUN instructions have (`docker build --network`).
const NETWORK: &str = "force-network-mode";

fn attributes(request: &BuildRequest<'_>) -> HashMap<String, String> {
    let mut attributes = HashMap::from([
        ("filename".to_owned(), "Dockerfile".to_owned()),
        ("platform".to_owned(), request.plan.arch.platform().to_owned()),
    ]);
    attributes.extend(request.docker_target().map(|target| ("target".to_owned(), target)));
    attributes.extend(request.isolated.then(|| (NETWORK.to_owned(), "none".to_owned())));
    attributes.extend(request.no_cache.then(|| ("no-cache".to_owned(), String::new())));
    attributes.extend(request.labels.iter().map(|(key, value)| (format!("label:{key}"), value.clone())));
    let host_name = request.host_name.iter();
    attributes.extend(host_name.map(|name| (HOST_NAME.to_owned(), name.clone())));
    attributes
        .extend(request.build_args.iter().map(|(key, value)| (format!("build-arg:{key}"), value.clone())));
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_buildkit_itself_gives_up() {
        let failed = |exit_code, message: &str| EngineError::BuildFailed {
            stage: None,
            line: None,
            instruction: "RUN x".to_owned(),
            exit_code,
            message: message.to_owned(),
            log_tail: vec![GAVE_UP.to_owned()],
        };
        assert!(has_given_up(&failed(None, GAVE_UP)));
        assert!(has_given_up(&EngineError::Api {
            doing: "building".to_owned(),
            message: GAVE_UP.to_owned()
        }));
        assert!(!has_given_up(&failed(Some(1), "exit code: 1")) && !has_given_up(&failed(None, "killed")));
    }
}
