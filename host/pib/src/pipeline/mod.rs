//! The build, in one direction: each step is a function that takes what the step before it gave, whole, and gives the
//! next. Nothing is filled in later, and every file of the project is read by one step.
//!
//! | step | takes | gives | what is known then |
//! |---|---|---|---|
//! | [`resolve()`] | `Project` | `Resolved` | one version of each stage, in build order, and the lock that says so |
//! | [`fetch`] | `Resolved` | `Packages` | every stage's package, compared with the lock |
//! | [`settle()`] | `Packages` | `Settled` | config, files, variables and secrets of each stage |
//! | [`render()`] | `Settled` | `Rendered` | each stage's part: its own, or what its hook makes |
//! | [`base()`] | `Rendered`, looked up | `Based` | the base's digest, and with it every key |
//! | [`job()`] | `Based` | `Job` | the Dockerfile; the engine has what the first stage starts from |
//! | [`run`] | `Job` | `Built` | the engine has the result |
//! | [`list`], [`compare`] | `Built`, twice | nothing | two builds with nothing cached are the same (`--check` only) |
//! | [`report()`] | `Built` | `BuildReport` | the image, its checksum, its provenance and its report are written |
//!
//! [`decide`] is the first four. [`up_to_date`] ends a build after `Based` where the image is there already, before the
//! engine or the network is asked anything.

mod bare_variables;
pub(crate) mod base_source;
mod based;
mod bills;
mod boot_check;
mod build_args;
mod compare;
mod compress;
mod config_error;
mod config_files;
pub(crate) mod connection;
mod diffoscope;
pub(crate) mod edition;
pub(crate) mod emulators;
mod entry_store;
pub(crate) mod hook_calls;
mod imager_entry;
pub(crate) mod job;
pub(crate) mod labels;
pub(crate) mod lock_bases;
pub(crate) mod lock_rules;
pub(crate) mod mirrors;
pub(crate) mod native;
mod options;
pub(crate) mod origin;
mod packages;
mod provenance;
mod recorder_access;
pub(crate) mod recording;
pub(crate) mod records;
mod release_lists;
pub(crate) mod render;
mod report;
pub(crate) mod resolve;
pub(crate) mod resolve_all;
pub(crate) mod secrets;
pub(crate) mod settle;
pub(crate) mod shared_cache;
mod sort;
mod stage_packages;
mod stage_push;
pub(crate) mod stores;
pub(crate) mod transfer;
pub(crate) mod vendored;

pub(crate) use based::{BaseLookup, base};
pub(crate) use compare::{compare, list};
pub(crate) use job::{Built, Job, job, run};
pub use options::{EmulatorChoice, NoCache, StageOptions, Trial};
pub(crate) use packages::{Packages, fetch};
pub(crate) use provenance::{Statement, line as difference_line};
pub(crate) use render::{Rendered, render};
pub use report::BuildReport;
pub(crate) use report::{image_path, provenance_of, report, report_of, up_to_date};
pub(crate) use resolve::{Resolved, resolve};
pub(crate) use settle::{settle, settle_as_recorded};
pub(crate) use stage_packages::StagePackages;

use crate::project::{Error, Project, Session, logs};

/// Decides all that can be decided without a base: mistakes in manifests, parts, settings and options are told before
/// minutes are spent on one.
///
/// # Errors
/// When any of the steps fails.
pub(crate) async fn decide(session: &Session, options: &StageOptions) -> Result<Rendered, Error> {
    let project = Project::load(session)?;
    project.target.check(&project.manifest.project.file_stem())?;
    let rendered = decide_only(session, project, options).await?;
    recording::check_strict(&rendered, options.strict)?;
    rendered.packages.resolved.write_lock(options.lock)?;
    Ok(rendered)
}

/// Decides the same, and writes nothing.
///
/// # Errors
/// When any of the steps fails.
pub(crate) async fn decide_only(
    session: &Session,
    project: Project,
    options: &StageOptions,
) -> Result<Rendered, Error> {
    let resolved = resolve(session, project, options.lock).await?;
    let packages = fetch(session, resolved).await?;
    let settled = settle(session, packages, options).await?;
    render(session, settled, options).await
}

/// Has an engine begin a build of what was decided: it gets what the first stage starts from, and the lock says so.
///
/// # Errors
/// When there is no engine that can build it, or the base is not available.
pub(crate) async fn begin(
    session: &Session,
    lookup: BaseLookup,
    options: &StageOptions,
) -> Result<Job, Error> {
    lookup.rendered().check_images(session)?;
    let engine = connection::connect(session).await?;
    connection::check_losses(&engine, &lookup.rendered().packages.resolved.lock)?;
    secrets::check_engine(&engine, lookup.packages())?;
    recording::check_engine(session, &engine, lookup.project(), options.strict)?;
    let based = base(session, lookup, options).await?.dated(session, &engine, options.lock).await?;
    based.write_lock(options.lock)?;
    job(session, engine, based, options).await
}

/// Decides and builds the stages up to the last that is wanted. What is built is logged.
///
/// # Errors
/// When any of the steps fails.
pub(crate) async fn build(session: &Session, options: &StageOptions) -> Result<Built, Error> {
    let lookup = decide(session, options).await?.look_up_base(options.lock);
    let log = logs::open(session, lookup.project());
    let outcome = match begin(log.session(), lookup, options).await {
        Ok(job) => run(log.session(), job, options).await,
        Err(error) => Err(error),
    };
    log.close(outcome)
}
