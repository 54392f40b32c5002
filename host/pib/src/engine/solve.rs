//! Builds and exports through BuildKit's control service.

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, StatusRequest, StatusResponse};
use pib_plan::assemble::BuildPlan;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::backend::{Abilities, Backend};
use super::build::BuildRequest;
use super::error::{EngineError, with_sources};
use super::export::{self, Piece};
use super::filesync::ContextServer;
use super::progress::Progress;
use super::session::{AbortOnDrop, Services, Session, random_id};
use super::{ContainerImage, Engine, locate};
use pib_event::Reporter;

/// How long the last messages of a build that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Docker with BuildKit.
pub(super) struct BuildKit;

#[tonic::async_trait]
impl Backend for BuildKit {
    fn abilities(&self) -> Abilities {
        Abilities { mounts: true, stops: true, losses: Vec::new() }
    }

    fn title(&self, name: &str, version: &str) -> String {
        format!("{name} {version} with BuildKit")
    }

    async fn build(
        &self,
        engine: &Engine,
        request: &BuildRequest<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), EngineError> {
        build(engine, request, reporter).await
    }

    async fn export(
        &self,
        engine: &Engine,
        image: &ContainerImage,
        tag: &str,
        pieces: mpsc::Sender<Piece>,
    ) -> Result<AbortOnDrop, EngineError> {
        export::by_solving(engine, tag, &image.platform, pieces).await
    }
}

/// Builds the request; the result is in the engine's store under its tag.
async fn build(
    engine: &Engine,
    request: &BuildRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<(), EngineError> {
    let context = ContextServer::new(&request.plan.dockerfile, &request.plan.context);
    let failure = context.failure();
    let repository = request.tag.split_once(':').map_or(request.tag, |(repository, _)| repository);
    let secrets = request.secrets.clone();
    let shared_key = format!("pib:{repository}");
    let mut session = Session::open(engine, Services { context, tar: None, secrets, shared_key }).await?;

    let order = SolveRequest {
        r#ref: random_id(),
        session: session.id.clone(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes(request),
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), request.tag.to_owned())]),
        ..SolveRequest::default()
    };
    let mut progress = Progress::new(request.plan, request.mask(), reporter);
    let result = follow(&mut session, order, |status| progress.take(status)).await;
    match result {
        Ok(()) => {
            progress.finish(request.docker_target().as_deref());
            Ok(())
        }
        // Ours first: what the engine says of it is only an echo.
        Err(status) => Err(own(&failure).or_else(|| progress.failure()).unwrap_or_else(|| {
            torn("building", &status).unwrap_or_else(|| refused(request.plan, status.message()))
        })),
    }
}

fn own(failure: &std::sync::Arc<std::sync::OnceLock<EngineError>>) -> Option<EngineError> {
    let text = match failure.get()? {
        EngineError::ContextChanged { path } => {
            return Some(EngineError::ContextChanged { path: path.clone() });
        }
        other => with_sources(other),
    };
    Some(EngineError::Api { doing: "sending the context".to_owned(), message: text })
}

fn attributes(request: &BuildRequest<'_>) -> HashMap<String, String> {
    let mut attributes = HashMap::from([
        ("filename".to_owned(), "Dockerfile".to_owned()),
        ("platform".to_owned(), request.plan.arch.platform().to_owned()),
    ]);
    attributes.extend(request.docker_target().map(|target| ("target".to_owned(), target)));
    attributes.extend(request.no_cache.then(|| ("no-cache".to_owned(), String::new())));
    attributes.extend(request.labels.iter().map(|(key, value)| (format!("label:{key}"), value.clone())));
    attributes
        .extend(request.build_args.iter().map(|(key, value)| (format!("build-arg:{key}"), value.clone())));
    attributes
}

/// Has the engine do what `order` says, and passes on its messages meanwhile.
pub(super) async fn follow(
    session: &mut Session,
    order: SolveRequest,
    mut on_status: impl FnMut(StatusResponse),
) -> Result<(), Status> {
    let (mut solver, mut watcher) = (session.control.clone(), session.control.clone());
    let watched = StatusRequest { r#ref: order.r#ref.clone() };
    let solving = async move { solver.solve(order).await.map(|_| ()) };
    let watching = async move { watcher.status(watched).await.map(tonic::Response::into_inner) };
    tokio::pin!(solving, watching);
    let mut messages: Option<Streaming<StatusResponse>> = None;
    let mut silent = false;
    let result = loop {
        tokio::select! {
            result = &mut solving => break result,
            stream = &mut watching, if messages.is_none() && !silent => match stream {
                Ok(stream) => messages = Some(stream),
                // A build can do without its progress; whether it failed, `solving` tells.
                Err(_) => silent = true,
            },
            message = next(&mut messages), if messages.is_some() => match message {
                Some(status) => on_status(status),
                None => (messages, silent) = (None, true),
            },
        }
    };
    let rest = async {
        if messages.is_none() && !silent {
            messages = watching.await.ok();
        }
        while let Some(status) = next(&mut messages).await {
            on_status(status);
        }
    };
    _ = tokio::time::timeout(LAST_WORDS, rest).await;
    result
}

async fn next(messages: &mut Option<Streaming<StatusResponse>>) -> Option<StatusResponse> {
    messages.as_mut()?.message().await.ok().flatten()
}

/// Recognises a connection that ended in the middle: the engine is gone, or on its way.
pub(super) fn torn(doing: &'static str, status: &Status) -> Option<EngineError> {
    let by_transport = std::error::Error::source(status);
    let torn = matches!(status.code(), Code::Unavailable | Code::Cancelled) || by_transport.is_some();
    let reason = by_transport.map_or_else(|| status.message().trim().to_owned(), with_sources);
    torn.then(|| EngineError::disconnected(doing, reason))
}

/// Turns what the engine says of a build that it does not start into an error.
pub(super) fn refused(plan: &BuildPlan, message: &str) -> EngineError {
    if message.contains("no space left on device") {
        return EngineError::DiskFull { doing: "building".to_owned() };
    }
    let place = locate::of_message(plan, message);
    // Before that stands only which part of the engine passed the message on.
    let mut told = message.find("dockerfile parse error").map_or(message, |start| &message[start..]);
    if place.is_some() {
        // Its line is that of the whole Dockerfile, which nobody wrote.
        told = told.split_once(": ").map_or(told, |(_, told)| told);
    }
    EngineError::BuildRefused {
        stage: place.as_ref().map(|place| place.stage.clone()),
        line: place.map(|place| place.line),
        message: told.trim().to_owned(),
        help: refused_help(&told.to_lowercase()),
    }
}

/// Returns what to do about what only newer engines read.
fn refused_help(told: &str) -> Option<String> {
    let help =
        "If it is spelled right, this engine does not know the option: Docker Engine 23 or newer does.";
    told.contains("unknown flag").then(|| help.to_owned())
}
