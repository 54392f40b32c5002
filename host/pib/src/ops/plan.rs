//! Says what a build would do: the order, the Dockerfile, or a whole context.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pib_event::ReporterExt as _;
use pib_file::Folder;
use pib_plan::assemble::{BaseRef, BuildPlan, Extras, FileSource};
use pib_plan::id::{Digest, StageName};
use pib_plan::lockfile::Lockfile;
use pib_plan::mode::Mode;
use pib_plan::packages::PackageCache;
use pib_plan::record::Verdict;
use serde::Serialize;

use crate::bases::StoredBase;
use crate::pipeline::lock_rules::write_lock;
use crate::pipeline::{self, BaseLookup, Resolved, StageOptions, edition, emulators, job, native};
use crate::project::{self, Error, LockMode, Project, Session, blocking, slow};

/// The stages of a build, in order, and its Dockerfile.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanSummary {
    /// The base that the first stage starts from.
    pub base: String,
    /// The stages, in order.
    pub stages: Vec<PlannedSummary>,
    /// The digest of everything that decides the image, as an engine builds it that loses nothing; absent before the base
    /// is in the lock.
    pub image_key: Option<Digest>,
    /// Of which stages instructions are merged, since there are more than engines take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<String>,
    /// The Dockerfile.
    pub dockerfile: String,
}

/// One stage of a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedSummary {
    /// The stage.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub source: String,
    /// The digest of everything that decides its result; absent before the base has been made.
    pub key: Option<Digest>,
    /// Why it must be built; absent where it was built before, just so.
    pub to_build: Option<String>,
}

/// A context that was written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WrittenContext {
    /// Its folder.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub path: PathBuf,
    /// How many files it has, beside the Dockerfile.
    pub files: usize,
    /// The secrets that must be given to the client.
    pub secrets: Vec<String>,
}

/// Returns what a build of the project would do. Uses no engine and makes no base.
///
/// # Errors
/// When a manifest, the resolution, the order, a package or a part is wrong.
pub async fn plan(session: &Session, options: &StageOptions) -> Result<PlanSummary, Error> {
    let mode = options.lock;
    let project = Project::load(session)?;
    let record = job::record(&project);
    let resolved = pipeline::resolve(session, project, mode).await?;
    let packages = pipeline::fetch(session, resolved).await?;
    let settled = pipeline::settle_as_recorded(session, packages, &record, options)?;
    let lookup = pipeline::render(session, settled, options).await?.look_up_base(mode);
    let is_known = matches!(lookup, BaseLookup::Known(_));
    let based = lookup.or_unmade();
    let project = based.rendered.packages.project();
    edition::read(session, project, &based.lock)?;
    if mode != LockMode::default() {
        edition::tell_if_empty(session, project, &based.lock);
    }
    let native = options
        .wants_native(&project.manifest)
        .then(|| native::planned(session, &project.manifest))
        .flatten();
    let emulation = emulators::planned(session, &project.manifest, options.emulator);
    let owner = project.cache_owner();
    let packages = PackageCache::of(&project.manifest.project, &owner);
    let extras = Extras {
        epoch: based.told_epoch(),
        emulation: emulation.as_ref(),
        native: native.as_ref(),
        packages: packages.as_ref(),
        caches: Some(&owner),
        ..Extras::default()
    };
    let plan = based.assemble(&based.reference, &extras)?;
    plan.unpinned(plan.stages.len() - 1).into_iter().for_each(|told| session.reporter.warn(told));
    let verdicts = record.judge(&plan);
    // Only what can be built is locked.
    save_lock(session, project, &based.lock, mode).await?;
    let source = |name| {
        let resolution = &based.rendered.packages.resolved.resolution;
        resolution.get(name).map(|stage| stage.source.describe())
    };
    let stages = plan.stages.iter().zip(verdicts).map(|(stage, verdict)| PlannedSummary {
        name: stage.name.to_string(),
        version: stage.version.to_string(),
        source: source(&stage.name).unwrap_or_default(),
        key: is_known.then_some(stage.key),
        to_build: match verdict {
            Verdict::Built => None,
            Verdict::ToBuild(why) => Some(why),
        },
    });
    let (BaseRef::ContainerImage(base) | BaseRef::ForeignImage(base) | BaseRef::ContextTar(base)) =
        based.reference.clone();
    let (stages, merged) = (stages.collect(), plan.merged_text());
    let image_key = based.locked.is_some().then(|| based.image_key(&[]));
    Ok(PlanSummary { base, stages, image_key, merged, dockerfile: plan.dockerfile })
}

/// Why one stage is built before another.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OrderReason {
    /// The stage that comes first.
    pub first: String,
    /// The stage that comes later.
    pub second: String,
    /// Why.
    pub why: String,
}

/// Returns which of two stages of the build comes first, and why.
///
/// # Errors
/// When the stages cannot be resolved or ordered, or one is not in the build.
pub async fn why(session: &Session, mode: LockMode, names: [&str; 2]) -> Result<OrderReason, Error> {
    let project = Project::load(session)?;
    let Resolved { project, resolution, order, .. } = pipeline::resolve(session, project, mode).await?;
    let find = |text: &str| -> Result<StageName, Error> {
        let name: StageName = text.parse().map_err(|error: pib_plan::id::NameError| {
            Error::usage(error.to_string(), "`pib search` lists stages.")
        })?;
        match resolution.get(&name) {
            Some(_) => Ok(name),
            None => Err(super::why::no_stage(&project, &resolution, &name)),
        }
    };
    let (one, other) = (find(names[0])?, find(names[1])?);
    let reason = |first: &StageName, second: &StageName| {
        let why = order.why(first, second)?.to_string();
        Some(OrderReason { first: first.to_string(), second: second.to_string(), why })
    };
    reason(&one, &other)
        .or_else(|| reason(&other, &one))
        .ok_or_else(|| Error::usage("these are the same stage".to_owned(), "Name two stages."))
}

