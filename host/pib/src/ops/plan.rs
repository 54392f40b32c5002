//! Says what a build would do: the order, the Dockerfile, or a whole context.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pib_plan::assemble::{self, BaseRef, BuildPlan, ContextFile, Extras, FileSource};
use pib_plan::base::{BaseSource, WantedBase};
use pib_plan::id::{Digest, StageName};
use pib_plan::lockfile::LockedBase;
use pib_plan::packages::PackageCache;
use pib_plan::record::Verdict;
use pib_plan::resolve::Update;
use serde::Serialize;

use super::base::{self, Mirrors};
use super::graph::{self, Graph};
use super::hooks::{self, Answers};
use super::project::Project;
use super::secrets::Secrets;
use super::{Error, LockMode, Session, blocking, build_args, inputs, native, slow, stages, vendor};
use crate::bases::StoredBase;
use crate::source::Package;

/// The stages of a build, in order, and its Dockerfile.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanSummary {
    /// The base that the first stage starts from.
    pub base: String,
    /// The stages, in order.
    pub stages: Vec<PlannedSummary>,
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
    pub path: PathBuf,
    /// How many files it has, beside the Dockerfile.
    pub files: usize,
    /// The secrets that must be given to the client.
    pub secrets: Vec<String>,
}

/// A project, decided up to the Dockerfile.
pub(super) struct Decided {
    pub(super) project: Project,
    pub(super) graph: Graph,
    pub(super) packages: Vec<Package>,
    pub(super) secrets: Secrets,
    /// What the command line gives to parts.
    pub(super) build_args: BTreeMap<String, String>,
    /// What the stages' hooks say.
    answers: Answers,
}

/// Returns what a build of the project would do. Uses no engine and makes no base.
///
/// # Errors
/// When a manifest, the resolution, the order, a package or a part is wrong.
pub async fn plan(session: &Session, mode: LockMode) -> Result<PlanSummary, Error> {
    let mut decided = decide(session, mode).await?;
    let record = stages::record(&decided.project);
    decided.secrets = Secrets::guess(session, &decided.project, &decided.packages, &record)?;
    decided.ask_hooks(session).await?;
    let digest = decided.base_digest();
    let base = decided.base_ref(digest.as_ref());
    let native = native::planned(session, &decided.project.manifest);
    let packages = PackageCache::of(&decided.project.manifest.project);
    let extras = Extras { native: native.as_ref(), packages: packages.as_ref(), anew: None };
    let plan = decided.assemble(session, &base, &digest.unwrap_or_else(|| Digest::of(b"")), &extras)?;
    let verdicts = record.judge(&plan);
    // Only what can be built is locked.
    save_lock(session, &decided, mode).await?;
    let source = |name| decided.graph.resolution.get(name).map(|stage| stage.source.describe());
    let stages = plan.stages.iter().zip(verdicts).map(|(stage, verdict)| PlannedSummary {
        name: stage.name.to_string(),
        version: stage.version.to_string(),
        source: source(&stage.name).unwrap_or_default(),
        key: digest.map(|_| stage.key),
        to_build: match verdict {
            Verdict::Built => None,
            Verdict::ToBuild(why) => Some(why),
        },
    });
    let (BaseRef::ContainerImage(base) | BaseRef::ContextTar(base)) = base;
    let (stages, merged) = (stages.collect(), plan.merged_text());
    Ok(PlanSummary { base, stages, merged, dockerfile: plan.dockerfile })
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
    let graph = graph::resolve(session, &project, mode, Update::None).await?;
    let find = |text: &str| -> Result<StageName, Error> {
        let name: StageName = text.parse().map_err(|error: pib_plan::id::NameError| {
            Error::usage(error.to_string(), "`pib search` lists stages.")
        })?;
        match graph.resolution.get(&name) {
            Some(_) => Ok(name),
            None => Err(super::why::no_stage(&project, &graph.resolution, &name)),
        }
    };
    let (one, other) = (find(names[0])?, find(names[1])?);
    let reason = |first: &StageName, second: &StageName| {
        let why = graph.order.why(first, second)?.to_string();
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
    mode: LockMode,
    folder: &Path,
) -> Result<WrittenContext, Error> {
    let folder = session.cwd.join(folder);
    let occupied = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let message = format!("the folder `{}` is not empty", session.show(&folder).display());
        return Err(Error::usage(message, "Name a new folder, or empty this one."));
    }
    let mut decided = decide(session, mode).await?;
    decided.ask_hooks(session).await?;
    let (base, digest) = match decided.base_source()? {
        BaseSource::ContainerImage { .. } => (None, decided.base_digest()),
        source => {
            let stored =
                decided.ensure_base(session, mode, &source, decided.project.manifest.build.native).await?;
            let digest = stored.digest;
            (Some(stored), Some(digest))
        }
    };
    save_lock(session, &decided, mode).await?;
    let base_ref = match &base {
        Some(_) => BaseRef::ContextTar("base.tar".to_owned()),
        None => decided.base_ref(digest.as_ref()),
    };
    // A plain client may have no BuildKit, so everything is emulated there.
    let plan = decided.assemble(
        session,
        &base_ref,
        &digest.unwrap_or_else(|| Digest::of(b"")),
        &Extras::default(),
    )?;
    let secrets = plan.secrets.iter().map(|secret| secret.id.clone()).collect();
    let (files, to) = (plan.context.len(), folder.clone());
    let writing = async {
        let write = move || write_files(&to, &plan, base.as_ref());
        tokio::task::spawn_blocking(write).await.map_err(blocking::worker)?
    };
    slow::shown(&*session.reporter, "context", "Writing the context", writing).await?;
    Ok(WrittenContext { path: folder, files, secrets })
}

