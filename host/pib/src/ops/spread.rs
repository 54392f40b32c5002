//! Spreads the builds of several targets over the engines that the user has named (`[engines]` in `config.toml`).
//!
//! `pib_plan::workers` says what goes where. Here it is done: what must happen one after the other does (the lock, the base,
//! what goes into an engine), and what an engine was building that does not answer any more begins again on another one.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use pib_event::{ReporterExt as _, Silent};
use pib_plan::id::Arch;
use pib_plan::workers::{Placement, Task, Worker};
use tokio::sync::Mutex;

use super::build::{Begun, BuildOutcome, begin};
use crate::engine::binfmt_misc::is_native;
use crate::engine::{ConnectOptions, Engine, EngineError};
use crate::pipeline::{self, NoCache, StageOptions, shared_cache};
use crate::project::{Error, Project, Session, user_config};

/// An engine that answers.
struct Member {
    name: String,
    options: ConnectOptions,
    worker: Worker,
    /// Whether it keeps all that a system has, as a shared cache needs it.
    keeps_all: bool,
}

/// The engines that the targets are spread over.
pub(super) struct Crew(Vec<Member>);

/// Returns the engines that the user has named and that answer; `None` where there are none, or the command line names one.
///
/// # Errors
/// When the config cannot be used, or none answers.
pub(super) async fn crew(session: &Session) -> Result<Option<Crew>, Error> {
    let named = user_config::load(session)?.engines;
    if named.is_empty() || session.engine.named.is_some() {
        return Ok(None);
    }
    let (mut members, mut failure) = (Vec::new(), None);
    for (name, engine) in named {
        let options = ConnectOptions {
            named: Some(engine.address),
            host: None,
            context: None,
            ..session.engine.clone()
        };
        match Engine::connect(&options).await {
            Ok(found) => {
                let slots = usize::try_from(engine.slots).unwrap_or(1);
                let platforms = match engine.platforms {
                    platforms if platforms.is_empty() => own_platforms(&found),
                    platforms => platforms,
                };
                let keeps_all = found.abilities().losses.is_empty();
                members.push(Member { name, options, worker: Worker { platforms, slots }, keeps_all });
            }
            Err(error) => {
                session.reporter.warn(format!("engine `{name}` is left out: {error}"));
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) if members.is_empty() => Err(error.into()),
        _ => Ok(Some(Crew(members))),
    }
}

/// Returns the platforms of the programs that an engine's processor runs.
fn own_platforms(engine: &Engine) -> Vec<String> {
    let all = [Arch::Arm64, Arch::Armv7, Arch::Armv6];
    let own = all.into_iter().filter(|arch| is_native(&engine.info().arch, *arch));
    own.map(|arch| arch.platform().to_owned()).collect()
}

impl Crew {
    /// Builds targets, each with its session; returns what became of each, in the same order.
    ///
    /// # Errors
    /// When the config cannot be used. What else goes wrong is in the target's own result.
    pub(super) async fn build(
        &self,
        targets: &[Session],
        options: &StageOptions,
    ) -> Result<Vec<Result<BuildOutcome, Error>>, Error> {
        let mut tasks = Vec::with_capacity(targets.len());
        for session in targets {
            tasks.push(task(session, options).await);
        }
        let workers = self.0.iter().map(|member| member.worker.clone()).collect();
        let mut placement = Placement::new(workers, tasks, self.moves_stages(targets, options)?);
        let mut results: Vec<_> = targets.iter().map(|_| None).collect();
        let (turn, mut running) = (Mutex::new(()), FuturesUnordered::new());
        loop {
            while let Some((task, worker)) = placement.place() {
                let build = self.0[worker].build(&targets[task], options, &turn);
                running.push(async move { (task, worker, build.await) });
            }
            let Some((task, worker, outcome)) = running.next().await else { break };
            match outcome {
                Err(error) if self.0[worker].is_gone(&error).await => {
                    let name = &self.0[worker].name;
                    let told = format!(
                        "engine `{name}` does not answer any more, so that another builds this: {error}"
                    );
                    targets[task].reporter.warn(told);
                    placement.lost(worker, task);
                }
                outcome => {
                    placement.ended(task, outcome.is_ok());
                    results[task] = Some(outcome);
                }
            }
        }
        let names = || self.0.iter().map(|member| member.name.clone()).collect::<Vec<_>>().join("`, `");
        let none = || Err(EngineError::AllGone { names: names() }.into());
        Ok(results.into_iter().map(|result| result.unwrap_or_else(none)).collect())
    }

    /// Returns whether what one engine has built reaches the others: by the shared cache.
    fn moves_stages(&self, targets: &[Session], options: &StageOptions) -> Result<bool, Error> {
        let Some(session) = targets.first() else { return Ok(false) };
        let whole = options.no_cache == NoCache::Nothing && self.0.iter().all(|member| member.keeps_all);
        Ok(whole && shared_cache::is_added_to(session, options.lock)?)
    }
}

impl Member {
    /// Builds a target. Of several, one at a time does what comes before its parts run: it has the `turn`.
    async fn build(
        &self,
        session: &Session,
        options: &StageOptions,
        turn: &Mutex<()>,
    ) -> Result<BuildOutcome, Error> {
        let session = Session { engine: self.options.clone(), ..session.clone() };
        let begun = {
            let _turn = turn.lock().await;
            session.reporter.note(format!("engine `{}` builds it", self.name));
            begin(&session, options).await?
        };
        match begun {
            Begun::UpToDate(report) => Ok(BuildOutcome::Image(report)),
            Begun::Job(job) => job.finish(options).await,
        }
    }

    /// Returns whether a build failed since the engine does not answer any more.
    async fn is_gone(&self, error: &Error) -> bool {
        match error {
            Error::Engine(
                EngineError::NoSocket { .. }
                | EngineError::NotAnswering { .. }
                | EngineError::Disconnected { .. }
                | EngineError::Ssh { .. },
            ) => true,
            Error::Engine(EngineError::BuildFailed { .. }) => false,
            // What it was writing breaks off, for instance.
            _ => Engine::connect(&self.options).await.is_err(),
        }
    }
}

/// Returns a target as it is placed. What is wrong with one is told when it is built.
async fn task(session: &Session, options: &StageOptions) -> Task {
    let quiet = Session { reporter: Arc::new(Silent), ..session.clone() };
    let decided = match Project::load(&quiet) {
        Ok(project) => pipeline::decide_only(&quiet, project, options).await,
        Err(error) => Err(error),
    };
    let Ok(rendered) = decided else { return Task { platform: String::new(), chain: Vec::new() } };
    let based = rendered.look_up_base(options.lock).or_unmade();
    let platform = based.rendered.packages.project().manifest.project.arch.platform().to_owned();
    let chain = based.keys[..=based.rendered.last].to_vec();
    Task { platform, chain }
}
