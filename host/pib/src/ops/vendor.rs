//! Puts the project's stages into the project itself, so that its builds need nobody else for them.

use std::path::{Component, PathBuf};

use pib_plan::manifest::edit;
use pib_plan::manifest::project::FILE_NAME;
use pib_plan::path::is_git;
use pib_plan::resolve::ResolvedStage;
use pib_plan::vendor as plan;
use serde::Serialize;

use super::{fetch, push};
use crate::pipeline::resolve::Moves;
use crate::pipeline::resolve_all::{AllResolved, resolve_all_moving};
use crate::pipeline::vendored;
use crate::project::{self, Error, LockMode, Project, Session, blocking, files};
use crate::source::Package;
use crate::source::vendor_folder::{Filled, Vendor, Wanted, fill};
use pib_event::ReporterExt as _;

/// The name of the store with packages, in `pib.toml`.
const STORE: &str = "vendored";

/// What to vendor, and where to.
#[derive(Debug, Clone, Default)]
pub struct VendorOptions {
    /// The folder, where the command line names one; else the one of `pib.toml`, else `vendor`.
    pub folder: Option<PathBuf>,
    /// Whether what builds fetch is put into the project, too: packages of bases, and what parts are recorded to fetch.
    pub packages: bool,
    /// How the lock is treated.
    pub lock: LockMode,
}

/// What became of the folder of vendored stages.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vendored {
    /// The folder, within the project.
    pub path: String,
    /// What it holds, as `name version`, in build order; what only targets have comes last.
    pub stages: Vec<String>,
    /// The stages of which files were written, by their folders.
    pub written: Vec<String>,
    /// The stages that are not locked any more and were removed, by their folders.
    pub removed: Vec<String>,
    /// Whether `pib.toml` says so since now.
    pub manifest_changed: bool,
    /// The folder within the project that holds packages and recorded files, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How many files it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<usize>,
}

/// Puts every stage of the project and its targets that comes from outside into a folder of it, and has builds use that.
///
/// # Errors
/// When the stages cannot be resolved or fetched, the lock would change and must not, or something that pib did not
/// make is in the way.
pub async fn vendor(session: &Session, options: &VendorOptions) -> Result<Vendored, Error> {
    const STEP: &str = "vendor";
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let path = folder(session, &project, options)?;
    session.reporter.started(STEP, format!("Vendoring stages into {path}"));
    let earlier = vendored::open_in(session, &project, &path)?.map(Vendor::renewing);
    let moves = Moves { vendor: earlier, ..Moves::default() };
    let all = resolve_all_moving(session, &project, options.lock, moves).await?;
    let wanted = outside(&all).await?;
    all.write_lock(options.lock)?;
    let stages = wanted.iter().map(|(stage, _)| format!("{} {}", stage.name, stage.version)).collect();
    let filled = put(session, &project, &path, wanted).await?;
    let (store, files) = match options.packages {
        true => Some(put_packages(session, &project, &all, &path, options.lock).await?).unzip(),
        false => (None, None),
    };
    let manifest_changed = name_in_manifest(&project, &path, store.as_deref())?;
    session.reporter.finished(STEP, filled == Filled::default());
    for path in &filled.kept {
        let shown = session.show(path).display();
        session.reporter.warn(format!("`{shown}` stays: pib did not make it, or it was changed"));
    }
    let Filled { written, removed, .. } = filled;
    Ok(Vendored { path, stages, written, removed, manifest_changed, store, files })
}

/// Fetches what comes from outside of the project, each stage once, whichever targets have it.
async fn outside(all: &AllResolved) -> Result<Vec<(ResolvedStage, Package)>, Error> {
    let mut wanted: Vec<(ResolvedStage, Package)> = Vec::new();
    for part in &all.parts {
        for (stage, package) in part.stages().zip(part.packages().await?) {
            let same = |(known, _): &(ResolvedStage, Package)| {
                (&known.name, &known.version, &known.source) == (&stage.name, &stage.version, &stage.source)
            };
            if part.sources().is_outside(&stage.source) && !wanted.iter().any(same) {
                wanted.push((stage.clone(), package));
            }
        }
    }
    Ok(wanted)
}

/// Returns the folder within the project, with `/` between its parts.
fn folder(session: &Session, project: &Project, options: &VendorOptions) -> Result<String, Error> {
    let Some(given) = &options.folder else {
        return Ok(project.manifest.vendor.clone().unwrap_or_else(|| plan::FOLDER.to_owned()));
    };
    let outside = |why: &str| {
        let message = format!("`{}` cannot hold the project's stages: {why}", given.display());
        Error::usage(message, "Name a folder inside the project, which goes where the project goes.")
    };
    let full = session.cwd.join(given);
    let below = full.strip_prefix(&project.dir).map_err(|_| outside("it is outside of the project"))?;
    let mut parts = Vec::new();
    for component in below.components() {
        match component {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| outside("its name is not UTF-8"))?)
            }
            Component::CurDir => {}
            _ => return Err(outside("it is written with `..`")),
        }
    }
    match parts.first() {
        None => Err(outside("it is the project itself")),
        Some(&"target") => Err(outside("`target` is for what builds leave")),
        Some(_) if parts.iter().any(|part| is_git(part)) => Err(outside("it is git's own")),
        Some(_) => Ok(parts.join("/")),
    }
}

/// Fills the folder, in a thread of its own.
async fn put(
    session: &Session,
    project: &Project,
    path: &str,
    wanted: Vec<(ResolvedStage, Package)>,
) -> Result<Filled, Error> {
    let (folder, path) = (project.folder()?, path.to_owned());
    let list = project.dir.join(&path).join(plan::FILE_NAME);
    let shown = session.show(&list).display().to_string();
    let work = move || {
        let wanted: Vec<Wanted<'_>> =
            wanted.iter().map(|(stage, package)| Wanted { package, source: &stage.source }).collect();
        fill(&folder, &path, &shown, &wanted)
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(blocking::worker)??)
}

/// Puts what builds fetch into a store beside the folder of stages; returns its folder and the number of its files.
async fn put_packages(
    session: &Session,
    project: &Project,
    all: &AllResolved,
    path: &str,
    mode: LockMode,
) -> Result<(String, usize), Error> {
    let store = format!("{path}-packages");
    fetch::fetch_contents(session, mode, all).await?;
    let (files, _) = push::fill(session, all, &project.dir.join(&store)).await?;
    Ok((store, files))
}

/// Has `pib.toml` say where the stages are, and the packages; returns whether it did not yet.
fn name_in_manifest(project: &Project, path: &str, store: Option<&str>) -> Result<bool, Error> {
    let old = project::manifest_text(&project.dir)?;
    let mut new = edit::set_vendor(&old, path)?;
    if let Some(store) = store {
        new = edit::set_store(&new, STORE, store)?;
    }
    files::replace_text(&project.folder()?, FILE_NAME, &new)?;
    Ok(new != old)
}
