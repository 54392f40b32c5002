//! Builds the image.

use serde::Serialize;

use pib_plan::id::Digest;

use crate::pipeline::{self, BaseLookup, BuildReport, Built, Job, NoCache, StageOptions, Trial};
use crate::project::{self, Error, Project, Session, logs};
use pib_event::ReporterExt as _;

/// What a build left: an image, or only a container image where it was to end before.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum BuildOutcome {
    /// An image.
    Image(Box<BuildReport>),
    /// The stages up to one.
    Stages(StagesReport),
}

/// Stages that the engine has.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StagesReport {
    /// What the engine calls them.
    pub container_image: String,
    /// The last of them.
    pub stage: String,
    /// Its key.
    pub key: Digest,
}

/// Builds the project's image, or finds that it is built already; or only its stages up to one.
///
/// # Errors
/// When any step fails; an earlier image and the lock are not harmed.
pub async fn build(session: &Session, options: &StageOptions) -> Result<BuildOutcome, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    match begin(session, options).await? {
        Begun::UpToDate(report) => Ok(BuildOutcome::Image(report)),
        Begun::Job(job) => job.finish(options).await,
    }
}

/// Builds everything twice with nothing cached but the base, compares, and writes the image where both are the same.
///
/// # Errors
/// When a step fails, or the builds differ; an earlier image and the lock are not harmed.
pub async fn check(session: &Session, options: &StageOptions) -> Result<BuildOutcome, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let trial = |trial| StageOptions { no_cache: NoCache::All, trial: Some(trial), ..options.clone() };
    let first = pipeline::build(session, &trial(Trial::First)).await?;
    let leftovers = first.leftovers();
    let outcome = build_again(session, first, &trial(Trial::Second)).await;
    leftovers.await;
    outcome.map(|report| BuildOutcome::Image(Box::new(report)))
}

/// Builds a second time, compares, and writes the image where both are the same.
async fn build_again(session: &Session, first: Built, options: &StageOptions) -> Result<BuildReport, Error> {
    let first = pipeline::list(session, first).await?;
    session.reporter.note("Building everything a second time");
    let second = pipeline::build(session, options).await?;
    let leftovers = second.leftovers();
    let outcome = async {
        let second = pipeline::list(session, second).await?;
        pipeline::compare(session, &first, &second).await?;
        pipeline::report(session, second.built).await
    };
    let outcome = outcome.await;
    leftovers.await;
    outcome
}

/// How far a build is when the lock is written and the engine has what it starts from.
pub(super) enum Begun {
    /// The image is there already.
    UpToDate(Box<BuildReport>),
    /// The engine can run the parts.
    Job(Box<LoggedJob>),
}

/// A build of which the engine can run the parts, and its log.
pub(super) struct LoggedJob {
    job: Job,
    log: logs::Log,
}

/// Does what comes before the parts run. The project must be held exclusively.
pub(super) async fn begin(session: &Session, options: &StageOptions) -> Result<Begun, Error> {
    let options = &StageOptions { image_only: options.until.is_none(), ..options.clone() };
    let lookup = pipeline::decide(session, options).await?.look_up_base(options.lock);
    let lookup = lookup.or_in_cache(session, options.lock)?;
    if let BaseLookup::Known(based) = &lookup
        && let Some(report) = pipeline::up_to_date(session, based, options).await?
    {
        return Ok(Begun::UpToDate(Box::new(report)));
    }
    let log = logs::open(session, lookup.project());
    match pipeline::begin(log.session(), lookup, options).await {
        Ok(job) => Ok(Begun::Job(Box::new(LoggedJob { job, log }))),
        Err(error) => log.close(Err(error)),
    }
}

impl LoggedJob {
    /// Has the engine run the parts, and writes the image.
    pub(super) async fn finish(self, options: &StageOptions) -> Result<BuildOutcome, Error> {
        let Self { job, log } = self;
        let outcome = finish(log.session(), job, options).await;
        log.close(outcome)
    }
}

async fn finish(session: &Session, job: Job, options: &StageOptions) -> Result<BuildOutcome, Error> {
    let built = pipeline::run(session, job, options).await?;
    if options.until.is_some() {
        let (stage, key) = (built.stage().name.to_string(), built.stage().key);
        return Ok(BuildOutcome::Stages(StagesReport { container_image: built.tag, stage, key }));
    }
    let report = pipeline::report(session, built).await?;
    Ok(BuildOutcome::Image(Box::new(report)))
}