/// Resolves, orders and fetches.
pub(super) async fn decide(session: &Session, mode: LockMode) -> Result<Decided, Error> {
    let project = Project::load(session)?;
    let graph = graph::resolve(session, &project, mode, Update::None).await?;
    let packages = graph.packages().await?;
    vendor::check_complete(session, &project, &graph, &packages)?;
    let (secrets, build_args, answers) = (Secrets::default(), BTreeMap::new(), Answers::new());
    Ok(Decided { project, graph, packages, secrets, build_args, answers })
}

/// Writes the lock where it changes. What another pib has written since this one read it stays.
async fn save_lock(session: &Session, decided: &Decided, mode: LockMode) -> Result<(), Error> {
    let (project, graph) = (&decided.project, &decided.graph);
    if mode.locked || !graph.changes_lock(project) {
        // Where it must not change, this says so.
        return graph.write_lock(project, mode).map(drop);
    }
    let _exclusive = Project::exclusive(session, &project.dir).await?;
    match Project::load(session)?.lock == project.lock {
        true => graph.write_lock(project, mode).map(drop),
        false => Ok(()),
    }
}

impl Decided {
    /// Asks the stages' hooks. They are told of secrets, so that where those come from must be known.
    pub(super) async fn ask_hooks(&mut self, session: &Session) -> Result<(), Error> {
        self.answers = hooks::ask(session, &self.project, &self.packages, &self.secrets).await?;
        Ok(())
    }

    /// Returns the digest of the base, where it is known: locked, or named by the project.
    pub(super) fn base_digest(&self) -> Option<Digest> {
        if let Ok(BaseSource::ContainerImage { reference }) = self.base_source() {
            return reference.split_once('@').and_then(|(_, digest)| digest.parse().ok());
        }
        self.locked_base().map(|base| base.digest)
    }

    /// Returns the base that the lock holds for what the project asks for.
    pub(super) fn locked_base(&self) -> Option<&LockedBase> {
        let source = self.base_source().ok()?;
        self.graph.base(WantedBase { project: &self.project.manifest.project, source: &source })
    }

    /// Returns where the base comes from.
    pub(super) fn base_source(&self) -> Result<BaseSource, Error> {
        let Some(init) = self.packages.iter().find(|package| package.name.as_str() == pib_plan::id::INIT)
        else {
            return Err(Error::Stage { message: "the build has no init stage".to_owned(), help: None });
        };
        base::source(&self.project.manifest, &self.project.dir, init)
    }