/// Writes a folder that a plain `docker build` accepts: Dockerfile, files and the base itself.
///
/// # Errors
/// As [`plan`], and when the base cannot be made or the folder is not empty.
pub async fn write_context(
    session: &Session,
    options: &StageOptions,
    folder: &Path,
) -> Result<WrittenContext, Error> {
    let folder = session.cwd.join(folder);
    check_empty(session, &folder)?;
    let mode = options.lock;
    let project = Project::load(session)?;
    let record = job::record(&project);
    let resolved = pipeline::resolve(session, project, mode).await?;
    let packages = pipeline::fetch(session, resolved).await?;
    // The secrets are given to the client that builds.
    let settled = pipeline::settle_as_recorded(session, packages, &record, options)?;
    let lookup = pipeline::render(session, settled, options).await?.look_up_base(mode);
    let based = pipeline::base(session, lookup, options).await?;
    let base = based.tarball(session, options).await?;
    save_lock(session, based.rendered.packages.project(), &based.lock, mode).await?;
    let reference = match &base {
        Some(_) => BaseRef::ContextTar("base.tar".to_owned()),
        None => based.reference.clone(),
    };
    // A plain client may have no BuildKit, so everything is emulated there.
    let plan = based.assemble(&reference, &Extras::default())?;
    let secrets = plan.secrets.iter().map(|secret| secret.id.clone()).collect();
    let files = plan.context.len();
    let to = project::make_folder(session, &folder)?;
    let writing = async {
        let write = move || write_files(&to, &plan, base.as_ref());
        tokio::task::spawn_blocking(write).await.map_err(blocking::worker)?
    };
    slow::shown(&*session.reporter, "context", "Writing the context", writing).await?;
    Ok(WrittenContext { path: folder, files, secrets })
}

/// Writes the lock where it changes. What another pib has written since this one read it stays.
async fn save_lock(
    session: &Session,
    project: &Project,
    lock: &Lockfile,
    mode: LockMode,
) -> Result<(), Error> {
    if mode.locked || project.lock.as_ref() == Some(lock) {
        // Where it must not change, this says so.
        return write_lock(project, lock, mode).map(drop);
    }
    let _exclusive = Project::exclusive(session, &project.dir).await?;
    match Project::load(session)?.lock == project.lock {
        true => write_lock(project, lock, mode).map(drop),
        false => Ok(()),
    }
}

/// Checks that a context can be written to a folder: it is not there, or empty.
fn check_empty(session: &Session, folder: &Path) -> Result<(), Error> {
    let there = project::find_folder(session, folder)?;
    let entries = there.map(|there| there.entries()).transpose();
    match entries.map_err(|error| Error::io("read the folder", folder, error))? {
        Some(entries) if !entries.is_empty() => {
            let message = format!("the folder `{}` is not empty", session.show(folder).display());
            Err(Error::usage(message, "Name a new folder, or empty this one."))
        }
        _ => Ok(()),
    }
}

fn write_files(folder: &Folder, plan: &BuildPlan, base: Option<&StoredBase>) -> Result<(), Error> {
    // Folders have the user's umask at first, which the image would get.
    let mut folders = BTreeMap::new();
    for file in &plan.context {
        let within = Path::new(&file.path);
        let own = if file.is_folder() { within } else { within.parent().unwrap_or(Path::new("")) };
        for path in own.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            folders.entry(path).or_insert(Mode::FOLDER);
        }
        if file.is_folder() {
            folders.insert(within, file.mode);
        }
        let path = folder.path().join(within);
        let made = folder.make_folder(own);
        made.map_err(|error| Error::io("create the folder of", &path, error))?;
        match &file.source {
            FileSource::File(from) => copy(from, folder, within, file.mode)?,
            FileSource::Bytes(bytes) => write(&mut &**bytes, folder, within, file.mode)?,
            FileSource::Folder => {}
        }
    }
    if let Some(base) = base {
        copy(&base.path, folder, Path::new("base.tar"), Mode::FILE)?;
    }
    write(&mut plan.dockerfile.as_bytes(), folder, Path::new("Dockerfile"), Mode::FILE)?;
    // The deepest first: one that forbids to be looked into would hide those in it.
    for (path, mode) in folders.into_iter().rev() {
        let set = folder.folder(path).and_then(|folder| folder.set_permissions(permissions(mode)));
        set.map_err(|error| Error::io("write", folder.path().join(path), error))?;
    }
    Ok(())
}

fn copy(from: &Path, folder: &Folder, to: &Path, mode: Mode) -> Result<(), Error> {
    let mut source = pib_file::open(from).map_err(|error| Error::io("read", from, error))?;
    write(&mut source, folder, to, mode)
}

/// Writes a file that is not there yet.
fn write(source: &mut dyn Read, folder: &Folder, to: &Path, mode: Mode) -> Result<(), Error> {
    let mut write = || {
        let mut file = folder.create_new(to)?;
        std::io::copy(source, &mut file)?;
        file.set_permissions(permissions(mode))
    };
    write().map_err(|error| Error::io("write", folder.path().join(to), error))
}

fn permissions(mode: Mode) -> Permissions {
    Permissions::from_mode(mode.bits())
}