    /// Returns what the engine calls the base.
    pub(super) fn base_ref(&self, digest: Option<&Digest>) -> BaseRef {
        match self.base_source() {
            Ok(BaseSource::ContainerImage { reference }) => BaseRef::ContainerImage(reference),
            _ => BaseRef::ContainerImage(base::tag(&self.project.manifest, digest)),
        }
    }

    /// Gets the base and puts it into the lock.
    pub(super) async fn ensure_base(
        &mut self,
        session: &Session,
        mode: LockMode,
        source: &BaseSource,
        native: bool,
    ) -> Result<StoredBase, Error> {
        let manifest = &self.project.manifest;
        let locked = self.locked_base();
        let stored = base::ensure(session, mode, source, locked, manifest, native).await?;
        let new = base::locked(manifest, source, &stored)?;
        // A lock of an earlier pib learns what its base was asked for by, unless it is not to change.
        if !(mode.locked && locked.is_some_and(|locked| locked.is_older_form_of(&new))) {
            self.graph.set_base(new);
        }
        Ok(stored)
    }

    /// Settles the config, checks the parts and assembles the plan.
    pub(super) fn assemble(
        &self,
        session: &Session,
        base: &BaseRef,
        digest: &Digest,
        extras: &Extras<'_>,
    ) -> Result<BuildPlan, Error> {
        let mirrors = Mirrors::of(session, &self.project.manifest);
        let (given, answers) = (&self.secrets, &self.answers);
        let mut stages = inputs::stage_inputs(&self.project, &mirrors, &self.packages, given, answers)?;
        build_args::apply(&mut stages, &self.build_args)?;
        Ok(assemble::assemble(self.project.manifest.project.arch, base, digest, &stages, extras)?)
    }
}

fn write_files(folder: &Path, plan: &BuildPlan, base: Option<&StoredBase>) -> Result<(), Error> {
    let make = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|error| Error::io("create the folder", path, error))
    };
    make(folder)?;
    for file in &plan.context {
        let path = folder.join(&file.path);
        make(path.parent().unwrap_or(folder))?;
        write_file(&path, file)?;
    }
    if let Some(base) = base {
        let path = folder.join("base.tar");
        std::fs::copy(&base.path, &path).map_err(|error| Error::io("write", &path, error))?;
    }
    let path = folder.join("Dockerfile");
    std::fs::write(&path, &plan.dockerfile).map_err(|error| Error::io("write", &path, error))
}

fn write_file(path: &Path, file: &ContextFile) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let fail = |error| Error::io("write", path, error);
    match &file.source {
        FileSource::File(from) => drop(std::fs::copy(from, path).map_err(fail)?),
        FileSource::Bytes(bytes) => std::fs::write(path, bytes).map_err(fail)?,
    }
    let mode = if file.executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fail)
}

impl PlanSummary {
    /// Returns the plan for people.
    pub fn to_text(&self) -> String {
        let mut text = format!("base {}\n", self.base);
        for (number, stage) in self.stages.iter().enumerate() {
            let key = stage.key.map(|key| key.hex()[..12].to_owned()).unwrap_or_default();
            let state = stage.to_build.as_ref().map_or("built".to_owned(), |why| format!("to build: {why}"));
            let PlannedSummary { name, version, source, .. } = stage;
            let key = if key.is_empty() { key } else { format!("{key}  ") };
            text.push_str(&format!("{:>3}  {name} {version}  {source}  {key}{state}\n", number + 1));
        }
        if let Some(merged) = &self.merged {
            text.push_str(&format!("{merged}\n"));
        }
        text
    }
}

impl OrderReason {
    /// Returns the reason for people.
    pub fn to_text(&self) -> String {
        format!("{} comes before {}: {}", self.first, self.second, self.why)
    }
}

impl WrittenContext {
    /// Returns the result for people.
    pub fn to_text(&self) -> String {
        let secrets: String = self.secrets.iter().map(|id| format!(" --secret id={id},src=FILE")).collect();
        format!("Wrote {0}; build it with: docker build{secrets} {0}", self.path.display())
    }
}
